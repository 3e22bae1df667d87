//! What was taken is counted, once, however often the service, PostgreSQL and RabbitMQ are killed.
//!
//! A round kills each of them at a random moment while publishers publish. `KILL_ROUNDS=50 cargo test -p recommendation
//! --test service kill -- --nocapture` does fifty and prints the ledger.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use servers::ServiceProcess;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::broker::{Broker, Publisher};
use crate::directory::Directory;
use crate::homes::Servers;
use crate::rig::{self, ANN, BOB, viewed};

const ROUNDS_USUAL: u32 = 2;
const PUBLISHERS: u32 = 4;
const LABELS: [&str; 5] = ["film", "law", "money", "music", "sea"];
/// Between two events of one publisher: the test is about loss, not about load.
const PAUSE: Duration = Duration::from_millis(15);
/// How long a killed one stays away, and how long nobody is killed: at most this.
const MOMENT_MAX_MS: u32 = 600;
/// How long everything that was taken may need to be counted in the end.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_label_is_lost_or_counted_twice_when_anything_is_killed() {
    let rounds = std::env::var("KILL_ROUNDS").map_or(ROUNDS_USUAL, |text| text.parse().unwrap());
    let servers = Servers::start().await;
    let (directory, _listening) = Directory::open(&[(ANN, "Ann"), (BOB, "Bob")]).await;
    let mut service = ServiceProcess::new(
        env!("CARGO_BIN_EXE_recommendation"),
        vec![
            format!("--database={}", servers.database()),
            format!("--events={}", servers.rabbit.url()),
            format!("--users={}", directory.url()),
        ],
    )
    .unwrap();
    let address = watch::Sender::new(service.start().await.unwrap());
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let (stop, stopped) = watch::channel(false);
    let publishers: Vec<JoinHandle<()>> = (0..PUBLISHERS)
        .map(|number| {
            let world = World {
                broker: Broker::at(&servers.rabbit.url()),
                service: address.subscribe(),
                ledger: Arc::clone(&ledger),
                stopped: stopped.clone(),
            };
            tokio::spawn(world.publish(number % 2 == 0))
        })
        .collect();

    let mut victims = Victims { service, address, servers };
    for _ in 0..rounds {
        for victim in shuffled([Victim::Service, Victim::PostgreSql, Victim::RabbitMq]) {
            sleep(moment()).await;
            victims.kill(victim).await;
        }
    }
    stop.send_replace(true);
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let ledger = ledger.lock().unwrap().clone();
    let address = *victims.address.borrow();
    let begun = Instant::now();
    let mut counted = counts(address).await;
    while counted != ledger.expected && begun.elapsed() < SETTLE_TIME_MAX {
        sleep(Duration::from_millis(100)).await;
        counted = counts(address).await;
    }
    let sum = |counts: &Counts| counts.values().sum::<u64>();
    eprintln!(
        "ledger: {rounds} times each of service, PostgreSQL and RabbitMQ killed; events taken {}, \
         of them over HTTP {}, told again {}; labels expected {}, counted {}",
        ledger.taken,
        ledger.over_http,
        ledger.again,
        sum(&ledger.expected),
        sum(&counted),
    );
    assert!(ledger.taken > u64::from(rounds), "publishers published");
    assert_eq!(counted, ledger.expected);
}

/// What a round kills.
#[derive(Clone, Copy)]
enum Victim {
    Service,
    PostgreSql,
    RabbitMq,
}

/// Those, and where the service is now.
struct Victims {
    service: ServiceProcess,
    address: watch::Sender<SocketAddr>,
    servers: Servers,
}

impl Victims {
    /// Kills one, and starts it again after a moment.
    async fn kill(&mut self, victim: Victim) {
        let Self { service, address, servers } = self;
        match victim {
            Victim::Service => {
                service.kill_9();
                sleep(moment()).await;
                address.send_replace(service.start().await.unwrap());
            }
            Victim::PostgreSql => {
                servers.postgres.kill_9().await;
                sleep(moment()).await;
                servers.postgres.start_again().await.unwrap();
            }
            Victim::RabbitMq => {
                servers.rabbit.kill_9().await;
                sleep(moment()).await;
                servers.rabbit.start_again().await.unwrap();
            }
        }
    }
}

/// Reads of a label by a user.
type Counts = BTreeMap<(String, String), u64>;

/// What was taken.
#[derive(Default, Clone)]
struct Ledger {
    expected: Counts,
    taken: u64,
    over_http: u64,
    /// Publications of events that had been published before: their answer was lost, or just so.
    again: u64,
}

/// What a publisher knows.
struct World {
    broker: Broker,
    service: watch::Receiver<SocketAddr>,
    ledger: Arc<Mutex<Ledger>>,
    stopped: watch::Receiver<bool>,
}

impl World {
    /// Publishes event after event, each as often as it takes until it is taken.
    async fn publish(self, over_http: bool) {
        let mut publisher = None;
        while !*self.stopped.borrow() {
            let (id, user) = (Uuid::new_v4().to_string(), [ANN, BOB][random(2) as usize]);
            let labels = &LABELS[..1 + random(LABELS.len() as u32) as usize];
            let event = viewed(&id, user, labels);
            let mut tries = 1;
            // One of ten is told again although it was taken.
            while !self.tell(&mut publisher, &event, over_http).await || random(10) == 0 {
                tries += 1;
                sleep(PAUSE).await;
            }
            self.note(user, labels, tries, over_http);
            sleep(PAUSE).await;
        }
    }

    /// Says whether the event was certainly taken.
    async fn tell(
        &self,
        publisher: &mut Option<Publisher>,
        event: &Value,
        over_http: bool,
    ) -> bool {
        if over_http { self.post(event).await } else { self.send(publisher, event).await }
    }

    fn note(&self, user: &str, labels: &[&str], tries: u64, over_http: bool) {
        let mut ledger = self.ledger.lock().unwrap();
        ledger.taken += 1;
        ledger.again += tries - 1;
        ledger.over_http += u64::from(over_http);
        for label in labels {
            *ledger.expected.entry((user.to_owned(), (*label).to_owned())).or_default() += 1;
        }
    }

    async fn post(&self, event: &Value) -> bool {
        let address = *self.service.borrow();
        let request = rig::request("POST", "/events/viewed", event.clone().into());
        let answer = tokio::time::timeout(Duration::from_secs(10), rig::try_send(address, request));
        matches!(answer.await, Ok(Some(answer)) if answer.status == 202)
    }

    async fn send(&self, publisher: &mut Option<Publisher>, event: &Value) -> bool {
        let sending = async {
            let open = match publisher.take() {
                Some(open) => open,
                None => self.broker.publisher().await.ok()?,
            };
            open.publish(event.to_string().as_bytes(), "kill").await.ok()?;
            *publisher = Some(open);
            Some(())
        };
        matches!(tokio::time::timeout(Duration::from_secs(10), sending).await, Ok(Some(())))
    }
}

async fn counts(address: SocketAddr) -> Counts {
    let mut counts = Counts::new();
    for user in [ANN, BOB] {
        let request = rig::request("GET", &format!("/user/{user}?count=100"), rig::Body::None);
        let Some(answer) = rig::try_send(address, request).await else { continue };
        if answer.status != 200 {
            continue;
        }
        for label in answer.json()["labels"].as_array().unwrap() {
            let name = label["label"].as_str().unwrap().to_owned();
            counts.insert((user.to_owned(), name), label["count"].as_u64().unwrap());
        }
    }
    counts
}

fn random(below: u32) -> u32 {
    (Uuid::new_v4().as_u128() % u128::from(below)) as u32
}

fn moment() -> Duration {
    Duration::from_millis(u64::from(random(MOMENT_MAX_MS)))
}

fn shuffled<const N: usize>(mut victims: [Victim; N]) -> [Victim; N] {
    for last in (1..N).rev() {
        victims.swap(last, random(last as u32 + 1) as usize);
    }
    victims
}
