//! The bounded queue between the workers and the thread that writes the access log.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, Instant};

use super::log_target::Target;

/// Emptied buffers kept for the workers.
const SPARE_MAX: usize = 16;

/// Larger buffers (one giant line) are given back to the allocator instead.
const SPARE_BYTES_MAX: usize = 128 * 1_024;

/// Lines on their way to the disk. A worker never waits: what does not fit is given back.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Told when there is work, and when all is done.
    changed: Condvar,
}

struct State {
    chunks: VecDeque<Chunk>,
    /// Bytes of `chunks` and of the chunk that is being written.
    bytes: usize,
    bytes_max: usize,
    spare: Vec<Vec<u8>>,
    reopen: bool,
    target: Option<Target>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Closed,
    Done,
}

/// Whole lines.
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// How many lines they are.
    pub(super) lines: u64,
}

/// What became of a chunk, with an empty buffer to go on with.
pub(super) enum Pushed {
    Queued(Vec<u8>),
    Full(Vec<u8>),
}

/// What the writing thread does next.
pub(super) enum Work {
    Switch(Target),
    Reopen,
    Write(Chunk),
    End,
}

impl Queue {
    /// An empty queue for this many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        let state = State {
            chunks: VecDeque::new(),
            bytes: 0,
            bytes_max,
            spare: Vec::new(),
            reopen: false,
            target: None,
            stage: Stage::Open,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Queues a chunk if there is room. An empty queue takes any chunk, so that a giant line can pass.
    pub(super) fn push(&self, mut chunk: Chunk) -> Pushed {
        let mut state = self.lock();
        let fits = state.bytes == 0 || state.bytes + chunk.bytes.len() <= state.bytes_max;
        if !fits || state.stage != Stage::Open {
            chunk.bytes.clear();
            return Pushed::Full(chunk.bytes);
        }
        state.bytes += chunk.bytes.len();
        state.chunks.push_back(chunk);
        let spare = state.spare.pop().unwrap_or_default();
        drop(state);
        self.changed.notify_all();
        Pushed::Queued(spare)
    }

    /// Asks for the file to be opened anew.
    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.changed.notify_all();
    }

    /// Asks for another target and bound.
    pub(super) fn switch(&self, target: Target, bytes_max: usize) {
        let mut state = self.lock();
        state.bytes_max = bytes_max;
        // A new target is freshly opened.
        state.reopen = false;
        state.target = Some(target);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for work.
    pub(super) fn next(&self) -> Work {
        let mut state = self.lock();
        loop {
            if let Some(target) = state.target.take() {
                return Work::Switch(target);
            }
            if std::mem::take(&mut state.reopen) {
                return Work::Reopen;
            }
            if let Some(chunk) = state.chunks.pop_front() {
                return Work::Write(chunk);
            }
            if state.stage != Stage::Open {
                return Work::End;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A chunk has been written (or given up): its room is free again.
    pub(super) fn written(&self, mut bytes: Vec<u8>) {
        let mut state = self.lock();
        state.bytes -= bytes.len();
        if state.spare.len() < SPARE_MAX && bytes.capacity() <= SPARE_BYTES_MAX {
            bytes.clear();
            state.spare.push(bytes);
        }
    }

    /// Takes nothing more; what is queued is still written.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        if state.stage == Stage::Open {
            state.stage = Stage::Closed;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The writing thread has ended.
    pub(super) fn done(&self) {
        self.lock().stage = Stage::Done;
        self.changed.notify_all();
    }

    /// Waits until everything is written; `false` when the time was not enough.
    pub(super) fn wait_done(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        while state.stage != Stage::Done {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
