// Pictures of one size compared: side by side, under a divider, in turn, or as an amplified difference. All panes share
// zoom and position. Everything happens in the browser; nothing is fetched and nothing is sent back.

const MODES = [["side", "Side by side"], ["divider", "Divider"], ["flicker", "Flicker"], ["difference", "Difference"]]
const FLICKER_MS = 600
const MOST_ZOOM = 16
const states = new WeakMap()

function fresh() {
  return { mode: "side", a: 0, b: 1, at: 50, gain: 4, zoom: 1, x: 0, y: 0, paused: calm(), timer: null }
}

function calm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches
}

export default function ({ data, parentElement }) {
  if (!states.has(parentElement)) states.set(parentElement, fresh())
  const state = states.get(parentElement)
  const find = (selector) => parentElement.querySelector(selector)
  const stage = find(".stage")
  const pictures = data.pictures
  state.a = Math.min(state.a, pictures.length - 1)
  state.b = Math.min(state.b, pictures.length - 1)

  function draw() {
    clearInterval(state.timer)
    const single = state.mode !== "side"
    stage.className = single ? "stage single" : "stage"
    stage.style.setProperty("--across", single ? 1 : pictures.length)
    stage.replaceChildren(...views[state.mode]())
    for (const button of find(".modes").children) {
      const chosen = button.value === state.mode
      button.setAttribute("aria-checked", chosen)
      button.tabIndex = chosen ? 0 : -1
    }
    find(".pair").hidden = !single || pictures.length < 3
    find(".gain").hidden = state.mode !== "difference"
    find(".pause").hidden = state.mode !== "flicker"
    find(".pause").textContent = state.paused ? "Play" : "Pause"
    place()
  }

  function place() {
    state.x = Math.min(0, Math.max(100 * (1 - state.zoom), state.x))
    state.y = Math.min(0, Math.max(100 * (1 - state.zoom), state.y))
    for (const name of ["zoom", "x", "y"]) stage.style.setProperty(`--${name}`, state[name])
    for (const pane of stage.querySelectorAll(".pane")) pane.classList.toggle("zoomed", state.zoom > 1)
    find(".zoom output").textContent = `${state.zoom}×`
  }

  // Zoom about a point of the pane, given in parts of its width and height.
  function zoom(factor, px = 0.5, py = 0.5) {
    const next = Math.min(MOST_ZOOM, Math.max(1, state.zoom * factor))
    state.x = 100 * px - (100 * px - state.x) * (next / state.zoom)
    state.y = 100 * py - (100 * py - state.y) * (next / state.zoom)
    state.zoom = next
    place()
  }

  function picture(one) {
    const image = new Image()
    image.src = one.source
    image.alt = one.alt
    image.draggable = false
    return image
  }

  function layer(content) {
    const made = document.createElement("div")
    made.className = "layer"
    made.append(content)
    return made
  }

  function figure(title, ...layers) {
    const made = document.createElement("figure")
    const caption = document.createElement("figcaption")
    const pane = document.createElement("div")
    caption.textContent = title
    pane.className = "pane"
    pane.style.aspectRatio = `${data.columns} / ${data.rows}`
    pane.append(...layers)
    made.append(caption, pane)
    pane.onpointermove = (event) => tell(pane, event)
    pane.onpointerleave = () => { find(".told").textContent = "" }
    pane.ondblclick = (event) => zoom(2, ...within(pane, event))
    pane.onwheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return
      event.preventDefault()
      zoom(event.deltaY < 0 ? 2 : 0.5, ...within(pane, event))
    }
    drag(pane, (dx, dy) => { state.x += 100 * dx; state.y += 100 * dy; place() })
    return made
  }

  function within(pane, event) {
    const box = pane.getBoundingClientRect()
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
  }

  // Moves of a pressed pointer, in parts of the pane.
  function drag(element, moved, pane = element) {
    element.onpointerdown = (down) => {
      if (element === pane && (state.zoom === 1 || down.target.closest(".grip"))) return
      down.preventDefault()
      element.setPointerCapture(down.pointerId)
      let last = within(pane, down)
      const move = (event) => {
        const now = within(pane, event)
        moved(now[0] - last[0], now[1] - last[1], now)
        last = now
      }
      element.addEventListener("pointermove", move)
      element.addEventListener("lostpointercapture", () => element.removeEventListener("pointermove", move), { once: true })
    }
  }

  // Names the tile under the pointer.
  function tell(pane, event) {
    const [px, py] = within(pane, event)
    const column = Math.floor(((px - state.x / 100) / state.zoom) * data.columns)
    const row = Math.floor(((py - state.y / 100) / state.zoom) * data.rows)
    find(".told").textContent = data.labels[row * data.columns + column] ?? ""
  }

  const views = {
    side: () => pictures.map((one) => figure(one.title, layer(picture(one)))),

    divider() {
      const [left, right] = [pictures[state.a], pictures[state.b]]
      const over = layer(picture(right))
      const grip = document.createElement("div")
      const made = figure(`${left.title}  |  ${right.title}`, layer(picture(left)), over, grip)
      const move = (at) => {
        state.at = Math.min(100, Math.max(0, at))
        over.style.clipPath = `inset(0 0 0 ${state.at}%)`
        grip.style.left = `${state.at}%`
        grip.setAttribute("aria-valuenow", Math.round(state.at))
      }
      grip.className = "grip"
      grip.tabIndex = 0
      grip.setAttribute("role", "slider")
      grip.setAttribute("aria-label", "Divider, percent from the left")
      grip.setAttribute("aria-valuemin", 0)
      grip.setAttribute("aria-valuemax", 100)
      grip.onkeydown = (event) => {
        const step = { ArrowLeft: -2, ArrowRight: 2, Home: -100, End: 100 }[event.key]
        if (!step) return
        event.preventDefault()
        event.stopPropagation()
        move(state.at + step)
      }
      drag(grip, (dx, dy, now) => move(100 * now[0]), made.querySelector(".pane"))
      move(state.at)
      return [made]
    },

    flicker() {
      const pair = [pictures[state.a], pictures[state.b]]
      const layers = pair.map((one) => layer(picture(one)))
      const made = figure("", ...layers)
      let shown = 0
      const show = () => {
        layers.forEach((one, i) => { one.style.visibility = i === shown ? "visible" : "hidden" })
        made.querySelector("figcaption").textContent = pair[shown].title
      }
      state.timer = setInterval(() => {
        if (!state.paused) { shown = 1 - shown; show() }
      }, FLICKER_MS)
      show()
      return [made]
    },

    difference() {
      const [left, right] = [pictures[state.a], pictures[state.b]]
      const canvas = document.createElement("canvas")
      canvas.setAttribute("role", "img")
      subtract(left, right, canvas)
      return [figure(`${left.title} − ${right.title}`, layer(canvas))]
    },
  }

  // |left - right| per channel, times the gain: black where both are equal.
  async function subtract(left, right, canvas) {
    const images = [picture(left), picture(right)]
    await Promise.all(images.map((image) => image.decode()))
    const [width, height] = [images[0].naturalWidth, images[0].naturalHeight]
    Object.assign(canvas, { width, height })
    const context = canvas.getContext("2d", { willReadFrequently: true })
    const [one, other] = images.map((image) => {
      context.drawImage(image, 0, 0, width, height)
      return context.getImageData(0, 0, width, height)
    })
    let sum = 0
    for (let i = 0; i < one.data.length; i += 1) {
      if (i % 4 === 3) continue
      const apart = Math.abs(one.data[i] - other.data[i])
      sum += apart
      one.data[i] = apart * state.gain
    }
    context.putImageData(one, 0, 0)
    const mean = (sum / (0.75 * one.data.length)).toFixed(1)
    canvas.setAttribute("aria-label", `Difference of ${left.title} and ${right.title}, ${mean} of 255 on average`)
    const caption = canvas.closest("figure")?.querySelector("figcaption")
    if (caption) caption.textContent = `${left.title} − ${right.title}: ${mean} of 255 on average, shown ×${state.gain}`
  }

  const modes = MODES.filter(([mode]) => mode === "side" || pictures.length > 1)
  find(".modes").replaceChildren(...modes.map(([mode, title]) => {
    const button = document.createElement("button")
    Object.assign(button, { type: "button", value: mode, textContent: title })
    button.setAttribute("role", "radio")
    button.onclick = () => { state.mode = mode; draw() }
    return button
  }))
  find(".modes").onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (!step) return
    event.preventDefault()
    const place = modes.findIndex(([mode]) => mode === state.mode)
    state.mode = modes[(place + step + modes.length) % modes.length][0]
    draw()
    find(`.modes [value=${state.mode}]`).focus()
  }
  for (const side of ["a", "b"]) {
    const select = find(`select.${side}`)
    select.replaceChildren(...pictures.map((one, i) => new Option(one.title, i)))
    select.value = state[side]
    select.onchange = () => { state[side] = Number(select.value); draw() }
  }
  find(".gain input").value = state.gain
  find(".gain output").textContent = `×${state.gain}`
  find(".gain input").oninput = (event) => {
    state.gain = Number(event.target.value)
    find(".gain output").textContent = `×${state.gain}`
    draw()
  }
  find(".pause").onclick = () => { state.paused = !state.paused; find(".pause").textContent = state.paused ? "Play" : "Pause" }
  find(".in").onclick = () => zoom(2)
  find(".out").onclick = () => zoom(0.5)
  find(".reset").onclick = () => { Object.assign(state, { zoom: 1, x: 0, y: 0 }); place() }
  stage.onkeydown = (event) => {
    const keys = {
      "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), 0: find(".reset").onclick,
      ArrowLeft: () => { state.x += 10; place() }, ArrowRight: () => { state.x -= 10; place() },
      ArrowUp: () => { state.y += 10; place() }, ArrowDown: () => { state.y -= 10; place() },
    }
    if (!keys[event.key] || (event.key.startsWith("Arrow") && state.zoom === 1)) return
    event.preventDefault()
    keys[event.key]()
  }
  draw()
  return () => clearInterval(state.timer)
}
