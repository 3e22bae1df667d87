//! File types become checked types; what does not fit together is said, all at once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use plugins::registry::PluginSettings;

use super::at::At;
use super::error::{Problem, Problems};
use super::fault::suggestion;
use super::file;
use super::load::Files;
use super::source::{Place, Sources};
use super::{Config, UpstreamId};

use links::Links;

mod address;
mod certificate;
mod guards;
mod health;
mod links;
mod process;
mod resilience;
mod route;
mod test;
mod upstream;

/// Makes a [`Config`] of what was read, or says everything that is wrong.
pub(super) fn check(files: Files) -> Result<Config, Problems> {
    let Files { sources, problems, main, included, lost, incomplete } = files;
    let mut checking = Checking { sources, problems, lost, incomplete };
    let parts = Parts::of(main, included, &mut checking);
    let Parts { upstreams, plugins, routes, tests, routes_whole, main } = parts;

    let listeners = checking.listeners(main.listeners, main.admin.as_ref());
    let admin = main.admin.and_then(|admin| checking.admin(admin));
    let access_log = main.access_log.and_then(|log| checking.access_log(log));
    let trusted_proxies = checking.networks(&main.trusted_proxies);
    let server = checking.server(main.server);
    let limits = checking.limits(&main.limits);
    let overload = resilience::overload(&main.overload);

    let names = Names {
        upstreams: upstreams
            .iter()
            .enumerate()
            .map(|(index, (name, _))| (name.clone(), UpstreamId(index)))
            .collect(),
        plugins: checking.named_plugins(plugins),
        links: Links::of(&upstreams),
    };
    checking.no_circles(&names.links);
    let upstreams = upstreams
        .into_iter()
        .filter_map(|(name, upstream)| checking.upstream(name, upstream, &names))
        .collect();
    let routes = checking.routes(routes, main.defaults, &names, limits.body_bytes);
    let route_names = routes_whole.then(|| routes.iter().map(|route| route.name.clone()).collect());
    let tests = checking.tests(tests, &names, route_names);

    let Checking { sources, problems, lost: _, incomplete: _ } = checking;
    if !problems.is_empty() {
        return Err(Problems::new(sources, problems));
    }
    Ok(Config {
        sources,
        server,
        limits,
        overload,
        listeners,
        trusted_proxies,
        admin,
        access_log,
        upstreams,
        routes,
        tests,
    })
}

/// What may stand in several files, laid together.
struct Parts {
    upstreams: BTreeMap<String, At<file::Upstream>>,
    plugins: BTreeMap<String, At<PluginSettings>>,
    routes: Vec<At<file::Route>>,
    /// No route was lost, so that an unknown one is unknown.
    routes_whole: bool,
    tests: Vec<At<file::Test>>,
    /// The main file without them.
    main: file::File,
}

impl Parts {
    fn of(mut main: file::File, included: Vec<file::Included>, checking: &mut Checking) -> Self {
        let first = file::Included {
            upstreams: main.upstreams.take(),
            plugins: main.plugins.take(),
            routes: main.routes.take(),
            tests: std::mem::take(&mut main.tests),
        };
        let mut parts = Self {
            upstreams: BTreeMap::new(),
            plugins: BTreeMap::new(),
            routes: Vec::new(),
            routes_whole: !checking.incomplete,
            tests: Vec::new(),
            main,
        };
        for file in std::iter::once(first).chain(included) {
            let file::Included { upstreams, plugins, routes, tests } = file;
            checking.merge("upstream", &mut parts.upstreams, upstreams);
            checking.merge("plugin", &mut parts.plugins, plugins);
            parts.routes_whole &= routes.as_ref().is_none_or(|routes| routes.whole);
            parts.routes.extend(routes.into_iter().flat_map(|routes| routes.value));
            parts.tests.extend(tests);
        }
        parts
    }
}

/// What routes and tests refer to by name.
struct Names {
    upstreams: BTreeMap<String, UpstreamId>,
    plugins: BTreeMap<String, PluginSettings>,
    /// What the upstreams ask of each other and of routes.
    links: Links,
}

/// The work of checking: what was found wrong so far.
struct Checking {
    sources: Sources,
    problems: Vec<Problem>,
    lost: HashSet<String>,
    incomplete: bool,
}

impl Checking {
    /// The value, or the problem with the place where it is.
    fn take<T>(&mut self, place: Place, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problems.push(Problem { place: Some(place), ..problem })).ok()
    }

    fn refuse(&mut self, place: Place, what: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::at(place, what).help(help));
    }

    /// What `name` stands for; an unknown name is a problem unless it may be in a part that could not be read.
    fn named<T: Clone>(
        &mut self,
        kind: &str,
        name: &At<String>,
        known: &BTreeMap<String, T>,
    ) -> Option<T> {
        let found = known.get(&name.value).cloned();
        if found.is_none() && !self.incomplete && !self.lost.contains(&name.value) {
            let names = known.keys().collect::<Vec<_>>();
            let help = if names.is_empty() {
                format!("write [{kind}s.{}]", name.value)
            } else {
                suggestion(&name.value, &names, &format!("{kind}s are"))
            };
            self.refuse(name.place, format!("unknown {kind} `{}`", name.value), help);
        }
        found
    }

    /// Adds what one file names; a name used before is a problem.
    fn merge<T>(
        &mut self,
        kind: &str,
        all: &mut BTreeMap<String, At<T>>,
        more: Option<At<file::Named<T>>>,
    ) {
        for (name, table) in more.into_iter().flat_map(|more| more.value) {
            match all.entry(name) {
                Entry::Vacant(free) => {
                    free.insert(table);
                }
                Entry::Occupied(first) => {
                    let what = format!("the {kind} `{}` is there already", first.key());
                    let at = self.sources.at(first.get().place);
                    self.refuse(table.place, what, format!("it is at {at}"));
                }
            }
        }
    }

    /// Refuses what is said twice.
    fn no_twins<T: Eq + std::hash::Hash>(
        &mut self,
        what: &str,
        values: impl Iterator<Item = (T, Place)>,
    ) {
        let mut seen = HashMap::new();
        for (value, place) in values {
            if let Some(first) = seen.get(&value) {
                let first = self.sources.at(*first);
                self.refuse(place, format!("{what} is there already"), format!("it is at {first}"));
            } else {
                seen.insert(value, place);
            }
        }
    }

    fn has_problem_in(&self, place: Place) -> bool {
        self.problems.iter().filter_map(|problem| problem.place).any(|inner| place.holds(inner))
    }

    fn named_plugins(
        &mut self,
        plugins: BTreeMap<String, At<PluginSettings>>,
    ) -> BTreeMap<String, PluginSettings> {
        for plugin in plugins.values().filter(|plugin| plugin.whole) {
            self.buildable(plugin.place, &plugin.value);
        }
        plugins.into_iter().map(|(name, plugin)| (name, plugin.value)).collect()
    }

    /// Builds a plugin once to see that the secrets and files it needs are there.
    fn buildable(&mut self, place: Place, settings: &PluginSettings) {
        if let Err(error) = settings.build() {
            self.problems.push(Problem::at(place, format!("`{}`: {error}", settings.name())));
        }
    }
}
