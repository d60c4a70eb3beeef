// Compares pictures of one size: side by side, with a divider, alternating, or as an amplified difference. All panes
// share zoom, position and denoising step. Everything runs in the browser without network requests. After the last
// change, the view is sent to the server once, which puts it into the page's link.

const MODES = [["side", "Side by side"], ["divider", "Divider"], ["flicker", "Flicker"], ["difference", "Difference"]]
const FLICKER_MS = 600
const MAX_ZOOM = 16
const LINK_DELAY_MS = 600
const KEYS = "Click the pictures to use keys. + and −: zoom. Arrows: move. 0: reset. 1 to 4: change the mode."
const states = new WeakMap()

function initialState({ mode, zoom, step }) {
  return { mode, zoom, step, a: 0, b: 1, at: 50, gain: 4, x: 0, y: 0, paused: prefersNoMotion(), timer: null, linkTimer: null }
}

function prefersNoMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches
}

export default function ({ data, parentElement, setStateValue }) {
  if (!states.has(parentElement)) states.set(parentElement, initialState(data.start))
  const state = states.get(parentElement)
  const find = (selector) => parentElement.querySelector(selector)
  const stage = find(".stage")
  let pictures = []
  state.step = Math.min(data.steps, state.step || Math.ceil(data.steps / 2))
  state.frames = data.pictures.flatMap((picture) => [...(picture.frames ?? []), ...(picture.wideFrames ?? [])]).map((source) => imageOf({ source, alt: "" })) // decode early
  state.a = Math.min(state.a, data.pictures.length - 1)
  state.b = Math.min(state.b, data.pictures.length - 1)
  if (data.pictures.length < 2) state.mode = "side"

  // Columns and rows of the sheets as they are drawn: one picture across the whole page has wider sheets.
  function grid() {
    return state.mode === "side" ? data : data.wide
  }

  // The frame of a picture at the same fraction of its own steps as the slider shows.
  function currentFrame(picture) {
    const single = state.mode !== "side"
    if (!picture.frames) return single ? { ...picture, source: picture.wide } : picture
    const count = picture.frames.length
    const step = Math.max(1, Math.round((state.step / data.steps) * count))
    const numbers = picture.after?.length ? picture.after : picture.frames.map((_, index) => index + 1)
    const position = `step ${numbers[step - 1]} of ${numbers[count - 1]}`
    return {
      source: (single ? picture.wideFrames : picture.frames)[step - 1],
      title: `${picture.title}, ${position}`,
      alt: `${picture.title} after ${position}: ${picture.alt}`,
    }
  }

  function draw() {
    clearInterval(state.timer)
    pictures = data.pictures.map(currentFrame)
    const single = state.mode !== "side"
    stage.className = single ? "stage single" : "stage"
    stage.style.setProperty("--across", single ? 1 : pictures.length)
    stage.style.setProperty("--columns", grid().columns)
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
    find(".steps").hidden = data.steps < 2
    find(".steps output").textContent = state.step
    position()
  }

  // Redraw after a change by the user, and put the view into the link after a pause.
  function changed(redraw = draw) {
    redraw()
    clearTimeout(state.linkTimer)
    const { mode, zoom, step } = state
    state.linkTimer = setTimeout(() => setStateValue("view", { mode, zoom, step }), LINK_DELAY_MS)
  }

  function setMode(mode) {
    state.mode = mode
    changed()
  }

  function setStep(step) {
    state.step = Math.min(data.steps, Math.max(1, step))
    find(".steps input").value = state.step
    changed()
  }

  // Apply zoom and position to all panes.
  function position() {
    state.x = Math.min(0, Math.max(100 * (1 - state.zoom), state.x))
    state.y = Math.min(0, Math.max(100 * (1 - state.zoom), state.y))
    for (const name of ["zoom", "x", "y"]) stage.style.setProperty(`--${name}`, state[name])
    for (const pane of stage.querySelectorAll(".pane")) pane.classList.toggle("zoomed", state.zoom > 1)
    find(".zoom output").textContent = `${state.zoom}×`
  }

  // Zoom around a point of the pane, given as fractions of its width and height.
  function zoom(factor, px = 0.5, py = 0.5) {
    const next = Math.min(MAX_ZOOM, Math.max(1, state.zoom * factor))
    state.x = 100 * px - (100 * px - state.x) * (next / state.zoom)
    state.y = 100 * py - (100 * py - state.y) * (next / state.zoom)
    state.zoom = next
    changed(position)
  }

  function imageOf(picture) {
    const image = new Image()
    image.src = picture.source
    image.alt = picture.alt
    image.draggable = false
    return image
  }

  function layer(content) {
    const element = document.createElement("div")
    element.className = "layer"
    element.append(content)
    return element
  }

  function figure(title, ...layers) {
    const element = document.createElement("figure")
    const caption = document.createElement("figcaption")
    const pane = document.createElement("div")
    caption.textContent = title
    pane.className = "pane"
    pane.style.aspectRatio = `${grid().columns} / ${grid().rows}`
    pane.append(...layers)
    element.append(caption, pane)
    pane.onpointermove = (event) => showLabel(pane, event)
    pane.onpointerleave = showKeys
    pane.ondblclick = (event) => zoom(2, ...within(pane, event))
    pane.onwheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return
      event.preventDefault()
      zoom(event.deltaY < 0 ? 2 : 0.5, ...within(pane, event))
    }
    drag(pane, (dx, dy) => { state.x += 100 * dx; state.y += 100 * dy; position() })
    return element
  }

  // The pointer's position as fractions of the pane's width and height.
  function within(pane, event) {
    const box = pane.getBoundingClientRect()
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
  }

  // Call `moved` while the pointer is pressed and moves, with the distance as fractions of the pane.
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

  // Show the label of the tile under the pointer.
  function showLabel(pane, event) {
    const [px, py] = within(pane, event)
    const column = Math.floor(((px - state.x / 100) / state.zoom) * grid().columns)
    const row = Math.floor(((py - state.y / 100) / state.zoom) * grid().rows)
    find(".hint").textContent = data.labels[row * grid().columns + column] ?? ""
  }

  function showKeys() {
    find(".hint").textContent = `${KEYS}${data.steps > 1 ? " [ and ]: change the step." : ""}`
  }

  const views = {
    side: () => pictures.map((picture) => figure(picture.title, layer(imageOf(picture)))),

    divider() {
      const [left, right] = [pictures[state.a], pictures[state.b]]
      const top = layer(imageOf(right))
      const grip = document.createElement("div")
      const element = figure(`${left.title}  |  ${right.title}`, layer(imageOf(left)), top, grip)
      const move = (at) => {
        state.at = Math.min(100, Math.max(0, at))
        top.style.clipPath = `inset(0 0 0 ${state.at}%)`
        grip.style.left = `${state.at}%`
        grip.setAttribute("aria-valuenow", Math.round(state.at))
      }
      grip.className = "grip"
      grip.tabIndex = 0
      grip.setAttribute("role", "slider")
      grip.setAttribute("aria-label", "Divider position, percent from the left")
      grip.setAttribute("aria-valuemin", 0)
      grip.setAttribute("aria-valuemax", 100)
      grip.onkeydown = (event) => {
        const step = { ArrowLeft: -2, ArrowRight: 2, Home: -100, End: 100 }[event.key]
        if (!step) return
        event.preventDefault()
        event.stopPropagation()
        move(state.at + step)
      }
      drag(grip, (dx, dy, now) => move(100 * now[0]), element.querySelector(".pane"))
      move(state.at)
      return [element]
    },

    flicker() {
      const pair = [pictures[state.a], pictures[state.b]]
      const layers = pair.map((picture) => layer(imageOf(picture)))
      const element = figure("", ...layers)
      let shown = 0
      const show = () => {
        layers.forEach((layer, i) => { layer.style.visibility = i === shown ? "visible" : "hidden" })
        element.querySelector("figcaption").textContent = pair[shown].title
      }
      state.timer = setInterval(() => {
        if (!state.paused) { shown = 1 - shown; show() }
      }, FLICKER_MS)
      show()
      return [element]
    },

    difference() {
      const [left, right] = [pictures[state.a], pictures[state.b]]
      const canvas = document.createElement("canvas")
      canvas.setAttribute("role", "img")
      subtract(left, right, canvas)
      return [figure(`${left.title} − ${right.title}`, layer(canvas))]
    },
  }

  // |left − right| per channel, multiplied by the gain: black where both pictures are equal.
  async function subtract(left, right, canvas) {
    const images = [imageOf(left), imageOf(right)]
    await Promise.all(images.map((image) => image.decode()))
    const [width, height] = [images[0].naturalWidth, images[0].naturalHeight]
    Object.assign(canvas, { width, height })
    const context = canvas.getContext("2d", { willReadFrequently: true })
    const [difference, other] = images.map((image) => {
      context.drawImage(image, 0, 0, width, height)
      return context.getImageData(0, 0, width, height)
    })
    let sum = 0
    for (let i = 0; i < difference.data.length; i += 1) {
      if (i % 4 === 3) continue // alpha
      const absolute = Math.abs(difference.data[i] - other.data[i])
      sum += absolute
      difference.data[i] = absolute * state.gain
    }
    context.putImageData(difference, 0, 0)
    const mean = (sum / (0.75 * difference.data.length)).toFixed(1)
    canvas.setAttribute("aria-label", `Difference of ${left.title} and ${right.title}: ${mean} of 255 on average`)
    const caption = canvas.closest("figure")?.querySelector("figcaption")
    if (caption) caption.textContent = `${left.title} − ${right.title}: ${mean} of 255 on average, amplified ×${state.gain}`
  }

  const modes = MODES.filter(([mode]) => mode === "side" || data.pictures.length > 1)
  find(".modes").replaceChildren(...modes.map(([mode, title]) => {
    const button = document.createElement("button")
    Object.assign(button, { type: "button", value: mode, textContent: title })
    button.setAttribute("role", "radio")
    button.onclick = () => setMode(mode)
    return button
  }))
  find(".modes").onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (!step) return
    event.preventDefault()
    const index = modes.findIndex(([mode]) => mode === state.mode)
    setMode(modes[(index + step + modes.length) % modes.length][0])
    find(`.modes [value=${state.mode}]`).focus()
  }
  for (const side of ["a", "b"]) {
    const select = find(`select.${side}`)
    select.replaceChildren(...data.pictures.map((picture, i) => new Option(picture.title, i)))
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
  Object.assign(find(".steps input"), { max: data.steps, value: state.step })
  find(".steps input").oninput = (event) => setStep(Number(event.target.value))
  find(".pause").onclick = () => { state.paused = !state.paused; find(".pause").textContent = state.paused ? "Play" : "Pause" }
  find(".in").onclick = () => zoom(2)
  find(".out").onclick = () => zoom(0.5)
  find(".reset").onclick = () => { Object.assign(state, { zoom: 1, x: 0, y: 0 }); changed(position) }
  stage.onkeydown = (event) => {
    const keys = {
      "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), 0: find(".reset").onclick,
      "[": () => setStep(state.step - 1), "]": () => setStep(state.step + 1),
      ...Object.fromEntries(modes.map(([mode], i) => [i + 1, () => setMode(mode)])),
      ArrowLeft: () => { state.x += 10; position() }, ArrowRight: () => { state.x -= 10; position() },
      ArrowUp: () => { state.y += 10; position() }, ArrowDown: () => { state.y -= 10; position() },
    }
    if (!keys[event.key] || (event.key.startsWith("Arrow") && state.zoom === 1)) return
    event.preventDefault()
    keys[event.key]()
  }
  draw()
  showKeys()
  return () => { clearInterval(state.timer); clearTimeout(state.linkTimer) }
}
