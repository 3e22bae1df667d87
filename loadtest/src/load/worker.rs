//! One thread of the generator: its users on a runtime of their own, sharing nothing with other threads.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Barrier;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, interval};

use super::change;
use super::connect::Connector;
use super::live::Glance;
use super::request::Requests;
use super::scenario::{Pace, Protocol, Scenario};
use super::schedule::{Schedule, Share};
use super::tally::{Ledger, Tally};
use super::user::{Load, User};
use super::websocket::WebSocketUser;
use crate::failure::Failure;

/// What a thread has to do.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) scenario: Scenario,
    pub(super) target: SocketAddr,
    pub(super) share: Share,
    /// All threads begin together, once every user has connected and logged in.
    pub(super) barrier: Arc<Barrier>,
    pub(super) glances: UnboundedSender<(usize, Glance)>,
}

/// What a thread has done.
pub(super) struct Done {
    pub(super) tally: Tally,
    pub(super) opened: u64,
    pub(super) handshakes_full: u64,
    pub(super) handshakes_resumed: u64,
    pub(super) late_at_most: Duration,
    /// CPU time of this thread while the load ran, and the requests it was for.
    pub(super) cpu: Duration,
    pub(super) tickets: u64,
}

impl Done {
    /// What two threads have done together.
    pub(super) fn merge(mut self, other: Self) -> Self {
        let Self { tally, opened, handshakes_full, handshakes_resumed, late_at_most, cpu, tickets } =
            other;
        self.tally.merge(tally);
        self.opened += opened;
        self.handshakes_full += handshakes_full;
        self.handshakes_resumed += handshakes_resumed;
        self.late_at_most = self.late_at_most.max(late_at_most);
        self.cpu += cpu;
        self.tickets += tickets;
        self
    }
}

/// Where a thread says how far it is.
struct Glances {
    sender: UnboundedSender<(usize, Glance)>,
    thread: usize,
}

/// How often a thread says how far it is.
const GLANCE: Duration = Duration::from_millis(500);

/// Runs a thread's share to its end.
pub(super) fn work(order: Order) -> Result<Done, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Failure::Name { name: "runtime".to_owned(), source })?;
    let local = LocalSet::new();
    runtime.block_on(local.run_until(run(order)))
}

async fn run(order: Order) -> Result<Done, Failure> {
    let Order { scenario, target, share, barrier, glances } = order;
    let load = Rc::new(Load {
        connector: Connector::new(&scenario, target, share)?,
        requests: Requests::new(&scenario),
        tally: RefCell::new(Tally::new(Instant::now(), 0, None)),
        scenario,
    });
    let mut users = users(&load, share);
    join_all(users.iter_mut().map(AnyUser::prepare)).await;
    barrier.wait();
    let start = Instant::now();
    let begin = start + load.scenario.warm_up;
    let ledger = (!load.scenario.ledgers.is_empty()).then(Ledger::default);
    *load.tally.borrow_mut() = Tally::new(begin, load.scenario.requests.len(), ledger)
        .with_windows(&load.scenario.windows);
    let time = load.scenario.warm_up + load.scenario.time;
    let schedule = Schedule::new(load.scenario.pace, start, time, share);
    let cpu = thread_cpu();
    let glances = Glances { sender: glances, thread: share.thread };
    let changes = match share.thread {
        0 => change::make(load.scenario.changes.clone(), begin),
        _ => change::make(Vec::new(), begin),
    };
    tokio::try_join!(work_all(&load, &schedule, users, &glances), changes)?;
    let cpu = thread_cpu().saturating_sub(cpu);
    let connector = &load.connector;
    let nothing = Tally::new(begin, 0, None);
    Ok(Done {
        opened: connector.opened.get(),
        handshakes_full: connector.handshakes_full.get(),
        handshakes_resumed: connector.handshakes_resumed.get(),
        late_at_most: schedule.late_at_most(),
        cpu,
        tickets: schedule.taken(),
        tally: load.tally.replace(nothing),
    })
}

async fn work_all(
    load: &Rc<Load>,
    schedule: &Rc<Schedule>,
    users: Vec<AnyUser>,
    glances: &Glances,
) -> Result<(), Failure> {
    let mut working: JoinSet<()> = JoinSet::new();
    for user in users {
        working.spawn_local(user.run(schedule.clone()));
    }
    let mut ticks = interval(GLANCE);
    let clock = schedule.run_clock();
    let mut clock = std::pin::pin!(clock);
    loop {
        tokio::select! {
            ended = working.join_next() => match ended {
                Some(_) => {}
                None => return Ok(()),
            },
            failed = &mut clock => {
                return failed.map_err(|source| Failure::Name { name: "timer".to_owned(), source });
            }
            _ = ticks.tick() => {
                let glance = Glance::of(&load.tally.borrow());
                // Nobody looks: then there is nothing to tell.
                glances.sender.send((glances.thread, glance)).ok();
            }
        }
    }
}

/// HTTP and WebSocket users side by side.
enum AnyUser {
    Http(Box<User>),
    WebSocket(Box<WebSocketUser>),
}

impl AnyUser {
    async fn prepare(&mut self) {
        match self {
            Self::Http(user) => user.prepare().await,
            Self::WebSocket(user) => user.prepare().await,
        }
    }

    async fn run(self, schedule: Rc<Schedule>) {
        match self {
            Self::Http(user) => user.run(schedule).await,
            Self::WebSocket(user) => user.run(schedule).await,
        }
    }
}

fn users(load: &Rc<Load>, share: Share) -> Vec<AnyUser> {
    let Share { thread, threads } = share;
    let mut users = Vec::new();
    for connection in (thread..load.scenario.connections).step_by(threads) {
        let shared = Rc::default();
        for stream in 0..load.scenario.streams {
            let number = (connection * load.scenario.streams + stream + 1) as u64;
            users.push(match load.scenario.protocol {
                Protocol::Http1 | Protocol::Http2 => {
                    AnyUser::Http(Box::new(User::new(load.clone(), number, Rc::clone(&shared))))
                }
                Protocol::WebSocket => {
                    AnyUser::WebSocket(Box::new(WebSocketUser::new(load.clone(), number)))
                }
            });
        }
    }
    users
}

/// From the scheduler's own books, in nanoseconds; rustix's clocks do not run under valgrind. Zero where there are none.
fn thread_cpu() -> Duration {
    let books = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let on_cpu = books.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(on_cpu.unwrap_or_default())
}

/// Whether latency counts from the intended start.
pub(super) const fn loop_name(pace: Pace) -> &'static str {
    match pace {
        Pace::Open(_) => "open",
        Pace::Closed => "closed",
    }
}
