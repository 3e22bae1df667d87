// What became of requests when servers failed: a section for each trial.
function trialSection(trial) {
  const proxies = listed(trial.proxies);
  const over = key => proxies.map(([name, proxy]) => ({ name, points: (proxy.timeline || []).filter(one => typeof one[key] === "number").map(one => [one.second, one[key]]) })).filter(one => one.points.length > 1);
  const [slow, failed] = trial.part === "faults" ? [over("p99_ms").map(one => ({ ...one, points: one.points.filter(([, value]) => value > 0) })), over("failed")] : [[], []];
  const some = series => series.some(one => one.points.some(([, value]) => value > 0));
  const kinds = proxies.filter(([, proxy]) => Object.keys(proxy.errors || {}).length > 0);
  return section(slug(trial.name), capital(trial.name), `${capital(trial.does)}. Promised of the gateway: ${trial.promise}.`,
    html("div", { class: "plots" },
      some(slow) && secondsPlot({ title: "p99 over time", about: "Milliseconds, of what was answered in each second", series: slow, say: "p99 over time.", kind: "either", written: milliseconds }),
      some(failed) && secondsPlot({ title: "Errors over time", about: "Requests that failed in each second", series: failed, say: "Errors over time.", kind: "linear", written: value => `${number(value)}/s` }),
      html("div", { class: "wide" }, trialTable(trial, proxies))),
    kinds.length > 0 && html("p", { class: "note" }, "Errors by kind: ", kinds.map(([name, proxy]) => `${identity(name).name}: ${Object.entries(proxy.errors).map(([kind, times]) => `${count(times)} × ${kind}`).join(", ")}`).join("; "), "."),
    trial.left_out.length > 0 && html("p", { class: "note" }, "Left out: ", trial.left_out.map(one => `${identity(one.name).name} (${one.why})`).join("; "), "."),
    html("div", { class: "folded" }, configs(proxies)));
}

function trialTable(trial, proxies) {
  const rows = proxies.map(([name, proxy]) => proxyRow(name, [...trial.columns.map(({ key }) => html("td", {}, number(proxy.figures[key]))), html("td", {}, proxy.kept ? "kept" : "broken")]));
  return table("All figures", "", [["", ""], ...trial.columns.map(({ title }) => [title, ""]), ["promise", ""]], rows);
}
