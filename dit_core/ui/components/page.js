// What the pages do in the browser without the server: copy the page's link, save a plot as SVG or PNG, and write the text
// of the point under the pointer below its plot, where it covers no other point. They also show the progress of a job in the
// tab's title, report its end while the tab is hidden, and keep an id of the browser. The script runs once for each tab.

(() => {
  if (window.ditPage) return
  window.ditPage = true
  const UPDATE_MS = 50
  const PNG_SCALE = 3 // for print
  const OPENED_MS = 400 // until an answer has been drawn

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

  // Plotly draws several layers, and the page's theme sets colours and fonts of their text: both go into one picture.
  const INHERITED = ["fill", "stroke", "font-family", "font-size", "font-weight", "opacity"]

  function pictureOf(plot) {
    const { width, height } = plot.getBoundingClientRect()
    const names = `xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"`
    const ground = getComputedStyle(document.querySelector(".stApp")).backgroundColor
    const layers = [...plot.querySelectorAll("svg.main-svg")].map((layer) => {
      const clone = layer.cloneNode(true)
      const texts = layer.querySelectorAll("text, tspan")
      clone.querySelectorAll("text, tspan").forEach((text, i) => {
        const style = getComputedStyle(texts[i])
        for (const name of INHERITED) text.style.setProperty(name, style.getPropertyValue(name))
      })
      clone.querySelectorAll(".hoverlayer, .draglayer, .zoomlayer").forEach((part) => part.remove())
      clone.removeAttribute("style")
      return new XMLSerializer().serializeToString(clone)
    })
    const box = `width="${width}" height="${height}"`
    const content = `<rect ${box} fill="${ground}"/>${layers.join("")}`
    return { width, height, source: `<svg ${names} ${box} viewBox="0 0 ${width} ${height}">${content}</svg>` }
  }

  function download(blob, name) {
    const link = document.createElement("a")
    link.href = URL.createObjectURL(blob)
    link.download = name
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 10000)
  }

  async function save(plot, kind) {
    const { width, height, source } = pictureOf(plot)
    const svg = new Blob([source], { type: "image/svg+xml" })
    if (kind === "svg") return download(svg, "plot.svg")
    const image = new Image()
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(source)}`
    await image.decode()
    const canvas = document.createElement("canvas")
    canvas.width = PNG_SCALE * width
    canvas.height = PNG_SCALE * height
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height)
    canvas.toBlob((png) => download(png, "plot.png"), "image/png")
  }

  document.addEventListener("click", (event) => {
    const kind = event.target.closest?.(".dit-save")?.value
    const plot = kind && event.target.closest('[class*="st-key-noted-"]')?.querySelector(".js-plotly-plot")
    if (plot) save(plot, kind)
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

  function update() {
    due = false
    follow()
    showProgress()
    keepId()
  }

  let running = false
  let due = false

  // The title of the tab, `43 % · Run live`, and a notification when the job has ended while nobody looked at the tab.
  function showProgress() {
    const share = document.querySelector(".dit-progress")?.dataset.share
    const plain = document.title.replace(/^\d+ % · /, "")
    const title = share ? `${share} · ${plain}` : plain
    if (document.title !== title) document.title = title
    if (running && !share && document.hidden && window.Notification?.permission === "granted") {
      new Notification("The job has ended", { body: plain })
    }
    running = Boolean(share)
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest?.(".dit-notify")) window.Notification?.requestPermission()
  })

  function keepId() {
    const id = document.querySelector(".dit-browser")?.dataset.id
    if (id && !document.cookie.includes("dit_browser=")) {
      document.cookie = `dit_browser=${id}; path=/; max-age=31536000; samesite=strict`
    }
  }

  // A presenter's remote sends PageDown and PageUp. The first press opens the answer of a step, the next one goes on.
  const FORWARD = ["ArrowRight", "PageDown"]
  const BACK = ["ArrowLeft", "PageUp"]
  let scrolling

  document.addEventListener("keydown", (event) => {
    const next = document.querySelector(".st-key-next button")
    if (!next || event.ctrlKey || event.metaKey || event.altKey) return
    if (event.target.closest?.("input, textarea, select, [role=slider], [role=tab], [role=radio], [role=combobox]")) return
    const answer = document.querySelector('[class*="st-key-answer-"] details:not([open]) summary')
    const target = FORWARD.includes(event.key)
      ? answer ?? next
      : BACK.includes(event.key) && document.querySelector(".st-key-previous button")
    if (!target) return
    event.preventDefault()
    target.click()
    // An answer below the window is scrolled to; a new step begins at its top.
    clearTimeout(scrolling)
    if (target === answer) scrolling = setTimeout(() => answer.scrollIntoView({ block: "start" }), OPENED_MS)
    else document.querySelector('[data-testid="stMain"]')?.scrollTo(0, 0)
  })

  new MutationObserver(() => {
    if (due) return
    due = true
    setTimeout(update, UPDATE_MS) // not an animation frame: a hidden tab has none
  }).observe(document.body, { childList: true, subtree: true })
  update()
})()
