//! What was answered is there, however often the service, PostgreSQL and RabbitMQ are killed.
//!
//! A round kills each of them at a random moment while writers write. `KILL_ROUNDS=50 cargo test -p news --test service
//! kill -- --nocapture` does fifty and prints the ledger.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use servers::ServiceProcess;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::homes::Servers;
use crate::rig::{self, Answer, Body, draft};

const ROUNDS_USUAL: u32 = 2;
const WRITERS: u32 = 4;
/// Between two writes of one writer: the test is about loss, not about load.
const PAUSE: Duration = Duration::from_millis(15);
/// How long a killed one stays away, and how long nobody is killed: at most this.
const MOMENT_MAX_MS: u32 = 600;
/// How long what was written may need to be seen in the end.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answered_version_is_lost_when_anything_is_killed() {
    let rounds = std::env::var("KILL_ROUNDS").map_or(ROUNDS_USUAL, |text| text.parse().unwrap());
    let servers = Servers::start().await;
    let url = servers.postgres.url();
    let server = url.strip_suffix("/postgres").unwrap();
    let mut service = ServiceProcess::new(
        env!("CARGO_BIN_EXE_news"),
        vec![
            "--theme=famous".to_owned(),
            format!("--database={server}/event_log"),
            format!("--read-database={server}/latest"),
            format!("--events={}", servers.rabbit.url()),
        ],
    )
    .unwrap();
    let address = watch::Sender::new(service.start().await.unwrap());
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let (stop, stopped) = watch::channel(false);
    let writers: Vec<JoinHandle<()>> = (0..WRITERS)
        .map(|_| {
            let (service, ledger) = (address.subscribe(), Arc::clone(&ledger));
            let writer = Writer { service, ledger, stopped: stopped.clone(), known: Vec::new() };
            tokio::spawn(writer.write())
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
    for writer in writers {
        writer.await.unwrap();
    }
    let ledger = std::mem::take(&mut *ledger.lock().unwrap());
    let address = *victims.address.borrow();
    well_and_up_to_date(address).await;
    let seen = everything(address).await;
    let (versions, missing) = compare(address, &ledger.answered, &seen).await;
    let rebuilt = ask(address, "POST", "/rebuild").await;
    assert_eq!(rebuilt.status, 200);
    let log_end = rebuilt.json()["sequence"].as_u64().unwrap();
    eprintln!(
        "ledger: {rounds} times each of service, PostgreSQL and RabbitMQ killed; articles answered \
         {}, seen {}; versions answered {versions}, in the log {log_end}; writes without an answer {}; \
         missing {}",
        ledger.answered.len(),
        seen.len(),
        ledger.unanswered,
        missing.len(),
    );
    assert!(versions > u64::from(rounds), "writers wrote");
    assert_eq!(missing, [] as [String; 0]);
    assert!(
        log_end >= versions && log_end <= versions + ledger.unanswered,
        "no version is made up"
    );
    assert_eq!(everything(address).await, seen, "what grew equals what is made again");
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

/// Titles by version, by article.
type Answered = BTreeMap<String, BTreeMap<u64, String>>;

#[derive(Default)]
struct Ledger {
    answered: Answered,
    /// Writes of which nobody knows whether they happened.
    unanswered: u64,
}

struct Writer {
    service: watch::Receiver<SocketAddr>,
    ledger: Arc<Mutex<Ledger>>,
    stopped: watch::Receiver<bool>,
    /// Articles of this writer, and the version it believes to be the latest.
    known: Vec<(String, u64)>,
}

impl Writer {
    /// New articles, and new versions of those it wrote.
    async fn write(mut self) {
        while !*self.stopped.borrow() {
            let title = Uuid::new_v4().to_string();
            let before = match random(3) {
                0 => None,
                _ => self.known.len().checked_sub(1 + random(10) as usize),
            };
            let mut article = draft(&title);
            if let Some(index) = before {
                let (id, version) = &self.known[index];
                (article["id"], article["version"]) = (json!(id), json!(version));
            }
            match self.send("POST", "/", Body::Json(article)).await {
                Some(answer) if answer.status == 201 => self.note(before, &answer, &title),
                Some(answer) if answer.status == 409 => self.look_up(before.unwrap()).await,
                Some(answer) if answer.status.is_client_error() => panic!("{}", answer.text),
                _ => self.ledger.lock().unwrap().unanswered += 1,
            }
            sleep(PAUSE).await;
        }
    }

    fn note(&mut self, before: Option<usize>, answer: &Answer, title: &str) {
        let news = &answer.json()["news"];
        let id = news["id"].as_str().unwrap().to_owned();
        let version = news["version"].as_u64().unwrap();
        match before {
            Some(index) => self.known[index].1 = version,
            None => self.known.push((id.clone(), version)),
        }
        let mut ledger = self.ledger.lock().unwrap();
        let twice = ledger.answered.entry(id).or_default().insert(version, title.to_owned());
        assert_eq!(twice, None, "a version is given out once");
    }

    /// A write without an answer did happen after all.
    async fn look_up(&mut self, index: usize) {
        let path = format!("/{}/history", self.known[index].0);
        if let Some(answer) = self.send("GET", &path, Body::None).await
            && answer.status == 200
        {
            self.known[index].1 = answer.json()["news"][0]["version"].as_u64().unwrap();
        }
    }

    async fn send(&self, method: &str, path: &str, body: Body) -> Option<Answer> {
        let address = *self.service.borrow();
        let sending = rig::try_send(address, rig::request(method, path, body));
        tokio::time::timeout(Duration::from_secs(10), sending).await.ok()?
    }
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    rig::send(address, rig::request(method, path, Body::None)).await
}

async fn well_and_up_to_date(address: SocketAddr) {
    let begun = Instant::now();
    loop {
        let health = ask(address, "GET", "/health").await.json();
        if health["status"] == "ok" && health["components"]["latest"]["events_behind"] == 0 {
            return;
        }
        assert!(begun.elapsed() < SETTLE_TIME_MAX, "{health}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// What readers see, by id.
async fn everything(address: SocketAddr) -> BTreeMap<String, Value> {
    let mut seen = BTreeMap::new();
    for page in 1.. {
        let answer = ask(address, "GET", &format!("/{page}/100")).await.json();
        let articles = answer["news"].as_array().unwrap();
        if articles.is_empty() {
            break;
        }
        for article in articles {
            seen.insert(article["id"].as_str().unwrap().to_owned(), article.clone());
        }
    }
    seen
}

/// The number of answered versions, and what is missing of them in the log or for readers.
async fn compare(
    address: SocketAddr,
    answered: &Answered,
    seen: &BTreeMap<String, Value>,
) -> (u64, Vec<String>) {
    let (mut number, mut missing) = (0, Vec::new());
    for (id, versions) in answered {
        let history = ask(address, "GET", &format!("/{id}/history")).await.json()["news"].clone();
        let in_log = |version: &u64, title: &String| {
            let has = |it: &Value| it["version"] == *version && it["title"] == *title;
            history.as_array().is_some_and(|history| history.iter().any(has))
        };
        for (version, title) in versions {
            number += 1;
            if !in_log(version, title) {
                missing.push(format!("version {version} of {id}"));
            }
        }
        if seen.get(id) != Some(&history[0]) {
            missing.push(format!("the latest of {id} for readers"));
        }
    }
    (number, missing)
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
