//! The plugins of a route: down in order, up in reverse.

use std::sync::Arc;

use bytes::Bytes;
use http::response;
use plugins::hooks::Outcome;
use plugins::{Body, Exchange, Flow, Hooks, Plugin, Refusal, Transform};

/// The plugins of one route, with what each needs known beforehand.
pub(crate) struct Chain {
    links: Vec<Link>,
    response: bool,
    finished: bool,
}

struct Link {
    name: &'static str,
    plugin: Arc<dyn Plugin>,
    hooks: Hooks,
}

/// How far down an exchange came: the plugins before this one see the response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached(usize);

/// What the way down came to.
pub(crate) enum Down {
    /// All plugins let it pass.
    Passed,
    /// The plugin at this place wants the whole request body before it is asked.
    NeedsBody {
        /// The longest body it takes.
        limit: usize,
    },
    /// A plugin has answered.
    Answered(Box<http::Response<Bytes>>),
    /// A plugin has refused.
    Refused(Box<Refusal>),
}

impl Chain {
    pub(crate) fn new(plugins: Vec<(&'static str, Arc<dyn Plugin>)>) -> Self {
        let links: Vec<Link> = plugins
            .into_iter()
            .map(|(name, plugin)| Link { name, hooks: plugin.hooks(), plugin })
            .collect();
        let response = links
            .iter()
            .any(|link| link.hooks.response || link.hooks.response_body != Body::Unseen);
        let finished = links.iter().any(|link| link.hooks.finished);
        Self { links, response, finished }
    }

    /// Without plugins a request does not become an exchange.
    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether a response has to come by here at all.
    pub(crate) fn sees_responses(&self) -> bool {
        self.response
    }

    /// Whether the end of an exchange has to be told.
    pub(crate) fn sees_ends(&self) -> bool {
        self.finished
    }

    /// Names and plugins, to hand state over to a successor.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = (&'static str, &Arc<dyn Plugin>)> {
        self.links.iter().map(|link| (link.name, &link.plugin))
    }

    /// How far an exchange has come at its beginning.
    pub(crate) fn start() -> Reached {
        Reached(0)
    }

    /// How far an exchange has come that passed all plugins.
    pub(crate) fn end(&self) -> Reached {
        Reached(self.links.len())
    }

    /// On the way down, from where it was left.
    pub(crate) async fn down(&self, exchange: &mut Exchange, reached: &mut Reached) -> Down {
        while let Some(link) = self.links.get(reached.0) {
            if let Some(limit) = link.body_wanted(exchange) {
                return Down::NeedsBody { limit };
            }
            match link.ask(exchange).await {
                Flow::Continue => {}
                Flow::Respond(response) => return Down::Answered(response),
                Flow::Refuse(refusal) => return Down::Refused(refusal),
            }
            reached.0 += 1;
        }
        Down::Passed
    }

    /// On the way up, for those that the exchange passed on its way down.
    pub(crate) async fn up(
        &self,
        exchange: &mut Exchange,
        parts: &mut response::Parts,
        reached: Reached,
    ) {
        for link in self.links[..reached.0].iter().rev().filter(|link| link.hooks.response) {
            link.plugin.response(exchange, parts).done().await;
        }
    }

    /// The transforms of a request body, in the order of the config.
    pub(crate) fn request_transforms(&self, exchange: &Exchange) -> Vec<Box<dyn Transform>> {
        let wanted = self.links.iter().filter(|link| {
            link.hooks.request_body == Body::Stream
                && link.plugin.request_body(exchange) == Body::Stream
        });
        wanted.filter_map(|link| link.plugin.request_transform(exchange)).collect()
    }

    /// What happens to a response body, from the plugin next to the upstream outwards.
    pub(crate) fn body_steps(
        &self,
        exchange: &Exchange,
        parts: &response::Parts,
        reached: Reached,
    ) -> Vec<BodyStep> {
        let mut steps = Vec::new();
        let links = self.links[..reached.0].iter().rev();
        for link in links.filter(|link| link.hooks.response_body != Body::Unseen) {
            match link.plugin.response_body(exchange, parts) {
                Body::Unseen => {}
                Body::Stream => {
                    let transform = link.plugin.response_transform(exchange, parts);
                    steps.extend(transform.map(BodyStep::Stream));
                }
                Body::Whole { limit } => {
                    steps.push(BodyStep::Whole { plugin: Arc::clone(&link.plugin), limit });
                }
            }
        }
        steps
    }

    /// The exchange is over.
    pub(crate) fn finished(&self, exchange: &Exchange, outcome: &Outcome) {
        for link in self.links.iter().filter(|link| link.hooks.finished) {
            link.plugin.finished(exchange, outcome);
        }
    }
}

impl Link {
    /// The longest body it takes, if it wants to see all of it and has not.
    fn body_wanted(&self, exchange: &Exchange) -> Option<usize> {
        if self.hooks.request_body == Body::Unseen || exchange.body.is_some() {
            return None;
        }
        match self.plugin.request_body(exchange) {
            Body::Whole { limit } => Some(limit),
            Body::Stream | Body::Unseen => None,
        }
    }

    async fn ask(&self, exchange: &mut Exchange) -> Flow {
        if self.hooks.request { self.plugin.request(exchange).done().await } else { Flow::Continue }
    }
}

/// What one plugin does to a response body.
pub(crate) enum BodyStep {
    /// Chunk by chunk.
    Stream(Box<dyn Transform>),
    /// All at once.
    Whole {
        /// Who.
        plugin: Arc<dyn Plugin>,
        /// The longest body it takes.
        limit: usize,
    },
}

/// Passes a chunk through all transforms.
pub(crate) fn transform(
    transforms: &mut [Box<dyn Transform>],
    mut chunk: Bytes,
) -> Result<Bytes, Box<Refusal>> {
    for transform in transforms {
        chunk = transform.chunk(chunk)?;
    }
    Ok(chunk)
}

/// Ends all transforms: what one held back passes through those after it.
pub(crate) fn end_transforms(transforms: &mut [Box<dyn Transform>]) -> Result<Bytes, Box<Refusal>> {
    let mut rest = Bytes::new();
    for transform in transforms {
        let passed = if rest.is_empty() { Bytes::new() } else { transform.chunk(rest)? };
        let held = transform.end()?;
        rest = match (passed.is_empty(), held.is_empty()) {
            (true, _) => held,
            (false, true) => passed,
            (false, false) => [passed, held].concat().into(),
        };
    }
    Ok(rest)
}
