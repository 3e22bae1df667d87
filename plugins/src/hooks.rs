//! The hooks of a plugin, and how it says which of them it has.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::exchange::{Exchange, Flow, Refusal};

/// One configured use of a plugin. It is built once per snapshot and shared by all requests.
pub trait Plugin: Send + Sync + 'static {
    /// Which hooks this plugin has. Asked once, when the snapshot is built.
    fn hooks(&self) -> Hooks;

    /// On the way down, in the order of the config. Needs [`Hooks::request`].
    fn request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a, Flow> {
        let _ = exchange;
        Step::Done(Flow::Continue)
    }

    /// On the way up, in reverse order, for the upstream's response and for replies of the gateway itself.
    /// Needs [`Hooks::response`].
    fn response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut http::response::Parts,
    ) -> Step<'a, ()> {
        let _ = (exchange, response);
        Step::Done(())
    }

    /// The whole response body, changed at will. Needs [`Body::Whole`] in [`Hooks::response_body`]; the gateway
    /// sets `Content-Length` afterwards.
    fn whole_response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut http::Response<Bytes>,
    ) -> Step<'a, Result<(), Refusal>> {
        let _ = (exchange, response);
        Step::Done(Ok(()))
    }

    /// A transform of the request body as it streams by. Needs [`Body::Stream`] in [`Hooks::request_body`].
    /// `None`: this request's body is left alone.
    fn request_transform(&self, exchange: &Exchange) -> Option<Box<dyn Transform>> {
        let _ = exchange;
        None
    }

    /// A transform of the response body as it streams by. Needs [`Body::Stream`] in [`Hooks::response_body`].
    fn response_transform(
        &self,
        exchange: &Exchange,
        response: &http::response::Parts,
    ) -> Option<Box<dyn Transform>> {
        let _ = (exchange, response);
        None
    }
}

/// Which hooks a plugin has; the default is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hooks {
    /// [`Plugin::request`] is called.
    pub request: bool,
    /// [`Plugin::response`] is called.
    pub response: bool,
    /// How it wants to see the request body.
    pub request_body: Body,
    /// How it wants to see the response body.
    pub response_body: Body,
}

impl Hooks {
    /// Only [`Plugin::request`].
    pub const REQUEST: Self =
        Self { request: true, response: false, request_body: Body::Unseen, response_body: Body::Unseen };
    /// Only [`Plugin::response`].
    pub const RESPONSE: Self =
        Self { request: false, response: true, request_body: Body::Unseen, response_body: Body::Unseen };
    /// [`Plugin::request`] and [`Plugin::response`].
    pub const BOTH: Self =
        Self { request: true, response: true, request_body: Body::Unseen, response_body: Body::Unseen };
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
}

/// Changes a body chunk by chunk. One is made per message; a refusal ends the message.
pub trait Transform {
    /// One chunk in, at most one out; an empty result sends nothing.
    fn chunk(&mut self, chunk: Bytes) -> Result<Bytes, Refusal>;

    /// The body has ended; what was held back comes now.
    fn end(&mut self) -> Result<Bytes, Refusal> {
        Ok(Bytes::new())
    }
}
