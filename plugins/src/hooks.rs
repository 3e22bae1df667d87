//! The hooks of a plugin, and how it says which of them it has.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::StatusCode;

use crate::exchange::{Exchange, Flow, Refusal};

/// One configured use of a plugin. It is built once per snapshot and shared by all requests and workers.
pub trait Plugin: Any + Send + Sync {
    /// Which hooks this plugin has. Asked once, when the snapshot is built; [`Plugin::inherit`] is always called.
    fn hooks(&self) -> Hooks;

    /// A reload replaces `predecessor`, the plugin of the same name at the same place of the same route: take over
    /// what must survive (counters, sessions, fetched keys). `downcast_ref::<Self>()` gives it; it is still in use by
    /// requests that began before, so what is shared belongs behind an `Arc`.
    fn inherit(&mut self, predecessor: &dyn Any) {
        let _ = predecessor;
    }

    /// On the way down, in the order of the config. Needs [`Hooks::request`].
    fn request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a, Flow> {
        let _ = exchange;
        Step::Done(Flow::Continue)
    }

    /// On the way up, in reverse order, for the upstream's response and for replies of the gateway itself
    /// ([`Exchange::origin`] tells which). Called for the plugins whose request hook, if any, said
    /// [`Flow::Continue`]. Needs [`Hooks::response`].
    fn response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut http::response::Parts,
    ) -> Step<'a, ()> {
        let _ = (exchange, response);
        Step::Done(())
    }

    /// How it wants to see this request's body: what [`Hooks::request_body`] says, or [`Body::Unseen`] to leave this
    /// one alone (another content type). Asked right before [`Plugin::request`], so that a body is not read for a
    /// request that an earlier plugin refuses.
    fn request_body(&self, exchange: &Exchange) -> Body {
        let _ = exchange;
        self.hooks().request_body
    }

    /// How it wants to see this response's body: what [`Hooks::response_body`] says, or [`Body::Unseen`] to leave
    /// this one alone (another content type, already compressed). Asked right after [`Plugin::response`], never for
    /// a response without a body (to HEAD, 101, 204, 304).
    fn response_body(&self, exchange: &Exchange, response: &http::response::Parts) -> Body {
        let _ = (exchange, response);
        self.hooks().response_body
    }

    /// The whole response body, changed at will. Needs [`Body::Whole`] in [`Hooks::response_body`]; the gateway
    /// sets `Content-Length` afterwards.
    fn whole_response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut http::Response<Bytes>,
    ) -> Step<'a, Result<(), Box<Refusal>>> {
        let _ = (exchange, response);
        Step::Done(Ok(()))
    }

    /// A transform of the request body as it streams by. Needs [`Body::Stream`] in [`Hooks::request_body`]; made
    /// after [`Plugin::request`]. The gateway removes `Content-Length`.
    fn request_transform(&self, exchange: &Exchange) -> Option<Box<dyn Transform>> {
        let _ = exchange;
        None
    }

    /// A transform of the response body as it streams by. Needs [`Body::Stream`] in [`Hooks::response_body`]; made
    /// after [`Plugin::response`], which is the place to change headers (`Content-Encoding`). The gateway removes
    /// `Content-Length`.
    fn response_transform(
        &self,
        exchange: &Exchange,
        response: &http::response::Parts,
    ) -> Option<Box<dyn Transform>> {
        let _ = (exchange, response);
        None
    }

    /// The exchange is over: the last byte of the response has been handed to the connection, or nobody wants it any
    /// more. The client waits for nothing that is done here: publish events, count, report. Called once for each
    /// exchange that the chain began, in the order of the config, also when the client went away in the middle
    /// (from a `Drop`): it must not block, and what takes time goes to a bounded queue. Needs [`Hooks::finished`].
    fn finished(&self, exchange: &Exchange, outcome: &Outcome) {
        let _ = (exchange, outcome);
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The status that was sent; `None`: the client went away before there was one.
    pub status: Option<StatusCode>,
    /// Whether the client got all of it.
    pub ending: Ending,
}

/// Whether a response went out to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All of it was handed to the client's connection.
    Complete,
    /// The client went away, or the upstream broke off.
    CutShort,
}

/// Which hooks a plugin has; the default is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hooks {
    /// [`Plugin::request`] is called.
    pub request: bool,
    /// [`Plugin::response`] is called.
    pub response: bool,
    /// [`Plugin::finished`] is called.
    pub finished: bool,
    /// How it wants to see the request body.
    pub request_body: Body,
    /// How it wants to see the response body.
    pub response_body: Body,
}

impl Hooks {
    /// No hook; the start for `Hooks { finished: true, ..Hooks::NONE }`.
    pub const NONE: Self = Self {
        request: false,
        response: false,
        finished: false,
        request_body: Body::Unseen,
        response_body: Body::Unseen,
    };
    /// Only [`Plugin::request`].
    pub const REQUEST: Self = Self { request: true, ..Self::NONE };
    /// Only [`Plugin::response`].
    pub const RESPONSE: Self = Self { response: true, ..Self::NONE };
    /// [`Plugin::request`] and [`Plugin::response`].
    pub const BOTH: Self = Self { request: true, response: true, ..Self::NONE };
}

/// How a plugin wants to see a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// Not at all; it streams through untouched.
    #[default]
    Unseen,
    /// Chunk by chunk, through a [`Transform`].
    Stream,
    /// Whole, in memory. A longer body is refused (request: 413, response: 502).
    Whole {
        /// The longest body it takes, in bytes.
        limit: usize,
    },
}

/// The result of a hook: there already, or later. A synchronous hook costs no allocation.
pub enum Step<'a, T> {
    /// The hook is done.
    Done(T),
    /// The hook waits for something. The future stays on its worker; it must not block, and it may be dropped at any
    /// `.await` when the client goes away.
    Later(Pin<Box<dyn Future<Output = T> + 'a>>),
}

impl<T> Step<'_, T> {
    /// Waits for the result if it is not there already.
    pub async fn done(self) -> T {
        match self {
            Self::Done(value) => value,
            Self::Later(future) => future.await,
        }
    }

    /// The result if it is there already. For the tests of a plugin that never waits.
    pub fn now(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            Self::Later(_) => None,
        }
    }
}

/// Changes a body chunk by chunk. One is made per message; a refusal ends the message: before the head is out it is the
/// reply, afterwards the message is cut short.
pub trait Transform {
    /// One chunk in, at most one out; an empty result sends nothing.
    fn chunk(&mut self, chunk: Bytes) -> Result<Bytes, Box<Refusal>>;

    /// The body has ended; what was held back comes now.
    fn end(&mut self) -> Result<Bytes, Box<Refusal>> {
        Ok(Bytes::new())
    }
}
