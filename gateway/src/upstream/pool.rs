//! The connections a worker keeps to servers. One worker, one pool: no lock, and a connection never changes threads.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::http1::Http1;
use super::http2::Http2;

/// A worker's connections, by server.
#[derive(Default)]
pub(crate) struct Pools {
    servers: RefCell<BTreeMap<u64, Pool>>,
    /// HTTP/2 connections that are being opened: one at a time for each server, whoever else needs one waits for it.
    opening: Rc<RefCell<BTreeMap<u64, Rc<Pending>>>>,
}

/// A connection that is being opened.
struct Pending {
    failed: Cell<bool>,
    over: Notify,
}

/// What there is for a request over HTTP/2.
pub(super) enum Turn {
    /// A connection with room.
    Shared(Http2),
    /// None; it is up to this request to open one.
    Open(Opening),
}

/// The right to open a connection; whoever waits goes on when it is dropped.
pub(super) struct Opening {
    server: u64,
    pending: Option<Rc<Pending>>,
    opening: Rc<RefCell<BTreeMap<u64, Rc<Pending>>>>,
}

impl Opening {
    /// The connection is in the pool.
    pub(super) fn succeeded(self) {
        if let Some(pending) = &self.pending {
            pending.failed.set(false);
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.opening.borrow_mut().remove(&self.server);
            pending.over.notify_waiters();
        }
    }
}

#[derive(Default)]
struct Pool {
    /// Idle HTTP/1.1 connections; the last one used is the first to be used again.
    #[expect(clippy::vec_box, reason = "it moves between pool and request, and is large")]
    http1: Vec<Box<Http1>>,
    /// HTTP/2 connections, each with many requests at once.
    http2: Vec<Http2>,
}

impl Pools {
    /// An idle HTTP/1.1 connection that still works.
    pub(super) fn take_http1(&self, server: u64) -> Option<Box<Http1>> {
        loop {
            let mut http1 = self.servers.borrow_mut().get_mut(&server)?.http1.pop()?;
            if http1.is_still_free() {
                return Some(http1);
            }
        }
    }

    /// Keeps a connection whose response has ended, if it can be used again and the pool has room.
    pub(super) fn give_back(&self, mut http1: Box<Http1>, now: Instant) {
        if !http1.is_free() {
            return;
        }
        let limit = http1.server.pool.idle;
        let mut servers = self.servers.borrow_mut();
        let idle = &mut servers.entry(http1.server.id).or_default().http1;
        if idle.len() < limit {
            http1.rest(now);
            idle.push(http1);
        }
    }

    /// An HTTP/2 connection with room for one more stream, or the right to open one.
    pub(super) async fn http2(&self, server: u64) -> Turn {
        loop {
            if let Some(http2) = self.shared_http2(server) {
                return Turn::Shared(http2);
            }
            let others = self.opening.borrow().get(&server).cloned();
            let opening = Rc::clone(&self.opening);
            let Some(others) = others else {
                let pending = Rc::new(Pending { failed: Cell::new(true), over: Notify::new() });
                self.opening.borrow_mut().insert(server, Rc::clone(&pending));
                return Turn::Open(Opening { server, pending: Some(pending), opening });
            };
            others.over.notified().await;
            if others.failed.get() {
                // Not one after the other: each would wait for the failures of all before it.
                return Turn::Open(Opening { server, pending: None, opening });
            }
        }
    }

    fn shared_http2(&self, server: u64) -> Option<Http2> {
        let mut servers = self.servers.borrow_mut();
        let pool = servers.get_mut(&server)?;
        pool.http2.retain(|http2| !http2.is_closed());
        pool.http2.iter().find(|http2| http2.has_room()).cloned()
    }

    /// Keeps an HTTP/2 connection for others.
    pub(super) fn share_http2(&self, server: u64, http2: Http2) {
        self.servers.borrow_mut().entry(server).or_default().http2.push(http2);
    }

    /// Closes what was idle for too long, or was closed by its server. Called by the worker's tick.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut servers = self.servers.borrow_mut();
        servers.retain(|_, pool| {
            pool.http1.retain_mut(|http1| {
                let rested = now.saturating_duration_since(http1.idle_since);
                rested < http1.server.pool.idle_timeout && http1.is_still_free()
            });
            pool.http2.retain(|http2| !http2.is_closed() && !http2.is_stale(now));
            !pool.http1.is_empty() || !pool.http2.is_empty()
        });
    }
}
