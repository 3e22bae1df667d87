//! Kill -9 of the service, PostgreSQL and Redis at random moments under writes: nothing that was answered is lost.
//!
//! A round kills each of them once. CI has time for a few rounds; for fifty, with the sums shown:
//!
//! ```text
//! USERS_KILL_ROUNDS=50 cargo test -p users --test kill -- --nocapture
//! ```
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]
#![allow(clippy::print_stdout, reason = "the sums are worth seeing")]

mod ledger;
mod program;
mod writer;

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use ledger::{Ledger, Stored};
use program::Program;
use servers::{PostgreSql, Redis};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use writer::{Writer, ask};

const WRITERS: usize = 4;
/// Rounds unless the environment says otherwise.
const ROUNDS: u32 = 3;
/// Between two events: long enough for some writes, short enough to hit the others in the middle.
const PAUSE_MS: std::ops::Range<u64> = 50..300;
/// How long the database may take to catch up after the last kill.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);

fn rounds() -> u32 {
    std::env::var("USERS_KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap())
}

/// A number below `end`, from the only source of randomness that the standard library has.
fn random(end: u64) -> u64 {
    RandomState::new().hash_one(()) % end
}

async fn pause() {
    let more = random(PAUSE_MS.end - PAUSE_MS.start);
    sleep(Duration::from_millis(PAUSE_MS.start + more)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_is_lost_when_service_postgresql_or_redis_is_killed() {
    let (mut postgresql, mut redis) =
        (PostgreSql::start().await.unwrap(), Redis::start().await.unwrap());
    let (database, queue) = (postgresql.url(), redis.url());
    let mut program = Program::start(&database, &queue).await;
    let writing = Writing::begin(program.address());
    for _ in 0..rounds() {
        if random(4) == 0 {
            pause().await;
            program.kill_9().await;
            tokio::join!(postgresql.kill_9(), redis.kill_9());
            redis.start_again().await.unwrap();
            postgresql.start_again().await.unwrap();
            program.start_again().await;
            continue;
        }
        pause().await;
        postgresql.kill_9().await;
        pause().await;
        postgresql.start_again().await.unwrap();
        pause().await;
        program.kill_9().await;
        program.start_again().await;
        pause().await;
        redis.kill_9().await;
        pause().await;
        redis.start_again().await.unwrap();
    }
    let ledger = writing.end().await;
    let stored = all_stored(&program).await;
    ledger.check(&stored, "service, PostgreSQL and Redis", rounds());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_is_lost_when_the_service_on_embedded_stores_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("users.sqlite").display());
    let mut program = Program::start(&database, "memory").await;
    let writing = Writing::begin(program.address());
    for _ in 0..rounds() {
        pause().await;
        program.kill_9().await;
        program.start_again().await;
    }
    let ledger = writing.end().await;
    let stored = all_stored(&program).await;
    ledger.check(&stored, "service on SQLite", rounds());
}

/// Clients that write until they are told to end.
struct Writing {
    end: watch::Sender<bool>,
    writers: Vec<tokio::task::JoinHandle<Ledger>>,
}

impl Writing {
    fn begin(address: SocketAddr) -> Self {
        let (end, ended) = watch::channel(false);
        let writers = (0..WRITERS).map(|number| Writer::new(number, address));
        let writers = writers.map(|it| tokio::spawn(it.write_until(ended.clone()))).collect();
        Self { end, writers }
    }

    async fn end(self) -> Ledger {
        self.end.send_replace(true);
        let mut ledger = Ledger::default();
        for writer in self.writers {
            ledger.join(writer.await.unwrap());
        }
        ledger
    }
}

/// What the service has in its database once the queue is empty.
async fn all_stored(program: &Program) -> Vec<Stored> {
    let until = Instant::now() + CATCH_UP_MAX;
    loop {
        let metrics = ask(program.address(), "GET", "/metrics", None).await;
        let text = metrics.map(|answer| answer.text).unwrap_or_default();
        if text.lines().any(|line| line == "users_queue_jobs 0") {
            assert!(text.lines().any(|line| line == "users_dead_letters 0"), "{text}");
            break;
        }
        assert!(Instant::now() < until, "jobs are left:\n{text}");
        sleep(Duration::from_millis(50)).await;
    }
    let mut stored: Vec<Stored> = Vec::new();
    loop {
        let path = format!("/users?count=100&start={}", stored.len());
        let page = ask(program.address(), "GET", &path, None).await.unwrap();
        assert_eq!(page.status, 200, "{}", page.text);
        let page: Vec<Stored> = serde_json::from_str(&page.text).unwrap();
        if page.is_empty() {
            return stored;
        }
        stored.extend(page);
    }
}
