//! Kill -9 of the service and of PostgreSQL at random moments under logins: what was answered holds, what is spent stays
//! spent.
//!
//! A round kills each of them once. Every test run does a few rounds; this does fifty and prints the ledger:
//!
//! ```text
//! KILL_ROUNDS=50 cargo test -p auth --test service kill -- --nocapture
//! ```

mod ledger;
mod owner;

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use ledger::Ledger;
use owner::Owner;
use rustix::process::Signal;
use servers::PostgreSql;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::process::Program;
use crate::rig::try_send;
use crate::users_stub::UsersStub;

/// Rounds unless the environment says otherwise.
const ROUNDS: u32 = 3;
/// Between two events: long enough for some logins, short enough to hit the others in the middle.
const PAUSE_MS: std::ops::Range<u64> = 50..300;
/// How long the service may take to be well after the last kill.
const RECOVERY_MAX: Duration = Duration::from_secs(30);
/// Who logs in, each of them on their own: nobody may have too many logins.
const OWNERS: [(&str, &str, &str); 4] = [
    ("0b3c9c1e-6f0b-4a0e-9d0e-6a1f2f7c0a01", "One", "one@example.org"),
    ("0b3c9c1e-6f0b-4a0e-9d0e-6a1f2f7c0a02", "Two", "two@example.org"),
    ("0b3c9c1e-6f0b-4a0e-9d0e-6a1f2f7c0a03", "Three", "three@example.org"),
    ("0b3c9c1e-6f0b-4a0e-9d0e-6a1f2f7c0a04", "Four", "four@example.org"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_holds_when_postgresql_or_the_service_on_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let users = users().await;
    let mut postgresql = PostgreSql::start().await.unwrap();
    let mut program = Program::start(folder.path(), &postgresql.url(), users.address);
    let working = Working::begin(program.address());
    for _ in 0..rounds() {
        pause().await;
        postgresql.kill_9().await;
        // Sometimes both are down at once.
        if random(4) == 0 {
            program.end(Signal::KILL);
            postgresql.start_again().await.unwrap();
            program.start_again();
            continue;
        }
        pause().await;
        postgresql.start_again().await.unwrap();
        pause().await;
        program.end(Signal::KILL);
        program.start_again();
    }
    let ledger = working.end().await;
    ledger.check("PostgreSQL, and of the service on it", rounds());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_holds_when_the_service_on_sqlite_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let users = users().await;
    let mut program = Program::start(folder.path(), "sqlite:auth.sqlite", users.address);
    let working = Working::begin(program.address());
    for _ in 0..rounds() {
        pause().await;
        program.end(Signal::KILL);
        program.start_again();
    }
    let ledger = working.end().await;
    ledger.check("the service on SQLite", rounds());
}

fn rounds() -> u32 {
    std::env::var("KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap())
}

/// A number below `end`, from the only source of randomness that the standard library has.
fn random(end: u64) -> u64 {
    RandomState::new().hash_one(()) % end
}

async fn pause() {
    let more = random(PAUSE_MS.end - PAUSE_MS.start);
    sleep(Duration::from_millis(PAUSE_MS.start + more)).await;
}

async fn users() -> UsersStub {
    let users = UsersStub::start().await;
    users.change(|known| known.users.extend(OWNERS));
    users
}

/// Owners of logins who are at work until they are told to end.
struct Working {
    address: SocketAddr,
    end: watch::Sender<bool>,
    owners: Vec<JoinHandle<Owner>>,
}

impl Working {
    fn begin(address: SocketAddr) -> Self {
        let (end, ended) = watch::channel(false);
        let owners = OWNERS.map(|(_, _, email)| Owner::new(address, email));
        let owners = owners.map(|it| tokio::spawn(it.work_until(ended.clone()))).into();
        Self { address, end, owners }
    }

    /// Lets them end, and ask about everything once more when nobody is killed any more.
    async fn end(self) -> Ledger {
        let Self { address, end, owners } = self;
        wait_until_well(address).await;
        end.send_replace(true);
        let mut ledger = Ledger::default();
        for owner in owners {
            ledger.join(owner.await.unwrap().settle().await);
        }
        ledger
    }
}

async fn wait_until_well(address: SocketAddr) {
    let until = Instant::now() + RECOVERY_MAX;
    let health = || hyper::Request::get("/health").body(http_body_util::Full::default()).unwrap();
    while try_send(address, health()).await.is_none_or(|answer| answer.status != 200) {
        assert!(Instant::now() < until, "the service does not recover");
        sleep(Duration::from_millis(20)).await;
    }
}
