'use strict';
// What every plot rests on: elements, scales, numbers, colours, the tip under the pointer.
const PROXIES = ["gateway", "nginx", "haproxy", "envoy", "varnish", "caddy"];
const WRITTEN = { haproxy: "HAProxy", envoy: "Envoy", varnish: "Varnish", caddy: "Caddy" };
// Lines of one run.
const SHARES = { p50: 1, p99: 2, "p99.9": 4, maximum: 3 };
const others = [];

// The same colour and mark for a proxy on the whole page.
function identity(name) {
  const known = PROXIES.indexOf(name.toLowerCase());
  if (known >= 0) return { order: known, shape: known, css: PROXIES[known] + (known === 0 ? " hero" : ""), name: WRITTEN[PROXIES[known]] || name };
  if (SHARES[name]) return { order: 10 + SHARES[name], shape: SHARES[name], css: "other-" + SHARES[name], name };
  if (!others.includes(name)) others.push(name);
  const number = others.indexOf(name);
  return { order: 20 + number, shape: number % 6, css: "other-" + (number % 4 + 1), name };
}
const byIdentity = (one, other) => identity(one).order - identity(other).order;

function make(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}
const html = (name, attributes, ...children) => make(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) => make(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
const line = (x1, y1, x2, y2, css) => svg("line", { x1, y1, x2, y2, class: css });
const text = (x, y, anchor, css, ...content) => svg("text", { x, y, "text-anchor": anchor, class: css }, ...content);

// Six shapes, so that colour is never the only difference.
function mark(shape, x, y, size = 4.5) {
  const at = (...points) => svg("path", { class: "mark", d: "M" + points.map(([a, b]) => `${x + a * size},${y + b * size}`).join("L") + "Z" });
  switch (shape) {
    case 1: return at([-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]);
    case 2: return at([0, -1.15], [1.1, 0.8], [-1.1, 0.8]);
    case 3: return at([0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]);
    case 4: return at([0, 1.15], [1.1, -0.8], [-1.1, -0.8]);
    case 5: return at([-0.4, -1.2], [0.4, -1.2], [0.4, -0.4], [1.2, -0.4], [1.2, 0.4], [0.4, 0.4], [0.4, 1.2], [-0.4, 1.2], [-0.4, 0.4], [-1.2, 0.4], [-1.2, -0.4], [-0.4, -0.4]);
    default: return svg("circle", { class: "mark", cx: x, cy: y, r: size });
  }
}

// Three digits that matter; thousands apart.
function number(value) {
  if (typeof value !== "number" || !isFinite(value)) return "–";
  const size = Math.abs(value);
  const digits = size >= 100 || value === 0 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : 4;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
const count = value => typeof value === "number" ? value.toLocaleString("en") : "–";
const brief = value => value >= 1e6 ? trimmed(value / 1e6) + " M" : value >= 1e4 ? trimmed(value / 1e3) + " k" : trimmed(value);
const trimmed = value => Number(value.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 6 });
const ratio = value => typeof value === "number" && isFinite(value) ? value.toFixed(2) + "×" : "–";

function scale(kind, low, high, from, to) {
  const on = { linear: value => value, log: value => Math.log10(Math.max(value, 1e-9)), nines: nines }[kind];
  const start = on(low), stretch = (to - from) / ((on(high) - start) || 1);
  return value => from + (on(value) - start) * stretch;
}
// 0 → 0, 90 → 1, 99 → 2, 99.9 → 3: each nine takes the same room.
const nines = percentile => -Math.log10(Math.max(1 - percentile / 100, 1e-7));

function steps(high, count) {
  const raw = high / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find(one => one * power >= raw * 0.999) * power;
  return Array.from({ length: Math.floor(high / step + 1e-6) + 1 }, (_, place) => place * step);
}
function powers(low, high, most) {
  const all = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const one of [1, 2, 5]) all.push(Number((one * 10 ** power).toPrecision(1)));
  }
  const inside = all.filter(one => one >= low * 0.999 && one <= high * 1.001);
  const tens = inside.filter(one => Number.isInteger(Number(Math.log10(one).toFixed(9))));
  return inside.length > most && tens.length > 1 ? tens : inside;
}

// Labels at the right, moved apart so that none hides another.
function apart(labels, room, low, high) {
  const sorted = [...labels].sort((one, other) => one.y - other.y);
  sorted.forEach((label, place) => { label.at = Math.max(label.y, place ? sorted[place - 1].at + room : low); });
  for (let place = sorted.length - 1, limit = high; place >= 0; place--, limit -= room) {
    sorted[place].at = Math.min(sorted[place].at, limit);
    limit = Math.min(limit, sorted[place].at);
  }
  return sorted;
}

const tip = {
  show(event, title, rows) {
    const box = document.getElementById("tip");
    const cells = ([name, ...values]) => html("tr", { class: identity(name).css }, html("td", {}, identity(name).name), values.map(value => html("td", {}, value)));
    box.replaceChildren(html("b", {}, title), html("table", {}, html("tbody", {}, rows.map(cells))));
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const left = event.clientX + 16 + width > innerWidth ? event.clientX - 16 - width : event.clientX + 16;
    box.style.left = Math.max(4, left) + "px";
    box.style.top = Math.min(Math.max(4, event.clientY - height / 2), innerHeight - height - 4) + "px";
  },
  hide() { document.getElementById("tip").hidden = true; },
};

let figures = 0;
// A plot that is drawn anew whenever its width changes; what it shows is told to those who cannot see it.
function figure({ title, about, told, key, css, draw }) {
  const id = "figure-" + ++figures;
  const place = html("div", { class: "plot " + (css || "") });
  let drawn = 0;
  const redraw = wanted => {
    const width = wanted ? wanted[css === "wide" ? 1 : 0] : Math.round(place.clientWidth || 540);
    if (width === drawn) return;
    drawn = width;
    const { height, marks } = draw(width);
    const named = [svg("title", { id: id + "-title" }, title), svg("desc", { id: id + "-told" }, told)];
    place.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": `${id}-title ${id}-told` }, named, marks));
  };
  new ResizeObserver(() => guarded(() => redraw())).observe(place);
  waiting.push(redraw);
  return html("figure", { class: (css || "") + " figure" }, html("figcaption", {}, html("h3", {}, title), html("p", {}, about)), key, place);
}
// Drawn once the page is in place; and for paper as wide as a sheet of A4 has room, so that their letters keep their size.
const waiting = [];
const PAPER = [330, 688];
const drawAll = wanted => waiting.forEach(redraw => guarded(() => redraw(wanted)));
addEventListener("beforeprint", () => drawAll(PAPER));
addEventListener("afterprint", () => drawAll());

function guarded(work) {
  try { return work(); } catch (error) { trouble(error); return null; }
}
