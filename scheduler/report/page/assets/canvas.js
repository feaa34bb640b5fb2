// Canvases that follow their box, the theme and the printer.

let palette = null;

function colours() {
  if (!palette) {
    const style = getComputedStyle(document.documentElement);
    palette = new Proxy({}, { get: (kept, name) => (kept[name] ??= style.getPropertyValue(`--${name}`).trim()) });
  }
  return palette;
}

function forgetColours() {
  palette = null;
}

// Return a canvas in `box` with a draw function that is given a context in CSS pixels.
function board(box, label, description) {
  const canvas = el("canvas", { tabindex: "0", role: "application", "aria-roledescription": description, "aria-label": label });
  box.append(canvas);
  const state = { canvas, width: 0, height: 0, font: 12 };
  state.paint = (height, draw) => {
    const ratio = Math.min(3, devicePixelRatio || 1);
    const width = Math.max(1, box.clientWidth);
    if (state.width !== width || state.height !== height || state.ratio !== ratio) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.setProperty("height", `${height}px`);
      Object.assign(state, { width, height, ratio });
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    state.font = Math.round(0.75 * rem());
    pen.font = `${state.font}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    draw(pen, width, height, colours());
  };
  state.at = (event) => {
    const place = canvas.getBoundingClientRect();
    return [event.clientX - place.left, event.clientY - place.top];
  };
  return state;
}

function cut(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let low = 0;
  let high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (pen.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return low ? `${text.slice(0, low)}…` : "";
}

// The same from the front: names of nodes differ in their ends.
function cutFront(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let from = 1;
  while (from < text.length && pen.measureText(`…${text.slice(from)}`).width > width) from++;
  return from < text.length ? `…${text.slice(from)}` : "";
}

function timeAxis(pen, c, { left, width, y, from, to, tick, font }) {
  const { step, at } = timeTicks(from * tick, to * tick, Math.max(2, width / (6 * font)));
  pen.fillStyle = c.soft;
  pen.textAlign = "center";
  for (const t of at) {
    const x = left + ((t / tick - from) / (to - from)) * width;
    pen.fillText(clockLabel(t, step), Math.min(left + width - 1.4 * font, Math.max(left + 1.4 * font, x)), y);
  }
  return at.map((t) => left + ((t / tick - from) / (to - from)) * width);
}
