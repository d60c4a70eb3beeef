// What the pages do in the browser without the server: copy the page's link, and write the text of the point under the
// pointer below its plot, where it covers no other point. The script runs once for each tab.

(() => {
  if (window.ditPage) return
  window.ditPage = true

  // Clipboard access needs HTTPS or localhost; a dashboard that serves a room over HTTP uses the older command.
  async function copy(text) {
    if (window.isSecureContext) return navigator.clipboard.writeText(text)
    const area = document.createElement("textarea")
    area.value = text
    document.body.append(area)
    area.select()
    const done = document.execCommand("copy")
    area.remove()
    if (!done) throw new Error("no clipboard")
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.(".dit-copy")
    if (!button) return
    const label = button.querySelector("span")
    try {
      await copy(location.href)
      label.textContent = "Link copied"
    } catch {
      label.textContent = "Copy it from the address bar"
    }
    setTimeout(() => { label.textContent = "Copy link" }, 2000)
  })

  function write(plot, html) {
    const note = plot.closest('[class*="st-key-noted-"]')?.querySelector(".dit-note")
    if (!note) return
    const [title, ...rest] = html.split("<br>").map((line) => new DOMParser().parseFromString(line, "text/html").body.textContent)
    const heading = document.createElement("b")
    heading.textContent = title
    note.replaceChildren(heading, document.createElement("br"), rest.join(" · "))
  }

  function follow() {
    for (const plot of document.querySelectorAll('[class*="st-key-noted-"] .js-plotly-plot')) {
      if (plot.ditFollowed || !plot.on) continue
      plot.ditFollowed = true
      plot.on("plotly_hover", ({ points }) => {
        const data = points.find((point) => point.customdata)?.customdata
        if (data) write(plot, data[1])
      })
    }
  }

  let due = false
  new MutationObserver(() => {
    if (due) return
    due = true
    requestAnimationFrame(() => { due = false; follow() })
  }).observe(document.body, { childList: true, subtree: true })
  follow()
})()
