//! A waker that a task can hold shut while it drives a connection itself.
//!
//! hyper's halves wake each other through wakers. When one task polls both, such a wake would only run the task once
//! more; the gate turns it into "look again" instead.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// Wakes go through to the task.
const OPEN: u8 = 0;
/// The task is polling; a wake is noted.
const SHUT: u8 = 1;
/// A wake was noted.
const WOKEN: u8 = 2;

/// See the module. The task and the connection live on one thread, so the orderings only have to satisfy a waker
/// that strays to another one.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: AtomicU8,
    task: Mutex<Option<Waker>>,
}

impl Gate {
    /// Shuts the gate for a poll by the task of `waker`.
    pub(super) fn shut(&self, waker: &Waker) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *task {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        self.state.store(SHUT, Ordering::Release);
    }

    /// Opens the gate, unless a wake was noted: then it stays shut and the task has to look again.
    pub(super) fn open(&self) -> bool {
        match self.state.compare_exchange(SHUT, OPEN, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(_) => {
                self.state.store(SHUT, Ordering::Release);
                false
            }
        }
    }

    /// Opens the gate whatever was noted: the poll has ended with a result.
    pub(super) fn open_anyway(&self) {
        self.state.store(OPEN, Ordering::Release);
    }

    /// Lets go of the task and stays shut: the connection rests in the pool, and what wakes it is noted.
    pub(super) fn rest(&self) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.state.store(SHUT, Ordering::Release);
    }

    /// Whether something has happened on the socket since [`Gate::rest`].
    pub(super) fn is_stirred(&self) -> bool {
        self.state.load(Ordering::Acquire) != SHUT
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == OPEN {
            self.state.store(OPEN, Ordering::Release);
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(task) = &*task {
                task.wake_by_ref();
            }
        }
    }
}
