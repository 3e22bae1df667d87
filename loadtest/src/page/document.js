// The comparison's document as the page wants it: proxies by name, rounds one after the other, one word for one thing.
function normalised(document) {
  const reasons = list => (list || []).map(one => ({ name: one.name, why: one.reason }));
  const settings = document.settings || {};
  const scenario = one => ({
    ...one, ...settings, proxies: byName(one.proxies, proxy => ({ ...proxy.figures, logged: proxy.logged, percentiles: proxy.percentiles || [], timeline: oneAfterTheOther(proxy.timeline || [], settings.seconds), config: proxy.config })),
    left_out: reasons(one.left_out),
  });
  const growth = one => ({
    name: one.by, base: one.base,
    steps: one.counts.map((count, place) => ({ count, proxies: byName(one.proxies.filter(proxy => proxy.figures.cpu_us_per_request[place]), proxy => ({ cpu_us_per_request: proxy.figures.cpu_us_per_request[place] })) })),
  });
  return {
    ...document, versions: document.proxies || [], missing: reasons(document.not_installed),
    scenarios: document.scenarios.map(scenario), growth: (document.growth || []).map(growth),
    instructions: (document.instructions || []).map(one => ({ ...one, proxies: byName(one.proxies, proxy => proxy), left_out: reasons(one.left_out) })),
    resilience: (document.resilience || []).map(one => ({ ...one, proxies: byName(one.proxies, proxy => proxy), left_out: reasons(one.left_out) })),
  };
}

const byName = (list, content) => Object.fromEntries((list || []).map(one => [one.name, content(one)]));

// A timeline a round becomes one.
function oneAfterTheOther(timelines, seconds) {
  return timelines.flatMap((timeline, round) => (timeline || []).map(one => ({ ...one, second: one.second + round * (seconds || timeline.length) })));
}
