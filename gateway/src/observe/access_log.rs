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

use super::line::{self, Pad};
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
    pad: Pad,
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
        let buffer = Buffer { bytes: Vec::new(), lines: 0, since: Instant::now(), pad: Pad::new() };
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
        line::push(&mut buffer.bytes, &mut buffer.pad, SystemTime::now(), entry);
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use tempfile::TempDir;

    use super::super::line::tests::usual;
    use super::super::reading::Readings;
    use super::*;
    use crate::config;

    /// Long enough for any disk; only a broken test waits for it.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn config(path: &Path, buffer_bytes: usize) -> config::AccessLog {
        let target = config::LogTarget::File(path.to_owned());
        config::AccessLog { target, buffer_bytes, flush: Duration::from_secs(1) }
    }

    fn target(path: &Path, buffer_bytes: usize) -> Target {
        Target::open(Some(&config(path, buffer_bytes))).unwrap()
    }

    fn folder() -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("access.log");
        (folder, path)
    }

    /// A log that nobody writes out yet.
    fn without_thread(target: &Target, metrics: &'static Metrics) -> AccessLog {
        AccessLog { shared: Arc::new(Shared::new(target, metrics)) }
    }

    fn write_out(log: &AccessLog, target: Target) {
        log.shared.queue.close();
        LogThread::new(target, log.shared.metrics).run(&log.shared.queue);
    }

    fn counted(metrics: &Metrics, name: &str) -> u64 {
        let text = metrics.exposition(&Readings::default()).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// The paths of the lines in a file; every line must be JSON.
    fn paths(file: &Path) -> Vec<String> {
        let path = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["path"].as_str().unwrap().to_owned()
        };
        fs::read_to_string(file).unwrap().lines().map(path).collect()
    }

    fn write(writer: &Writer, path: &str) {
        writer.write(&Entry { path: path.as_bytes(), ..usual() });
    }

    #[test]
    fn nothing_is_lost_when_the_log_is_finished() {
        let (_folder, path) = folder();
        let metrics = Metrics::new(4);
        let log = AccessLog::start(target(&path, 64 << 20), metrics).unwrap();
        let work = |worker| {
            let writer = log.worker();
            (0..1_000).for_each(|line| write(&writer, &format!("/{worker}/{line}")));
        };
        thread::scope(|scope| (0..4).for_each(|worker| drop(scope.spawn(move || work(worker)))));
        assert_eq!(log.finish(PATIENCE), Finish::Complete);
        let mut written = paths(&path);
        written.sort();
        written.dedup();
        assert_eq!(written.len(), 4_000);
        assert_eq!(counted(metrics, "gateway_access_log_dropped_total"), 0);
    }

    #[test]
    fn a_slow_disk_costs_lines_that_are_counted_and_not_time() {
        let (_folder, path) = folder();
        let metrics = Metrics::new(1);
        let buffer_bytes = 64 * 1_024;
        let log = without_thread(&target(&path, buffer_bytes), metrics);
        let writer = log.worker();
        (0..10_000).for_each(|line| write(&writer, &format!("/{line}")));
        writer.flush();
        write_out(&log, target(&path, buffer_bytes));
        let written = paths(&path).len();
        assert!(fs::metadata(&path).unwrap().len() <= buffer_bytes as u64);
        assert!(written > 50, "{written}");
        let dropped = counted(metrics, "gateway_access_log_dropped_total");
        assert_eq!(written as u64 + dropped, 10_000);
    }

    #[test]
    fn a_line_larger_than_the_buffer_still_passes_an_empty_queue() {
        let (_folder, path) = folder();
        let metrics = Metrics::new(1);
        let log = AccessLog::start(target(&path, 16), metrics).unwrap();
        write(&log.worker(), "/one");
        assert_eq!(log.finish(PATIENCE), Finish::Complete);
        assert_eq!(paths(&path), ["/one"]);
    }

    #[test]
    fn after_a_rename_and_reopen_lines_go_to_the_new_file() {
        let (folder, path) = folder();
        let moved = folder.path().join("access.log.1");
        let log = AccessLog::start(target(&path, 1 << 20), Metrics::new(1)).unwrap();
        let writer = log.worker();
        fs::rename(&path, &moved).unwrap();
        log.reopen();
        write(&writer, "/new");
        writer.flush();
        assert_eq!(log.finish(PATIENCE), Finish::Complete);
        assert_eq!(paths(&path), ["/new"]);
        assert_eq!(paths(&moved), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_cannot_be_reopened_is_kept_and_counted() {
        let (folder, path) = folder();
        let (moved, metrics) = (folder.path().join("access.log.1"), Metrics::new(1));
        let log = AccessLog::start(target(&path, 1 << 20), metrics).unwrap();
        fs::rename(&path, &moved).unwrap();
        fs::create_dir(&path).unwrap();
        log.reopen();
        write(&log.worker(), "/kept");
        assert_eq!(log.finish(PATIENCE), Finish::Complete);
        assert_eq!(paths(&moved), ["/kept"]);
        assert_eq!(counted(metrics, "gateway_access_log_errors_total"), 1);
    }

    #[test]
    fn lines_wait_for_the_flush_interval_and_no_longer() {
        let (_folder, path) = folder();
        let metrics = Metrics::new(1);
        let log = without_thread(&target(&path, 1 << 20), metrics);
        let writer = log.worker();
        let start = Instant::now();
        write(&writer, "/one");
        writer.flush_if_older(start + Duration::from_millis(900));
        assert_eq!(writer.buffer.borrow().lines, 1);
        writer.flush_if_older(Instant::now() + Duration::from_millis(1_000));
        assert_eq!(writer.buffer.borrow().lines, 0);
        write_out(&log, target(&path, 1 << 20));
        assert_eq!(paths(&path), ["/one"]);
    }

    #[test]
    fn a_reload_switches_the_log_on_over_and_off() {
        let (folder, path) = folder();
        let other = folder.path().join("other.log");
        let log = AccessLog::start(Target::open(None).unwrap(), Metrics::new(1)).unwrap();
        let writer = log.worker();
        assert!(!writer.is_on());
        write(&writer, "/unwanted");
        log.reconfigure(target(&path, 1 << 20));
        assert!(writer.is_on());
        log.reconfigure(target(&other, 1 << 20));
        write(&writer, "/wanted");
        writer.flush();
        assert_eq!(log.finish(PATIENCE), Finish::Complete);
        assert_eq!(paths(&path), Vec::<String>::new());
        assert_eq!(paths(&other), ["/wanted"]);
        log.reconfigure(Target::open(None).unwrap());
        assert!(!writer.is_on());
    }

    #[test]
    fn lines_lost_on_a_full_disk_and_after_the_end_are_counted() {
        let metrics = Metrics::new(1);
        let full = target(Path::new("/dev/full"), 1 << 20);
        let log = without_thread(&full, metrics);
        let writer = log.worker();
        write(&writer, "/lost");
        writer.flush();
        write_out(&log, full);
        assert_eq!(counted(metrics, "gateway_access_log_dropped_total"), 1);
        assert_eq!(counted(metrics, "gateway_access_log_errors_total"), 1);
        write(&writer, "/late");
        writer.flush();
        assert_eq!(counted(metrics, "gateway_access_log_dropped_total"), 2);
    }

    #[test]
    fn the_file_is_for_owner_and_group_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_folder, path) = folder();
        drop(target(&path, 1));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    }

    #[test]
    fn a_folder_as_log_is_refused_with_its_name() {
        let folder = TempDir::new().unwrap();
        let error = Target::open(Some(&config(folder.path(), 1))).err().unwrap();
        assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    }
}
