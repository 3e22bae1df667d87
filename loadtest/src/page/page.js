// The page itself: from the document to headings, plots, tables and configs.
const figure_of = (proxy, key) => proxy[key] && typeof proxy[key] === "object" ? proxy[key] : { median: proxy[key], ratio: null, rounds: [] };
const COLUMNS = [
  ["cpu_us_per_request", "CPU", "µs a request"], ["requests_per_second", "rate", "requests/s"], ["p50_ms", "p50", "ms"], ["p99_ms", "p99", "ms"],
  ["p99_9_ms", "p99.9", "ms"], ["rss_mb", "memory", "MB"],
];
const capital = word => word.charAt(0).toUpperCase() + word.slice(1);
const slug = name => "scenario-" + name.replace(/[^a-zA-Z0-9_-]/g, "-");
const listed = object => Object.entries(object || {}).sort(([one], [other]) => byIdentity(one, other));
const joined = words => words.length < 2 ? words.join("") : words.slice(0, -1).join(", ") + " and " + words.at(-1);

function section(id, title, about, ...content) {
  return html("section", { id }, html("header", {}, html("h2", {}, title), about && html("p", {}, about)), content);
}
function code(content, css) {
  const button = html("button", { type: "button" }, "Copy");
  const shown = html("pre", { class: css, tabindex: "0" }, content);
  button.addEventListener("click", () => copy(content, shown).then(done => { button.textContent = done; setTimeout(() => { button.textContent = "Copy"; }, 1600); }));
  return html("div", { class: "code" }, shown, button);
}
// A file opened from a disk may not write to the clipboard everywhere: then it is at least selected.
async function copy(content, shown) {
  try {
    await navigator.clipboard.writeText(content);
    return "Copied";
  } catch {
    getSelection().selectAllChildren(shown);
    return "Selected";
  }
}
function table(title, unit, head, rows) {
  const columns = head.map(([name, small]) => html("th", { scope: "col" }, name, small && html("small", {}, small)));
  return html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, html("table", {}, html("caption", {}, title, " ", html("span", {}, unit)), html("thead", {}, html("tr", {}, columns)), html("tbody", {}, rows)));
}
const proxyRow = (name, cells) => html("tr", { class: identity(name).css }, html("th", { scope: "row" }, identity(name).name), cells);
// What a plot of lines shows, for those who would rather read it.
function seriesTable(title, unit, series, say) {
  const shown = series.filter(one => one.points.length > 0).sort((one, other) => byIdentity(one.name, other.name));
  const places = [...new Set(shown.flatMap(one => one.points.map(([at]) => at)))].sort((one, other) => one - other);
  const value = (one, at) => (one.points.find(([place]) => place === at) || [])[1];
  return table(title, unit, [["", ""], ...shown.map(one => [one.label || identity(one.name).name, ""])], places.map(at => html("tr", {}, html("th", { scope: "row" }, say(at)), shown.map(one => html("td", {}, number(value(one, at)))))));
}
const percentile = at => at === MAXIMUM ? "maximum" : `p${trimmedNines(at)}`;
function folded(title, hint, ...content) {
  return html("details", {}, html("summary", {}, title, " ", html("span", {}, hint)), html("div", { class: "body" }, content));
}

function tiles(list) {
  return html("dl", { class: "tiles" }, list.filter(Boolean).map(([value, unit, label, css]) => html("div", { class: "tile " + (css || "") }, html("dt", {}, label), html("dd", {}, value, unit && html("small", {}, unit)))));
}

function comparison(document) {
  const { scenarios, growth, instructions, resilience } = document;
  const bases = scenarios.map(one => one.base).filter(Boolean);
  const reference = bases.includes("nginx") || bases.length === 0 ? "nginx" : bases[0];
  const names = [...new Set([...scenarios, ...growth.flatMap(one => one.steps), ...instructions, ...resilience].flatMap(one => Object.keys(one.proxies)))].sort(byIdentity);
  const costs = scenarios.map(one => ({ name: one.base && one.base !== reference ? `${one.name} (÷ ${identity(one.base).name})` : one.name, base: one.base, href: "#" + slug(one.name), values: listed(one.proxies).map(([name, proxy]) => [name, figure_of(proxy, "cpu_us_per_request").ratio]).filter(([, value]) => typeof value === "number") }));
  const told = joined(names.map(name => name === "gateway" ? "the gateway" : identity(name).name));
  const onlyFailing = resilience.length > 0 && scenarios.length + growth.length + instructions.length === 0;
  const title = onlyFailing ? `When servers fail: ${told}` : names.length > 2 ? `The same work through ${["three", "four", "five", "six", "seven", "eight", "nine"][names.length - 3] || names.length} proxies` : `The same work through ${told}`;
  return [
    html("header", {}, html("div", { class: "kicker" }, [document.date && document.date.slice(0, 10), document.machine && document.machine.cpu, document.machine && `${document.machine.cores} cores`].filter(Boolean).join(" · ")),
      html("h1", {}, title),
      onlyFailing ? html("p", { class: "lead" }, `${capital(told)}: one worker on one core each, in turn, before the same servers.`) :
      html("p", { class: "lead" }, `${capital(told)}: one worker on one core each, in turn, in several rounds. Absolute figures belong to this machine; `, html("b", {}, `ratios to ${identity(reference).name} within a round`), " carry over. Below 1 is cheaper."),
      headline(costs, reference)),
    scenarios.length > 0 && section("overview", "At a glance", null,
      html("div", { class: "plots" }, costs.some(row => row.values.length) && overviewPlot({ title: `CPU per request, as a ratio to ${identity(reference).name}`, about: "Median over the rounds; logarithmic, so that half and double lie equally far from 1. The figures at the right are the gateway’s", rows: costs, reference })),
      costs.some(row => row.values.length) && html("div", { class: "folded" }, folded("The figures behind the plot", "as a table", overviewTable(costs, names, reference))),
      html("nav", { "aria-label": "Sections" }, scenarios.map(one => html("a", { href: "#" + slug(one.name) }, one.name)), growth.length > 0 && html("a", { href: "#growth" }, "cost by growth"), html("a", { href: "#machine" }, "machine and versions"), html("a", { href: "#repeat" }, "how to repeat it"))),
    scenarios.map(one => scenarioSection(one, one.base || reference)),
    growth.length > 0 && growthSection(growth),
    instructions.length > 0 && instructionsSection(instructions),
    resilience.map(trialSection),
    machineSection(document),
    repeatSection(document),
  ];
}

function overviewTable(costs, names, reference) {
  const cell = (row, name) => html("td", {}, ratio((row.values.find(([one]) => one === name) || [])[1]));
  const rows = costs.map(row => html("tr", {}, html("th", { scope: "row" }, row.name), names.map(name => cell(row, name))));
  return table("CPU per request", `ratio to ${identity(reference).name}`, [["", ""], ...names.map(name => [identity(name).name, ""])], rows);
}

function headline(costs, reference) {
  const ours = costs.filter(row => (row.base || reference) === reference).map(row => [row.name, (row.values.find(([name]) => name === "gateway") || [])[1]]).filter(([, value]) => value > 0);
  if (ours.length === 0 || reference === "gateway") return null;
  const mean = Math.exp(ours.reduce((sum, [, value]) => sum + Math.log(value), 0) / ours.length);
  const sorted = [...ours].sort(([, one], [, other]) => one - other);
  const [best, worst] = [sorted[0], sorted.at(-1)];
  const held = ours.filter(([, value]) => value <= 1.005).length;
  const peer = identity(reference).name;
  return tiles([
    [mean.toFixed(2), "×", `the gateway’s CPU per request, ${peer} = 1: geometric mean of ${ours.length} scenario${ours.length > 1 ? "s" : ""}`],
    [`${held}`, `of ${ours.length}`, `scenarios in which it costs at most what ${peer} costs`],
    [best[1].toFixed(2), "×", `at its best: ${best[0]}`],
    ours.length > 1 && [worst[1].toFixed(2), "×", `at its worst: ${worst[0]}`, worst[1] > 1.005 ? "bad" : ""],
  ]);
}

function scenarioSection(scenario, reference) {
  const proxies = listed(scenario.proxies);
  const bars = proxies.map(([name, proxy]) => {
    const cpu = figure_of(proxy, "cpu_us_per_request");
    return { name, value: cpu.ratio, low: cpu.least ?? undefined, high: cpu.most ?? undefined, rows: [["median", `${number(cpu.median)} µs`], ...cpu.rounds.map((value, place) => [`round ${place + 1}`, `${number(value)} µs`])] };
  }).filter(bar => typeof bar.value === "number");
  const latency = proxies.map(([name, proxy]) => ({ name, points: proxy.percentiles || [] }));
  const rate = proxies.map(([name, proxy]) => ({ name, points: (proxy.timeline || []).map(one => [one.second, one.requests]) }));
  const shape = [scenario.rounds && `${scenario.rounds} rounds of ${scenario.seconds} s`, scenario.connections && `${scenario.connections} connections`, scenario.load && `load: ${scenario.load}`].filter(Boolean).join(", ");
  const about = [scenario.does && capital(scenario.does), shape && capital(shape)].filter(Boolean).join(". ") + ".";
  // Who drops lines of its log does less.
  const silent = proxies.filter(([, proxy]) => typeof proxy.logged === "number" && proxy.logged < 0.995);
  const some = series => series.some(one => one.points.length > 1);
  return section(slug(scenario.name), scenario.name, about,
    html("div", { class: "plots" },
      bars.length > 0 && barPlot({ title: "CPU per request", about: `Ratio to ${identity(reference).name}, round by round: the median, whiskers from the least to the greatest`, rows: bars, reference, say: `CPU time per request as a ratio to ${reference}.` }),
      some(latency) && latencyPlot(latency, "Milliseconds"),
      some(rate) && secondsPlot({ title: "Rate over time", about: scenario.rounds > 1 ? "Requests answered in each second, the rounds one after the other" : "Requests answered in each second", series: rate, say: "Requests per second over time.", kind: "linear", written: value => `${number(value)}/s` }),
      html("div", { class: some(rate) ? "figures" : "figures wide" }, figuresTable(proxies, reference))),
    silent.length > 0 && html("p", { class: "note" }, "Less work than asked for: ", silent.map(([name, proxy]) => `${identity(name).name} logged ${(proxy.logged * 100).toFixed(1)} % of the requests`).join("; "), "."),
    (scenario.left_out || []).length > 0 && html("p", { class: "note" }, "Left out: ", scenario.left_out.map(one => `${identity(one.name).name} (${one.why})`).join("; "), "."),
    html("div", { class: "folded" },
      folded("The figures behind the plots", "as tables", html("div", { class: "plots" }, some(latency) && seriesTable("Latency", "ms", latency, percentile), some(rate) && seriesTable("Rate", "requests in each second", rate, at => `second ${at}`))),
      configs(proxies)));
}

function figuresTable(proxies, reference) {
  const columns = COLUMNS.filter(([key]) => proxies.some(([, proxy]) => typeof figure_of(proxy, key).median === "number"));
  const rows = proxies.map(([name, proxy]) => proxyRow(name, columns.map(([key]) => {
    const { median, ratio: share } = figure_of(proxy, key);
    return html("td", {}, number(median), html("i", {}, name === reference || typeof share !== "number" ? "" : ratio(share)));
  })));
  return table("All figures", `medians; below them the ratio to ${identity(reference).name}`, [["", ""], ...columns.map(([, name, unit]) => [name, unit])], rows);
}

function configs(proxies) {
  const given = proxies.filter(([, proxy]) => proxy.config);
  if (given.length === 0) return null;
  const one = ([name, proxy]) => html("details", { class: identity(name).css }, html("summary", {}, identity(name).name, " ", html("span", {}, `${proxy.config.trimEnd().split("\n").length} lines`)), html("div", { class: "body" }, code(proxy.config)));
  return folded("The configs", given.map(([name]) => identity(name).name).join(", "), given.map(one));
}

function growthSection(growth) {
  const plot = one => {
    const names = [...new Set(one.steps.flatMap(step => Object.keys(step.proxies)))];
    const series = names.map(name => ({ name, points: one.steps.filter(step => step.proxies[name]).map(step => {
      const { median, rounds } = figure_of(step.proxies[name], "cpu_us_per_request");
      return rounds.length > 1 ? [step.count, median, Math.min(...rounds), Math.max(...rounds)] : [step.count, median];
    }) }));
    const counts = one.steps.map(step => step.count);
    return linePlot({ title: `More ${one.name}`, about: "CPU µs a request", series, css: "growth", say: `CPU time per request by the number of ${one.name}.`,
      x: { kind: "log", low: Math.min(...counts), high: Math.max(...counts), title: `${one.name}, logarithmic`, ticks: counts, tick: at => at.toLocaleString("en"), say: at => `${at.toLocaleString("en")} ${one.name}` },
      y: { kind: "linear", text: value => `${number(value)} µs` } });
  };
  const rows = growth.flatMap(one => one.steps.map(step => [one, step]));
  const names = [...new Set(rows.flatMap(([, step]) => Object.keys(step.proxies)))].sort(byIdentity);
  const shown = rows.map(([one, step]) => html("tr", {}, html("th", { scope: "row" }, `${step.count.toLocaleString("en")} ${step.count === 1 ? one.name.replace(/s$/, "") : one.name}`), names.map(name => html("td", {}, step.proxies[name] ? number(figure_of(step.proxies[name], "cpu_us_per_request").median) : "–"))));
  return section("growth", "Cost by growth", "The same request while something else becomes more. A flat line is what one hopes for; whiskers reach from the least round to the greatest.",
    html("div", { class: "plots" }, growth.map(plot), html("div", {}, table("All figures", "CPU µs a request, medians", [["", ""], ...names.map(name => [identity(name).name, ""])], shown))));
}

function instructionsSection(instructions) {
  const plot = one => barPlot({ title: one.name, about: `User instructions a request, as a ratio to ${identity(one.base || "nginx").name}`, reference: one.base || "nginx", say: `Instructions per request in the scenario ${one.name}.`,
    rows: listed(one.proxies).filter(([, proxy]) => typeof proxy.ratio === "number").map(([name, proxy]) => ({ name, value: proxy.ratio, rows: [["instructions", number(proxy.instructions_per_request)], ["allocations", typeof proxy.allocations_per_request === "number" ? trimmed(proxy.allocations_per_request) : "–"]] })) });
  const names = [...new Set(instructions.flatMap(one => Object.keys(one.proxies)))].sort(byIdentity);
  const rows = instructions.map(one => html("tr", {}, html("th", { scope: "row" }, one.name), names.map(name => html("td", {}, one.proxies[name] ? number(one.proxies[name].instructions_per_request) : "–", allocations(one.proxies[name])))));
  return section("instructions", "Instructions per request", "Counted by callgrind, repeatable to about 1 %; user space only, so the kernel’s share is missing.",
    html("div", { class: "plots" }, instructions.map(plot), html("div", {}, table("All figures", "instructions a request; below them allocations", [["", ""], ...names.map(name => [identity(name).name, ""])], rows))));
}

function allocations(proxy) {
  return proxy && typeof proxy.allocations_per_request === "number" ? html("i", {}, `${trimmed(proxy.allocations_per_request)} allocations`) : null;
}

function machineSection(document) {
  const { machine, versions = [], missing = [] } = document;
  if (!machine && versions.length === 0) return null;
  const written = { cpu: "Processor", cores: "Cores", memory_mb: "Memory", kernel: "Linux", system: "System" };
  const facts = Object.entries(machine || {}).filter(([, value]) => value !== null).sort(([one], [other]) => Object.keys(written).indexOf(one) - Object.keys(written).indexOf(other))
    .map(([name, value]) => [html("dt", {}, written[name] || name), html("dd", {}, name === "memory_mb" ? `${(value / 1024).toFixed(1)} GiB` : `${value}`)]);
  const others = [...versions].sort((one, other) => byIdentity(one.name, other.name)).map(one => [html("dt", {}, identity(one.name).name), html("dd", {}, one.version)]);
  return section("machine", "Machine and versions", null, html("div", { class: "plots" }, html("dl", { class: "facts" }, facts), html("dl", { class: "facts" }, others)),
    missing.length > 0 && html("p", { class: "note" }, "Not there, and left out: ", missing.map(one => `${identity(one.name).name} (${one.why})`).join("; "), "."));
}

function repeatSection(document) {
  return section("repeat", "How to repeat it", document.command ? "On any Linux machine with two cores and nothing else to do:" : null,
    document.command && code(document.command, "wrap"),
    html("div", { class: "folded" }, folded("Everything as JSON", "what this page was drawn from", code(globalThis.document.getElementById("document").textContent))));
}

function start() {
  const document_ = JSON.parse(document.getElementById("document").textContent);
  const place = document.getElementById("page");
  const content = Array.isArray(document_.scenarios) ? comparison(normalised(document_)) : loadRun(document_);
  place.append(...content.flat(Infinity).filter(Boolean), html("footer", {}, "Drawn by loadtest. This file holds everything it shows and asks the network for nothing."));
  document.title = place.querySelector("h1").textContent;
  drawAll();
}
guarded(start);
