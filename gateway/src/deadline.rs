//! Deadlines that cost a request nothing: the task that drives a connection has one timer, and looks at all of them.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// The time as the driver of a connection last saw it, and when something wants to be looked at again.
#[derive(Debug)]
pub(crate) struct Clock {
    now: Cell<Instant>,
    wake_at: Cell<Option<Instant>>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { now: Cell::new(Instant::now()), wake_at: Cell::new(None) }
    }

    /// The driver's timer fired at `now`; whoever waits is polled afterwards and compares.
    pub(crate) fn advance(&self, now: Instant) {
        self.now.set(now);
    }

    /// The earliest deadline somebody asked for since the last call.
    pub(crate) fn take_wake_at(&self) -> Option<Instant> {
        self.wake_at.take()
    }

    fn ask(&self, deadline: Instant) {
        if self.wake_at.get().is_none_or(|at| deadline < at) {
            self.wake_at.set(Some(deadline));
        }
    }
}

/// The timer of one request.
#[derive(Debug)]
pub(crate) enum Timer {
    /// HTTP/1: the request runs inside the task that drives its connection.
    Connection(Rc<Clock>),
    /// HTTP/2: each stream is a task of its own, with a timer of its own once it has to wait.
    Own(Option<Pin<Box<Sleep>>>),
}

impl Timer {
    /// Another one of the same connection.
    pub(crate) fn sibling(&self) -> Self {
        match self {
            Self::Connection(clock) => Self::Connection(Rc::clone(clock)),
            Self::Own(_) => Self::Own(None),
        }
    }

    /// Ready once `deadline` has passed. The task is woken for it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        match self {
            Self::Connection(clock) if clock.now.get() >= deadline => Poll::Ready(()),
            Self::Connection(clock) => {
                clock.ask(deadline);
                Poll::Pending
            }
            Self::Own(sleep) => {
                let sleep = sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                if sleep.deadline() != deadline {
                    sleep.as_mut().reset(deadline);
                }
                sleep.as_mut().poll(cx)
            }
        }
    }
}

/// The deadline passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// Waits for `future`, at the longest until `deadline`.
pub(crate) async fn within<F: Future>(
    timer: &mut Timer,
    deadline: Instant,
    future: F,
) -> Result<F::Output, Elapsed> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => timer.poll(cx, deadline).map(|()| Err(Elapsed)),
    })
    .await
}
