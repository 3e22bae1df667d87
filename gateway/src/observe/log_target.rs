//! Where the access log goes, and the thread that writes it there.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use thiserror::Error;
use tokio::time::{Duration, Instant};

use super::metrics::Metrics;
use super::queue::{Chunk, Queue, Work};
use crate::config;

/// Owner and group may read the log; it holds addresses and paths of clients.
const MODE: u32 = 0o640;

/// How often a failing disk is told on standard error.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// How long a full pipe behind a non-blocking standard output is waited for.
const PIPE_PATIENCE: Duration = Duration::from_secs(1);

/// An access log that is open for writing, or off.
pub struct Target {
    sink: Sink,
    pub(super) buffer_bytes: usize,
    pub(super) flush: Duration,
}

enum Sink {
    Off,
    Stdout(File),
    File(PathBuf, File),
}

/// Why the access log cannot be had.
#[derive(Debug, Error)]
pub enum LogError {
    /// The file cannot be opened.
    #[error("cannot open the access log {path}: {reason}")]
    Open {
        /// The file named in the config.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// There is no standard output.
    #[error("cannot write the access log to standard output: {0}")]
    Stdout(io::Error),
    /// The system gives no thread.
    #[error("cannot start the thread that writes the access log: {0}")]
    Thread(io::Error),
}

impl Target {
    /// Opens what the config names; nothing is written yet, so a refused reload leaves the log as it was.
    pub fn open(config: Option<&config::AccessLog>) -> Result<Self, LogError> {
        let Some(config::AccessLog { target, buffer_bytes, flush }) = config else {
            return Ok(Self { sink: Sink::Off, buffer_bytes: 0, flush: Duration::MAX });
        };
        let sink = match target {
            config::LogTarget::Stdout => {
                let descriptor = io::stdout().as_fd().try_clone_to_owned();
                Sink::Stdout(File::from(descriptor.map_err(LogError::Stdout)?))
            }
            config::LogTarget::File(path) => Sink::File(path.clone(), open(path)?),
        };
        Ok(Self { sink, buffer_bytes: *buffer_bytes, flush: *flush })
    }

    /// Whether lines are wanted at all.
    pub(super) fn is_on(&self) -> bool {
        !matches!(self.sink, Sink::Off)
    }

    fn reopen(&mut self) -> Result<(), LogError> {
        if let Sink::File(path, file) = &mut self.sink {
            *file = open(path)?;
        }
        Ok(())
    }

    fn name(&self) -> &Path {
        match &self.sink {
            Sink::Off | Sink::Stdout(_) => Path::new("standard output"),
            Sink::File(path, _) => path,
        }
    }
}

fn open(path: &Path) -> Result<File, LogError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path)
        .map_err(|reason| LogError::Open { path: path.to_owned(), reason })
}

/// The thread's side.
pub(super) struct LogThread {
    target: Target,
    metrics: &'static Metrics,
    /// The last write failed, perhaps inside a line: the next one starts on a new line.
    torn: bool,
    complained: Option<Instant>,
}

impl LogThread {
    /// A thread's state that writes to this target.
    pub(super) fn new(target: Target, metrics: &'static Metrics) -> Self {
        Self { target, metrics, torn: false, complained: None }
    }

    /// Writes what comes until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Queue) {
        loop {
            match queue.next() {
                Work::Switch(target) => {
                    self.target = target;
                    self.torn = false;
                }
                Work::Reopen => self.reopen(),
                Work::Write(chunk) => {
                    self.write(&chunk);
                    queue.written(chunk.bytes);
                }
                Work::End => break,
            }
        }
        queue.done();
    }

    /// When the new file cannot be had, the old one stays.
    fn reopen(&mut self) {
        match self.target.reopen() {
            Ok(()) => self.torn = false,
            Err(error) => self.failed(&error.to_string()),
        }
    }

    fn write(&mut self, chunk: &Chunk) {
        let file = match &mut self.target.sink {
            Sink::Off => return,
            Sink::Stdout(file) | Sink::File(_, file) => file,
        };
        let mended = if self.torn { write_all(file, b"\n") } else { Ok(()) };
        match mended.and_then(|()| write_all(file, &chunk.bytes)) {
            Ok(()) => self.torn = false,
            Err(error) => {
                self.torn = true;
                self.metrics.access_log_dropped(chunk.lines);
                let name = self.target.name().display();
                let message = format!("cannot write the access log to {name}: {error}");
                self.failed(&message);
            }
        }
    }

    /// Counts a failure, and says it unless another was said within the minute.
    fn failed(&mut self, message: &str) {
        self.metrics.access_log_failed();
        let now = Instant::now();
        let quiet = self.complained.is_some_and(|last| now - last < COMPLAINT_INTERVAL);
        if !quiet {
            self.complained = Some(now);
            // When standard error is gone too, the metric is all that is left.
            writeln!(io::stderr(), "{message}").ok();
        }
    }
}

/// As `Write::write_all`, but patient with a non-blocking pipe.
fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    let mut waited = Duration::ZERO;
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && waited < PIPE_PATIENCE => {
                let pause = Duration::from_millis(10);
                thread::park_timeout(pause);
                waited += pause;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn after_a_write_that_may_have_ended_inside_a_line_a_new_line_begins() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("access.log");
        fs::write(&path, "{\"half\":").unwrap();
        let sink = Sink::File(path.clone(), open(&path).unwrap());
        let target = Target { sink, buffer_bytes: 1, flush: Duration::ZERO };
        let mut log_thread = LogThread::new(target, Metrics::new(1));
        log_thread.torn = true;
        for line in ["{}\n", "[]\n"] {
            log_thread.write(&Chunk { bytes: line.into(), lines: 1 });
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"half\":\n{}\n[]\n");
    }
}
