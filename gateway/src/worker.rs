//! What the requests of one worker share, and what all workers of the process share.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::limits::Connections;
use crate::observe::access_log::{AccessLog, Writer};
use crate::observe::metrics::Metrics;
use crate::overload::Overload;
use crate::snapshot::Snapshot;
use crate::splice::Pipes;
use crate::upstream::Pools;

/// What all workers share.
pub(crate) struct Process {
    snapshot: ArcSwap<Snapshot>,
    /// The generation of `snapshot`. A worker that sees an older one a moment longer does no harm, so Relaxed.
    generation: AtomicU64,
    /// Connections of all workers.
    pub(crate) connections: Arc<Connections>,
    /// Metrics of the process.
    pub(crate) metrics: &'static Metrics,
    /// The access log.
    pub(crate) log: AccessLog,
    /// What it gives up under pressure.
    pub(crate) overload: Overload,
}

impl Process {
    pub(crate) fn new(snapshot: Arc<Snapshot>, metrics: &'static Metrics, log: AccessLog) -> Self {
        let generation = AtomicU64::new(snapshot.generation);
        let connections = Arc::default();
        let overload = Overload::default();
        Self { snapshot: ArcSwap::new(snapshot), generation, connections, metrics, log, overload }
    }

    /// The snapshot of now; for the control side. Requests use their worker's.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// From now on requests see this snapshot.
    pub(crate) fn swap(&self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation;
        snapshot.settle();
        self.snapshot.store(snapshot);
        self.generation.store(generation, Ordering::Relaxed);
    }
}

/// What the requests of one worker share. Lives on one thread.
pub(crate) struct Worker {
    /// What all workers share.
    pub(crate) process: Arc<Process>,
    current: RefCell<Rc<Current>>,
    /// Connections to servers.
    pub(crate) pools: Rc<Pools>,
    /// Ways for long bodies past our memory.
    pub(crate) pipes: Rc<Pipes>,
    /// The time for `Date` fields, as of the last tick.
    pub(crate) date: Cell<Date>,
    /// This worker's way to the access log.
    pub(crate) log: Writer,
    /// Set once, when the process begins to end.
    pub(crate) draining: Cell<bool>,
    /// Tells resting connections, tunnels and HTTP/2 connections that they are to end.
    pub(crate) drain: Notify,
    /// Connections of this worker.
    pub(crate) open: Cell<usize>,
    /// Connections that have given their buffers back, at rest or at their end, since housekeeping last looked.
    pub(crate) rested: Cell<usize>,
}

/// A time as `Date` says it (RFC 9110, section 5.6.7).
#[derive(Clone, Copy)]
pub(crate) struct Date(pub(crate) [u8; 29]);

impl Date {
    /// The time of now.
    pub(crate) fn now() -> Self {
        let text = httpdate::fmt_http_date(std::time::SystemTime::now());
        // The format has this length for every year up to 9999.
        Self(text.as_bytes().try_into().unwrap_or(*b"Thu, 01 Jan 1970 00:00:00 GMT"))
    }
}

/// A snapshot as one worker holds it: its requests count references without touching memory that others write.
pub(crate) struct Current(Arc<Snapshot>);

impl Deref for Current {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

impl Worker {
    pub(crate) fn new(process: Arc<Process>) -> Self {
        let current = RefCell::new(Rc::new(Current(process.snapshot())));
        let log = process.log.worker();
        let pools = Rc::default();
        let draining = Cell::new(false);
        Self {
            process,
            current,
            pools,
            pipes: Rc::default(),
            date: Cell::new(Date::now()),
            log,
            draining,
            drain: Notify::new(),
            open: Cell::new(0),
            rested: Cell::new(0),
        }
    }

    /// The snapshot for a request that begins now.
    pub(crate) fn current(&self) -> Rc<Current> {
        let current = Rc::clone(&self.current.borrow());
        if current.generation == self.process.generation.load(Ordering::Relaxed) {
            return current;
        }
        let newer = Rc::new(Current(self.process.snapshot()));
        *self.current.borrow_mut() = Rc::clone(&newer);
        newer
    }
}
