// The kinds of plots: lines, bars, and all scenarios in a row.

// One line a proxy, its name at its end. series: [{ name, points: [[x, y, low?, high?]] }]
function linePlot({ title, about, series, x, y, css, say }) {
  const shown = series.filter(one => one.points.length > 0).sort((one, other) => byIdentity(one.name, other.name));
  const all = shown.flatMap(one => one.points);
  const values = all.flatMap(([, value, low, high]) => [value, low ?? value, high ?? value]).filter(value => value > 0);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const logarithmic = y.kind === "log" || y.kind === "either" && most / least > 12;
  const [low, high] = logarithmic ? [least / 1.15, most * 1.15] : [0, most * 1.08];
  const told = `${say} ` + shown.map(one => `${identity(one.name).name}: ${x.say(one.points[0][0])} ${y.text(one.points[0][1])}, ${x.say(one.points.at(-1)[0])} ${y.text(one.points.at(-1)[1])}.`).join(" ");
  return figure({ title, about: about + (logarithmic ? ", logarithmic" : ""), told, css, draw });

  function draw(width) {
    const height = Math.round(Math.min(Math.max(width * 0.6, 250), 340));
    const single = shown.length === 1;
    const longest = Math.max(...shown.map(one => (one.label || identity(one.name).name).length));
    const edge = { left: 46, right: single ? 24 : 20 + longest * (css === "wide" ? 9 : 8), top: 12, bottom: 40 };
    const [right, bottom] = [width - edge.right, height - edge.bottom];
    const across = scale(x.kind, x.low, x.high, edge.left, right);
    const up = scale(logarithmic ? "log" : "linear", low, high, bottom, edge.top);
    const grid = (logarithmic ? powers(low, high, 8) : steps(high, 5)).map(value =>
      [line(edge.left, up(value), right, up(value), value === 0 ? "axis" : "grid"), text(edge.left - 8, up(value) + 4, "end", "", brief(value))]);
    let last = -Infinity;
    const ticks = x.ticks.map(value => {
      const at = across(value), name = x.tick(value);
      if (at - last < name.length * 6.5 + 8) return line(at, bottom, at, bottom + 3, "axis");
      last = at;
      return [line(at, bottom, at, bottom + 5, "axis"), text(at, bottom + 19, "middle", "", name)];
    });
    const labels = apart(shown.map(one => ({ one, y: up(one.points.at(-1)[1]) })), 15, edge.top + 4, bottom - 4);
    const lines = [...shown].reverse().map(one => {
      const path = "M" + one.points.map(([at, value]) => `${across(at).toFixed(1)},${up(value).toFixed(1)}`).join("L");
      const whiskers = one.points.filter(point => point.length > 2).map(([at, , from, to]) => line(across(at), up(from), across(at), up(to), "whisker"));
      const marks = one.points.length <= 12 ? one.points : [one.points.at(-1)];
      return svg("g", { class: identity(one.name).css }, svg("path", { class: "line", d: path }), whiskers, marks.map(([at, value]) => mark(identity(one.name).shape, across(at), up(value), 4)));
    });
    const names = single ? [] : labels.map(({ one, y: point, at }) => svg("g", { class: identity(one.name).css },
      Math.abs(at - point) > 3 && svg("path", { class: "leader", fill: "none", d: `M${across(one.points.at(-1)[0]) + 5},${point}L${right + 11},${at}` }),
      text(right + 13, at + 4, "start", "name " + identity(one.name).css, one.label || identity(one.name).name)));
    const cross = line(0, edge.top, 0, bottom, "cross");
    cross.style.display = "none";
    const catcher = svg("rect", { class: "catch", x: edge.left - 10, y: 0, width: right - edge.left + 20, height });
    const places = [...new Set(all.map(([at]) => at))].sort((one, other) => one - other);
    catcher.addEventListener("pointermove", event => {
      const pointer = (event.clientX - catcher.getBoundingClientRect().left) + edge.left - 10;
      const nearest = places.reduce((best, one) => Math.abs(across(one) - pointer) < Math.abs(across(best) - pointer) ? one : best);
      cross.style.display = "";
      cross.setAttribute("x1", across(nearest));
      cross.setAttribute("x2", across(nearest));
      const found = shown.map(one => [one.name, one.points.find(([at]) => at === nearest)]).filter(([, point]) => point);
      found.sort(([, one], [, other]) => other[1] - one[1]);
      tip.show(event, x.say(nearest), found.map(([name, point]) => [name, y.text(point[1]), ...(point.length > 2 ? [`${number(point[2])}–${number(point[3])}`] : [])]));
    });
    catcher.addEventListener("pointerleave", () => { tip.hide(); cross.style.display = "none"; });
    return { height, marks: [grid, ticks, text((edge.left + right) / 2, height - 2, "middle", "", x.title), line(edge.left, bottom, right, bottom, "axis"), lines, names, cross, catcher] };
  }
}

// Ratios to the reference as bars; whiskers from the least round to the greatest.
// rows: [{ name, value, low, high, rows: [[label, value]] }]
function barPlot({ title, about, rows, reference, say }) {
  rows.sort((one, other) => byIdentity(one.name, other.name));
  const told = `${say} ` + rows.map(row => `${identity(row.name).name}: ${ratio(row.value)}.`).join(" ");
  return figure({ title, about, told, draw });

  function draw(width) {
    const band = width < 420 ? 34 : 38;
    const edge = { left: 74, right: 58, top: 22, bottom: 26 };
    const height = edge.top + rows.length * band + edge.bottom;
    const most = Math.max(1.15, ...rows.map(row => Math.max(row.value, row.high ?? 0))) * 1.02;
    const across = scale("linear", 0, most, edge.left, width - edge.right);
    const bottom = height - edge.bottom;
    const grid = steps(most, width < 420 ? 4 : 6).map(value => [line(across(value), edge.top, across(value), bottom, value === 0 ? "axis" : "grid"), text(across(value), bottom + 17, "middle", "", trimmed(value) + "×")]);
    const bars = rows.map((row, place) => {
      const [top, middle] = [edge.top + place * band, edge.top + (place + 0.5) * band];
      const whisker = row.low !== undefined && row.high > row.low && svg("path", { class: "whisker", d: `M${across(row.low)},${middle - 4}v8M${across(row.low)},${middle}H${across(row.high)}M${across(row.high)},${middle - 4}v8` });
      const group = svg("g", { class: "row " + identity(row.name).css },
        svg("rect", { class: "stripe", x: 0, y: top, width, height: band }),
        text(edge.left - 10, middle + 4, "end", "name " + identity(row.name).css, identity(row.name).name),
        svg("rect", { class: "bar", x: across(0), y: middle - band * 0.29, width: Math.max(1, across(row.value) - across(0)), height: band * 0.58, rx: 2 }),
        whisker, text(Math.max(across(row.value), across(row.high ?? 0)) + 8, middle + 4, "start", "value " + identity(row.name).css, ratio(row.value)));
      group.addEventListener("pointermove", event => tip.show(event, identity(row.name).name, row.rows.map(([label, value]) => [label, value])));
      group.addEventListener("pointerleave", tip.hide);
      return group;
    });
    const one = [line(across(1), edge.top - 4, across(1), bottom, "one"), text(across(1), edge.top - 9, "middle", "one-name", `${identity(reference).name} = 1`)];
    return { height, marks: [grid, bars, one] };
  }
}

// Every scenario a row, every proxy a mark: left of the line is cheaper. rows: [{ name, href, values: [[proxy, ratio]] }]
function overviewPlot({ title, about, rows, reference }) {
  const names = [...new Set(rows.flatMap(row => row.values.map(([name]) => name)))].filter(name => name !== reference).sort(byIdentity);
  const key = html("ul", { class: "key", "aria-hidden": "true" }, names.map(name => html("li", { class: identity(name).css }, svg("svg", { viewBox: "-6 -6 12 12" }, mark(identity(name).shape, 0, 0, 4.5)), identity(name).name)));
  const told = rows.map(row => `${row.name}: ` + row.values.map(([name, value]) => `${identity(name).name} ${ratio(value)}`).join(", ")).join(". ");
  return figure({ title, about, told, key, css: "wide", draw });

  function draw(width) {
    const narrow = width < 560;
    const band = 34;
    const edge = { left: Math.max(60, 22 + Math.max(...rows.map(row => row.name.length)) * (narrow ? 6.9 : 7.6)), right: narrow ? 52 : 70, top: 24, bottom: 30 };
    const height = edge.top + rows.length * band + edge.bottom;
    const all = rows.flatMap(row => row.values.map(([, value]) => value)).filter(value => value > 0);
    const [low, high] = [Math.min(0.8, ...all) / 1.06, Math.max(1.25, ...all) * 1.06];
    const across = scale("log", low, high, edge.left, width - edge.right);
    const bottom = height - edge.bottom;
    let last = -Infinity;
    const grid = [0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 50].filter(value => value >= low && value <= high).map(value => {
      const crowded = across(value) - last < 38;
      if (!crowded) last = across(value);
      return [value === 1 ? null : line(across(value), edge.top, across(value), bottom, "grid"), crowded ? null : text(across(value), bottom + 18, "middle", "", trimmed(value) + "×")];
    });
    const drawn = rows.map((row, place) => {
      const [top, middle] = [edge.top + place * band, edge.top + (place + 0.5) * band];
      const ours = row.values.find(([name]) => name.toLowerCase() === "gateway");
      const marks = row.values.filter(([name]) => name !== (row.base || reference)).sort(([one], [other]) => byIdentity(other, one));
      const reach = row.values.map(([, value]) => across(value));
      const label = text(edge.left - 14, middle + 4, "end", "value", row.name);
      const group = svg("g", { class: "row" }, svg("rect", { class: "stripe", x: 0, y: top, width, height: band }),
        svg("a", { href: row.href, "aria-label": `${row.name}, its section` }, label),
        line(Math.min(...reach), middle, Math.max(...reach), middle, "reach"),
        marks.map(([name, value]) => svg("g", { class: identity(name).css }, mark(identity(name).shape, across(value), middle, name.toLowerCase() === "gateway" ? 7 : 5.5))),
        ours && text(width - edge.right + 14, middle + 4, "start", "name gateway hero", ratio(ours[1])));
      group.addEventListener("pointermove", event => tip.show(event, row.name, [...row.values].sort(([, one], [, other]) => one - other).map(([name, value]) => [name, ratio(value)])));
      group.addEventListener("pointerleave", tip.hide);
      return group;
    });
    const one = [line(across(1), edge.top - 4, across(1), bottom, "one"), text(across(1), edge.top - 9, "middle", "one-name", `${identity(reference).name} = 1`)];
    const sides = narrow ? [] : [text(across(1) - 46, edge.top - 9, "end", "", "← cheaper"), text(across(1) + 46, edge.top - 9, "start", "", "dearer →")];
    return { height, marks: [grid, one, drawn, sides] };
  }
}

// The plots that both kinds of page have.
const milliseconds = value => `${number(value)} ms`;
const MAXIMUM = 100;
function latencyPlot(series, about) {
  const finite = series.flatMap(one => one.points.map(([at]) => at)).filter(at => at < MAXIMUM);
  const most = Math.min(Math.max(99, ...finite), 99.99);
  const end = nines(most) + 0.4;
  // The greatest has no place on a scale of nines: a little right of the last.
  const placed = series.map(one => ({ ...one, points: one.points.filter(([at]) => at <= most || at === MAXIMUM).map(([at, value]) => [at === MAXIMUM ? 100 - 100 * 10 ** -end : at, value]) }));
  const last = 100 - 100 * 10 ** -end;
  return linePlot({
    title: "Latency by percentile", about, series: placed, say: "Latency in milliseconds by percentile.",
    x: { kind: "nines", low: 0, high: last, title: "percentile of requests; each nine takes the same room", ticks: [...[0, 50, 90, 99, 99.9, 99.99].filter(tick => tick <= most), last], tick: at => at === last ? "max" : `${at}`, say: at => at === last ? "maximum" : `p${trimmedNines(at)}` },
    y: { kind: "either", text: milliseconds },
  });
}
const trimmedNines = at => Number(at.toFixed(4)).toString();
function secondsPlot({ title, about, series, say, kind, written, css }) {
  const high = Math.max(1, ...series.flatMap(one => one.points.map(([at]) => at)));
  return linePlot({ title, about, series, say, css,
    x: { kind: "linear", low: 0, high, title: "second", ticks: steps(high, 6).filter(Number.isInteger), tick: at => `${at}`, say: at => `second ${at}` },
    y: { kind, text: written } });
}
