// Pictures of one size compared: side by side, under a divider, in turn, or as an amplified difference. All panes share
// zoom, position and step of denoising. Everything happens in the browser and nothing is fetched; once the pointer
// rests, the view is told to the page for its link.

const MODES = [["side", "Side by side"], ["divider", "Divider"], ["flicker", "Flicker"], ["difference", "Difference"]]
const FLICKER_MS = 600
const MOST_ZOOM = 16
const REST_MS = 600
const KEYS = "Keys, once the pictures are chosen: + and − zoom, arrows move, 0 resets, 1 to 4 change the view"
const states = new WeakMap()

function fresh({ mode, zoom, step }) {
  return { mode, zoom, step, a: 0, b: 1, at: 50, gain: 4, x: 0, y: 0, paused: calm(), timer: null, rest: null }
}

function calm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches
}

export default function ({ data, parentElement, setStateValue }) {
  if (!states.has(parentElement)) states.set(parentElement, fresh(data.start))
  const state = states.get(parentElement)
  const find = (selector) => parentElement.querySelector(selector)
  const stage = find(".stage")
  let pictures = []
  state.step = Math.min(data.steps, state.step || Math.ceil(data.steps / 2))
  state.frames = data.pictures.flatMap((one) => one.frames ?? []).map((source) => picture({ source, alt: "" })) // decoded early
  state.a = Math.min(state.a, data.pictures.length - 1)
  state.b = Math.min(state.b, data.pictures.length - 1)
  if (data.pictures.length < 2) state.mode = "side"

  // A picture that forms, after as large a share of its own steps as the slider is at.
  function now(one) {
    if (!one.frames) return one
    const own = one.frames.length
    const step = Math.max(1, Math.round((state.step / data.steps) * own))
    const numbers = one.after?.length ? one.after : one.frames.map((_, place) => place + 1)
    const after = `step ${numbers[step - 1]} of ${numbers[own - 1]}`
    return { source: one.frames[step - 1], title: `${one.title}, ${after}`, alt: `${one.title} after ${after}: ${one.alt}` }
  }

  function draw() {
    clearInterval(state.timer)
    pictures = data.pictures.map(now)
    const single = state.mode !== "side"
    stage.className = single ? "stage single" : "stage"
    stage.style.setProperty("--across", single ? 1 : pictures.length)
    stage.style.setProperty("--columns", data.columns)
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
    place()
  }

  // After something was changed by hand: draw it, and name it in the link once it rests.
  function changed(shown = draw) {
    shown()
    clearTimeout(state.rest)
    const { mode, zoom, step } = state
    state.rest = setTimeout(() => setStateValue("view", { mode, zoom, step }), REST_MS)
  }

  function choose(mode) {
    state.mode = mode
    changed()
  }

  function to(step) {
    state.step = Math.min(data.steps, Math.max(1, step))
    find(".steps input").value = state.step
    changed()
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
    changed(place)
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
    pane.onpointerleave = help
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

  function help() {
    find(".told").textContent = `${KEYS}${data.steps > 1 ? ", [ and ] go through the steps" : ""}.`
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

  const modes = MODES.filter(([mode]) => mode === "side" || data.pictures.length > 1)
  find(".modes").replaceChildren(...modes.map(([mode, title]) => {
    const button = document.createElement("button")
    Object.assign(button, { type: "button", value: mode, textContent: title })
    button.setAttribute("role", "radio")
    button.onclick = () => choose(mode)
    return button
  }))
  find(".modes").onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (!step) return
    event.preventDefault()
    const place = modes.findIndex(([mode]) => mode === state.mode)
    choose(modes[(place + step + modes.length) % modes.length][0])
    find(`.modes [value=${state.mode}]`).focus()
  }
  for (const side of ["a", "b"]) {
    const select = find(`select.${side}`)
    select.replaceChildren(...data.pictures.map((one, i) => new Option(one.title, i)))
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
  find(".steps input").oninput = (event) => to(Number(event.target.value))
  find(".pause").onclick = () => { state.paused = !state.paused; find(".pause").textContent = state.paused ? "Play" : "Pause" }
  find(".in").onclick = () => zoom(2)
  find(".out").onclick = () => zoom(0.5)
  find(".reset").onclick = () => { Object.assign(state, { zoom: 1, x: 0, y: 0 }); changed(place) }
  stage.onkeydown = (event) => {
    const keys = {
      "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), 0: find(".reset").onclick,
      "[": () => to(state.step - 1), "]": () => to(state.step + 1),
      ...Object.fromEntries(modes.map(([mode], i) => [i + 1, () => choose(mode)])),
      ArrowLeft: () => { state.x += 10; place() }, ArrowRight: () => { state.x -= 10; place() },
      ArrowUp: () => { state.y += 10; place() }, ArrowDown: () => { state.y -= 10; place() },
    }
    if (!keys[event.key] || (event.key.startsWith("Arrow") && state.zoom === 1)) return
    event.preventDefault()
    keys[event.key]()
  }
  draw()
  help()
  return () => { clearInterval(state.timer); clearTimeout(state.rest) }
}
