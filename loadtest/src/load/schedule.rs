//! When each request is due: tickets in order, given to whoever is free, by a clock finer than a millisecond.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::scenario::Pace;

/// The right to send one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    /// Its number in the whole run.
    pub(super) number: u64,
    /// Latency counts from here.
    pub(super) due: Instant,
}

/// So late our own clock may be.
const OUR_OWN: Duration = Duration::from_millis(1);

/// One thread's share of a pace.
pub(super) struct Schedule {
    start: Instant,
    end: Instant,
    pace: Pace,
    taken: Cell<u64>,
    /// Ticket numbers of this thread: `first`, `first + step`, …
    first: u64,
    step: u64,
    waiting: RefCell<VecDeque<(Instant, Waker)>>,
    somebody_waits: Notify,
    /// How late we woke up ourselves, at worst: what the generator adds to what it measures.
    late_at_most: Cell<Duration>,
}

/// Which part of the pace a thread keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) thread: usize,
    pub(super) threads: usize,
}

impl Schedule {
    pub(super) fn new(pace: Pace, start: Instant, time: Duration, share: Share) -> Rc<Self> {
        Rc::new(Self {
            start,
            end: start + time,
            pace,
            taken: Cell::new(0),
            first: share.thread as u64,
            step: share.threads as u64,
            waiting: RefCell::default(),
            somebody_waits: Notify::new(),
            late_at_most: Cell::default(),
        })
    }

    /// The next ticket once it is due; none when the time is over.
    pub(super) async fn ticket(&self) -> Option<Ticket> {
        // Each thread takes every n-th number: together they are one even stream.
        let number = self.first + self.taken.get() * self.step;
        let due = match self.pace {
            Pace::Closed => Instant::now(),
            // From the number and not from the ticket before: no error adds up.
            Pace::Open(rate) => self.start + Duration::from_secs_f64(number as f64 / rate),
        };
        if due >= self.end {
            return None;
        }
        self.taken.set(self.taken.get() + 1);
        let due = match self.pace {
            Pace::Open(_) if Instant::now() < due => self.wait(due).await,
            Pace::Open(_) | Pace::Closed => due,
        };
        Some(Ticket { number, due })
    }

    /// The first ticket's time is at the front: they are taken in order. Returns from when latency counts: somebody was
    /// ready, so that our timer woke up late is not the server's, as long as it is not more than a timer's lateness.
    async fn wait(&self, due: Instant) -> Instant {
        let mut queued = false;
        poll_fn(|context| {
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            if !queued {
                self.queue(due, context.waker().clone());
                queued = true;
            }
            Poll::Pending
        })
        .await;
        let now = Instant::now();
        let late = now - due;
        self.late_at_most.set(self.late_at_most.get().max(late));
        if late <= OUR_OWN { now } else { due }
    }

    fn queue(&self, due: Instant, waker: Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            self.somebody_waits.notify_one();
        }
        waiting.push_back((due, waker));
    }

    pub(super) fn late_at_most(&self) -> Duration {
        self.late_at_most.get()
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Wakes who waits when it is time; tokio's own clock has steps of a millisecond. Runs until it is dropped.
    pub(super) async fn run_clock(&self) -> io::Result<()> {
        if self.pace == Pace::Closed {
            return std::future::pending().await;
        }
        let timer = timer()?;
        loop {
            match self.wake_the_due() {
                Some(next) => sleep(&timer, next).await?,
                None => self.somebody_waits.notified().await,
            }
        }
    }

    /// How long until the next one is due, if somebody waits.
    fn wake_the_due(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut waiting = self.waiting.borrow_mut();
        while let Some((_, waker)) = waiting.pop_front_if(|(due, _)| *due <= now) {
            waker.wake();
        }
        waiting.front().map(|(due, _)| due.duration_since(now))
    }
}

fn timer() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe; an OwnedFd is what it asks for: ours until it is dropped"
    )]
    AsyncFd::new(timer)
}

async fn sleep(timer: &AsyncFd<OwnedFd>, time: Duration) -> io::Result<()> {
    let once = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec {
            tv_sec: time.as_secs() as i64,
            // Zero would disarm it.
            tv_nsec: i64::from(time.subsec_nanos()).max(1),
        },
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
    // The next setting forgets what was not read, so reading it would be a system call for nothing.
    timer.readable().await?.clear_ready();
    Ok(())
}
