//! Everything built from one configuration. Start and reload are the same code; a request sees one snapshot.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use plugins::Plugin;

use crate::chain::Chain;
use crate::config::{self, Config, Problem, Problems};
use crate::moment;
use crate::observe::metrics::{Metrics, RouteMetrics};
use crate::routing::router::Router;
use crate::upstream::Upstream;
use crate::upstream::admission::Admission;

/// The index of no route.
pub(crate) const ROUTE_NONE: usize = usize::MAX;

/// A configuration, ready to serve.
pub struct Snapshot {
    /// What it was built from.
    pub config: Arc<Config>,
    /// Counts up with every snapshot of the process, from 1.
    pub generation: u64,
    /// Finds routes.
    pub router: Router,
    pub(crate) routes: Vec<Route>,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
}

/// A route, ready to serve. Its settings are at the same index of the config's routes.
pub(crate) struct Route {
    pub(crate) name: Box<str>,
    pub(crate) chain: Chain,
    pub(crate) metrics: RouteMetrics,
    /// Its own breaker and limit.
    pub(crate) admission: Admission,
    /// Whether the path is needed once more after routing, as it was then: by a template, or by its upstream's balance.
    pub(crate) keeps_path: bool,
    /// The headers and body of a fixed response.
    pub(crate) fixed: Option<Box<(HeaderMap, Bytes)>>,
}

/// What a snapshot takes over from the one before it.
pub struct Heritage<'a> {
    /// The snapshot before, at a reload.
    pub previous: Option<&'a Snapshot>,
    /// The process' metrics.
    pub metrics: &'static Metrics,
    routes: HashMap<&'a str, &'a Route>,
}

impl Snapshot {
    /// Builds everything. Nothing of the old snapshot is changed, whatever comes of it.
    pub fn build(config: Config, heritage: &Heritage<'_>) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let router = match Router::build(&config.routes, &config.sources) {
            Ok(router) => Some(router),
            Err(found) => {
                problems.extend(found);
                None
            }
        };
        let upstreams = build_all(&config.upstreams, &mut problems, |upstream| {
            let zone = config.server.zone.as_deref();
            Upstream::build(upstream, zone, heritage.upstream(&upstream.name), heritage.metrics)
        });
        let routes =
            build_all(&config.routes, &mut problems, |route| build_route(route, &config, heritage));
        match router {
            Some(router) if problems.is_empty() => {
                let generation = heritage.previous.map_or(1, |previous| previous.generation + 1);
                let config = Arc::new(config);
                Ok(Self { config, generation, router, routes, upstreams })
            }
            Some(_) | None => Err(Problems::new(config.sources, problems)),
        }
    }
}

impl Snapshot {
    /// It is in use from now on: what was taken over from the one before gets its new settings.
    pub(crate) fn settle(&self) {
        let upstreams = self.upstreams.iter().map(|upstream| &upstream.admission);
        for admission in self.routes.iter().map(|route| &route.admission).chain(upstreams) {
            admission.settle();
        }
    }

    /// What stands before upstreams and routes that have anything before them, with a name for each.
    pub(crate) fn admissions(&self) -> impl Iterator<Item = (&'static str, &str, &Admission)> {
        let upstreams = self
            .upstreams
            .iter()
            .map(|upstream| ("upstream", upstream.config.name.as_str(), &upstream.admission));
        let routes = self.routes.iter().map(|route| ("route", &*route.name, &route.admission));
        upstreams.chain(routes).filter(|(_, _, admission)| !admission.is_open_to_all())
    }
}

fn build_all<From, To>(
    list: &[From],
    problems: &mut Vec<Problem>,
    build: impl Fn(&From) -> Result<To, Problem>,
) -> Vec<To> {
    let built =
        list.iter().filter_map(|from| build(from).map_err(|problem| problems.push(problem)).ok());
    built.collect()
}

fn build_route(
    route: &config::Route,
    config: &Config,
    heritage: &Heritage<'_>,
) -> Result<Route, Problem> {
    let mut plugins: Vec<(&'static str, Arc<dyn Plugin>)> = Vec::new();
    for (index, used) in route.plugins.iter().enumerate() {
        let name = used.settings.name();
        let mut plugin = used.settings.build().map_err(|error| {
            Problem::at(used.place, format!("the plugin {name} cannot be set up: {error}"))
        })?;
        if let Some(predecessor) = heritage.plugin(&route.name, index, name) {
            plugin.inherit(predecessor);
        }
        plugins.push((name, Arc::from(plugin)));
    }
    let fixed = match &route.action {
        config::Action::Respond { headers, body, .. } => {
            Some(Box::new((headers.iter().cloned().collect(), Bytes::from(body.clone()))))
        }
        config::Action::Proxy { .. } | config::Action::Redirect { .. } => None,
    };
    let keeps_path = match &route.action {
        config::Action::Proxy { upstream, rewrite } => {
            rewrite.is_some() || config.upstreams[upstream.0].looks_at_paths()
        }
        config::Action::Redirect { .. } => true,
        config::Action::Respond { .. } => false,
    };
    let before = heritage.routes.get(route.name.as_str()).map(|before| &before.admission);
    Ok(Route {
        admission: Admission::build(&route.guards, before, moment::now()),
        keeps_path,
        name: route.name.as_str().into(),
        chain: Chain::new(plugins),
        metrics: heritage.metrics.route(&route.name),
        fixed,
    })
}

impl<'a> Heritage<'a> {
    /// What the next snapshot may take over.
    pub fn new(previous: Option<&'a Snapshot>, metrics: &'static Metrics) -> Self {
        let known = previous.into_iter().flat_map(|previous| &previous.routes);
        let routes = known.map(|route| (&*route.name, route)).collect();
        Self { previous, metrics, routes }
    }

    fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.previous?.upstreams.iter().find(|upstream| upstream.config.name == name)
    }

    /// The plugin of this name at the same place of the route of the same name.
    fn plugin(&self, route: &str, index: usize, name: &str) -> Option<&dyn Any> {
        let route = self.routes.get(route)?;
        let (known, plugin) = route.chain.plugins().nth(index)?;
        (known == name).then_some(&**plugin as &dyn Any)
    }
}
