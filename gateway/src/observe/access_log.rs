//! The access log: a line of JSON per request, gathered per worker, written by one thread.
//!
//! A worker formats its lines into a buffer of its own and hands it over when it is full or old. The queue to the
//! writing thread is bounded in bytes; when the disk is slower than the traffic, lines are dropped and counted
//! (`gateway_access_log_dropped_total`), and no request ever waits.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::SystemTime;

use tokio::time::{Duration, Instant};

pub use super::line::Entry;
pub use super::log_target::{LogError, Target};

use super::line::{self, Clock};
use super::log_target::LogThread;
use super::metrics::Metrics;
use super::queue::{Chunk, Pushed, Queue};

/// A worker's buffer is handed over at this size at the latest.
const CHUNK_BYTES_MAX: usize = 32 * 1_024;

/// The access log of the process. It exists also when it is off, so that a reload can switch it on.
pub struct AccessLog {
    shared: Arc<Shared>,
}

/// A worker's way to the access log. What is left in it is handed over when it is dropped.
pub struct Writer {
    shared: Arc<Shared>,
    buffer: RefCell<Buffer>,
}

/// Whether the log was written out in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Finish {
    /// Everything that was handed over is written.
    Complete,
    /// The disk was too slow; the rest is lost.
    TimedOut,
}

struct Shared {
    queue: Queue,
    metrics: &'static Metrics,
    /// Settings a reload may change; each stands alone, so relaxed order does.
    on: AtomicBool,
    chunk_bytes: AtomicUsize,
    flush_millis: AtomicU64,
}

struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
    /// When the first of the lines came.
    since: Instant,
    clock: Clock,
}

impl AccessLog {
    /// Starts the writing thread. Not before pingora's `run`: a thread does not survive a fork.
    pub fn start(target: Target, metrics: &'static Metrics) -> Result<Self, LogError> {
        let shared = Arc::new(Shared::new(&target, metrics));
        let log_thread = LogThread::new(target, metrics);
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || log_thread.run(&of_thread.queue))
            .map_err(LogError::Thread)?;
        Ok(Self { shared })
    }

    /// A handle for one worker.
    pub fn worker(&self) -> Writer {
        let buffer =
            Buffer { bytes: Vec::new(), lines: 0, since: Instant::now(), clock: Clock::new() };
        Writer { shared: Arc::clone(&self.shared), buffer: RefCell::new(buffer) }
    }

    /// Opens the file anew, after something has moved it away (SIGUSR1). Lines that wait go to the new file.
    pub fn reopen(&self) {
        self.shared.queue.reopen();
    }

    /// Goes on with another target, bound and interval (a reload). Lines that wait go to the new one.
    pub fn reconfigure(&self, target: Target) {
        self.shared.configure(&target);
        let bytes_max = target.buffer_bytes;
        self.shared.queue.switch(target, bytes_max);
    }

    /// Writes what the workers have handed over, waiting at most this long. Blocks; nothing is taken afterwards.
    pub fn finish(&self, patience: Duration) -> Finish {
        self.shared.queue.close();
        match self.shared.queue.wait_done(patience) {
            true => Finish::Complete,
            false => Finish::TimedOut,
        }
    }
}

impl Shared {
    fn new(target: &Target, metrics: &'static Metrics) -> Self {
        let shared = Self {
            queue: Queue::new(target.buffer_bytes),
            metrics,
            on: AtomicBool::default(),
            chunk_bytes: AtomicUsize::default(),
            flush_millis: AtomicU64::default(),
        };
        shared.configure(target);
        shared
    }

    fn configure(&self, target: &Target) {
        // Several chunks must fit into the queue, or it would be full with one.
        let chunk_bytes = (target.buffer_bytes / 8).min(CHUNK_BYTES_MAX);
        let flush_millis = u64::try_from(target.flush.as_millis()).unwrap_or(u64::MAX);
        self.chunk_bytes.store(chunk_bytes, Relaxed);
        self.flush_millis.store(flush_millis, Relaxed);
        self.on.store(target.is_on(), Relaxed);
    }
}

impl Writer {
    /// Whether lines are wanted; saves the making of an [`Entry`].
    #[inline]
    pub fn is_on(&self) -> bool {
        self.shared.on.load(Relaxed)
    }

    /// Appends a line, with the present time. Never blocks.
    pub fn write(&self, entry: &Entry<'_>) {
        if !self.is_on() {
            return;
        }
        let buffer = &mut *self.buffer.borrow_mut();
        if buffer.lines == 0 {
            buffer.since = Instant::now();
        }
        line::push(&mut buffer.bytes, &mut buffer.clock, SystemTime::now(), entry);
        buffer.lines += 1;
        if buffer.bytes.len() >= self.shared.chunk_bytes.load(Relaxed) {
            self.hand_over(buffer);
        }
    }

    /// Hands over the lines if the oldest has waited for the config's `flush`. To be called on the worker's tick.
    pub fn flush_if_older(&self, now: Instant) {
        let buffer = &mut *self.buffer.borrow_mut();
        let flush = Duration::from_millis(self.shared.flush_millis.load(Relaxed));
        if buffer.lines > 0 && now.saturating_duration_since(buffer.since) >= flush {
            self.hand_over(buffer);
        }
    }

    /// Hands over what there is, at the end of the worker.
    pub fn flush(&self) {
        self.hand_over(&mut self.buffer.borrow_mut());
    }

    fn hand_over(&self, buffer: &mut Buffer) {
        if buffer.lines == 0 {
            return;
        }
        let lines = std::mem::take(&mut buffer.lines);
        let bytes = std::mem::take(&mut buffer.bytes);
        buffer.bytes = match self.shared.queue.push(Chunk { bytes, lines }) {
            Pushed::Queued(spare) => spare,
            Pushed::Full(emptied) => {
                self.shared.metrics.access_log_dropped(lines);
                emptied
            }
        };
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
    }
}
