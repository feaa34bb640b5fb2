// Small pieces that every view uses: elements made of text only, figures, time, tips.

const SVG = "http://www.w3.org/2000/svg";

function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  fill(node, props, children);
  return node;
}

function svg(tag, props = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  fill(node, props, children);
  return node;
}

function fill(node, props, children) {
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "style") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
}

const $ = (id) => document.getElementById(id);
const named = (text) => el("bdi", {}, text);
const swatch = (colour) => el("span", { class: "swatch", style: { background: colour }, "aria-hidden": "true" });

function digits(value) {
  const size = Math.abs(value);
  return size >= 100 ? 0 : size >= 10 ? 1 : 2;
}

function number(value, most = digits(value)) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value && Math.abs(value) < 0.01) return value.toPrecision(2);
  return value.toLocaleString("en", { minimumFractionDigits: Math.min(most, digits(value) || 0), maximumFractionDigits: most });
}

const whole = (value) => number(Math.round(value), 0);
const percent = (share, most = 1) => (Number.isFinite(share) ? `${(100 * share).toFixed(most)} %` : "–");

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function unitOf(seconds) {
  return UNITS.find(([length]) => Math.abs(seconds) >= length) || UNITS[3];
}

function duration(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  const [length, unit] = unitOf(seconds);
  return `${number(seconds / length)} ${unit}`;
}

function interval(low, high) {
  const [length, unit] = unitOf(high);
  return `${number(Math.max(0, low) / length, 2)}–${number(high / length, 2)} ${unit}`;
}

const hours = (seconds) => `${number(seconds / 3600)} acc-h`;

// Time since the start of the run, as people count: day and time of day where it is long.
function moment(seconds) {
  const day = Math.floor(seconds / 86400);
  const rest = seconds - 86400 * day;
  const h = Math.floor(rest / 3600);
  const m = Math.floor((rest % 3600) / 60);
  const clock = `${String(h).padStart(2, "0")}:${String(m).padStart(2, "0")}`;
  return day ? `day ${day + 1}, ${clock}` : clock;
}

function clockLabel(seconds, step) {
  if (step >= 86400) return `day ${Math.round(seconds / 86400) + 1}`;
  const rest = ((seconds % 86400) + 86400) % 86400;
  const text = moment(rest);
  if (step < 60) return `${text}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  return rest === 0 && seconds > 0 ? `day ${Math.round(seconds / 86400) + 1}` : text;
}

const STEPS = [1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 864000, 2592000];

function timeTicks(from, to, most) {
  const step = STEPS.find((s) => (to - from) / s <= most) || STEPS[STEPS.length - 1] * Math.ceil((to - from) / STEPS[STEPS.length - 1] / most);
  const out = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) out.push(t);
  return { step, at: out };
}

function niceTop(value) {
  if (!(value > 0)) return 1;
  const base = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((f) => f * base).find((v) => v >= value);
}

// A memory of what a view was last drawn for: true where nothing of it has changed.
function memory() {
  let last = null;
  return (...now) => {
    const same = last !== null && now.every((value, i) => value === last[i]);
    last = now;
    return same;
  };
}

function say(text) {
  $("live").textContent = text;
}

function tip(event, text) {
  const box = $("tip");
  if (!text) {
    box.hidden = true;
    return;
  }
  box.textContent = text;
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const x = Math.min(event.clientX + 14, innerWidth - width - 8);
  const y = event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18;
  box.style.setProperty("left", `${Math.max(4, x)}px`);
  box.style.setProperty("top", `${Math.max(4, y)}px`);
}

function rem() {
  return parseFloat(getComputedStyle(document.documentElement).fontSize);
}

function short(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
