// The page of one run: how fast, how long, what failed.
const percentileNames = { min: "least", mean: "mean", p50: "p50", p75: "p75", p90: "p90", p95: "p95", p99: "p99", p99_9: "p99.9", p99_99: "p99.99", max: "greatest" };

function loadRun(run) {
  const latency = run.latency_ms || {};
  const name = run.scenario || "load";
  const loop = run.loop === "open" ? `open loop at ${count(run.rate)} requests/s, latency from the intended start` : "closed loop: each connection asks again when it is answered";
  const about = run.url ? `${run.url}, ${run.protocol}, ${run.connections} connection${run.connections === 1 ? "" : "s"}${run.streams > 1 ? ` × ${run.streams} streams` : ""}; ${loop}.` : "Not even the first rate was kept up.";
  return [
    html("header", {}, html("div", { class: "kicker" }, [run.date, run.protocol, run.loop && `${run.loop} loop`].filter(Boolean).join(" · ")), html("h1", {}, name), html("p", { class: "lead" }, about),
      run.requests > 0 && tiles([[number(run.requests_per_second), "/s", "requests answered a second"], [number(latency.p50), "ms", "half of the answers came within"], [number(latency.p99), "ms", "99 of 100 answers came within"], [number(latency.p99_9), "ms", "999 of 1000 answers came within"],
        [run.failed ? count(run.failed) : "none", "", `of ${count(run.requests)} requests failed`, run.failed ? "bad" : ""]])),
    run.requests > 0 && section("scenario-" + name.replace(/[^a-zA-Z0-9_-]/g, "-"), "Latency and rate", null, html("div", { class: "plots" }, runPlots(run), html("div", { class: "wide" }, latencyTable(run))), html("div", { class: "folded" }, folded("The figures behind the plots", "as tables", html("div", { class: "plots" }, seriesTable("Latency", "ms", [{ name: "latency", points: run.percentiles || [] }], percentile), timeTable(run))))),
    run.ramp && rampSection(run.ramp),
    (Object.keys(run.errors || {}).length > 0 || run.ledger) && section("errors", "What went wrong, and what arrived", run.ledger ? "The ledger: each request has a number, counted at both ends, and each body a hash." : null, html("div", { class: "plots" },
      Object.keys(run.errors || {}).length > 0 && pairs("Errors", "by kind", run.errors), run.ledger && pairs("Ledger", "requests", run.ledger))),
    run.requests > 0 && section("machine", "The run", null, html("dl", { class: "facts" }, facts(run))),
    machineSection(run),
    repeatSection(run),
  ];
}

function runPlots(run) {
  const timeline = run.timeline || [];
  const over = key => timeline.filter(one => typeof one[key] === "number").map(one => [one.second, one[key]]);
  const series = [["p50", "p50_ms"], ["p99", "p99_ms"], ["maximum", "max_ms"]].map(([name, key]) => ({ name, points: over(key) })).filter(one => one.points.length > 1);
  return [
    (run.percentiles || []).length > 1 && latencyPlot([{ name: "gateway", label: run.scenario, points: run.percentiles }], "Milliseconds"),
    timeline.length > 1 && secondsPlot({ title: "Rate over time", about: "Requests answered in each second", series: [{ name: "gateway", points: over("requests") }], say: "Requests per second over time.", kind: "linear", written: value => `${number(value)}/s` }),
    series.length > 0 && secondsPlot({ title: "Latency over time", about: "Milliseconds, in each second", series, say: "Latency over time.", kind: "either", written: milliseconds, css: "wide" }),
  ];
}

// How latency rises with the rate, up to the rate that was not kept up.
function rampSection({ saturation, steps }) {
  const series = [["p50", "p50"], ["p99", "p99"], ["p99.9", "p99_9"]].map(([name, key]) => ({ name, points: steps.filter(step => typeof (step.latency_ms || {})[key] === "number").map(step => [step.rate, step.latency_ms[key]]) })).filter(one => one.points.length > 1);
  const rates = steps.map(step => step.rate);
  const rows = steps.map(step => html("tr", {}, html("th", { scope: "row" }, `${number(step.rate)}/s`), html("td", {}, `${number(step.requests_per_second)}/s`), ["p50", "p99", "p99_9"].map(key => html("td", {}, number((step.latency_ms || {})[key]))), html("td", {}, count(step.failed)), html("td", {}, step.keeps_up ? "yes" : "no")));
  return section("ramp", "Up to saturation", saturation ? `The rate rose step by step; ${number(saturation)} requests/s was the last that was kept up.` : "The first rate was not kept up.", html("div", { class: "plots" },
    series.length > 0 && linePlot({ title: "Latency by rate", about: "Milliseconds", series, say: "Latency by the rate of requests.", x: { kind: "linear", low: 0, high: Math.max(...rates), title: "requests a second", ticks: ticksTo(Math.max(...rates)), tick: brief, say: at => `${number(at)} requests/s` }, y: { kind: "either", text: milliseconds } }),
    html("div", {}, table("Steps", "latency in ms", [["asked for", ""], ["answered", ""], ["p50", ""], ["p99", ""], ["p99.9", ""], ["failed", ""], ["kept up", ""]], rows))));
}
const ticksTo = high => steps(high, 5);

function timeTable(run) {
  const cells = one => [count(one.requests), count(one.failed), number(one.p50_ms), number(one.p99_ms), number(one.max_ms)].map(value => html("td", {}, value));
  return table("Over time", "latency in ms", [["", ""], ["requests", ""], ["failed", ""], ["p50", ""], ["p99", ""], ["greatest", ""]], (run.timeline || []).map(one => html("tr", {}, html("th", { scope: "row" }, `second ${one.second}`), cells(one))));
}

function latencyTable(run) {
  const known = Object.keys(percentileNames).filter(key => typeof (run.latency_ms || {})[key] === "number");
  const row = (name, one) => html("tr", {}, html("th", { scope: "row" }, name), html("td", {}, count(one.requests)), html("td", {}, count(one.failed)), known.map(key => html("td", {}, number((one.latency_ms || {})[key]))));
  const parts = Object.entries(run.by_request || {});
  return table("All figures", "latency in ms", [["", ""], ["requests", ""], ["failed", ""], ...known.map(key => [percentileNames[key], ""])], [row("all", run), ...(parts.length > 1 ? parts.map(([name, one]) => row(name, one)) : [])]);
}

const LEDGER = ["sent", "arrived", "answered", "lost", "duplicated", "swapped", "truncated", "changed"];
const pairs = (title, unit, object) => table(title, unit, [["", ""], ["count", ""]], Object.entries(object).sort(([one], [other]) => LEDGER.indexOf(one) - LEDGER.indexOf(other)).map(([name, times]) => html("tr", {}, html("th", { scope: "row" }, name), html("td", {}, count(times)))));

function facts(run) {
  const { handshakes = {}, generator = {} } = run;
  const all = [["Seconds", count(run.seconds)], ["Requests", count(run.requests)], ["Bytes in", count(run.bytes_in)], ["Bytes out", count(run.bytes_out)], ["Connections opened", count(run.connections_opened)],
    ["TLS handshakes", handshakes.full || handshakes.resumed ? `${count(handshakes.full)} full, ${count(handshakes.resumed)} resumed` : "none"], ["Threads of the load", count(run.threads)],
    ["CPU of the load", typeof generator.cpu_us_per_request === "number" ? `${number(generator.cpu_us_per_request)} µs a request` : "–"],
    ["Latest start", typeof generator.late_ms_max === "number" ? `${number(generator.late_ms_max)} ms after it was due` : "–"]];
  return all.map(([name, value]) => [html("dt", {}, name), html("dd", {}, value)]);
}
