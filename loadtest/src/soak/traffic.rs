//! The clients: each sends at its own constant rate, on a kept connection or on a new one each time.

use std::pin::Pin;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::tally::Kind;
use super::{Run, websocket};
use crate::body::{Body, PatternCheck};
use crate::connection::{Connection, NONCE};
use crate::failure::Failure;

/// How many clients of a kind share how much of the rate, in hundredths.
const KEEP_ALIVE: Share = Share { clients: 32, hundredths: 70 };
const NEW_CONNECTION: Share = Share { clients: 8, hundredths: 10 };
const WEBSOCKET: Share = Share { clients: 16, hundredths: 20 };

struct Share {
    clients: u32,
    hundredths: u32,
}

pub(super) type Client = Pin<Box<dyn Future<Output = ()>>>;

/// All clients of a run; each ends after the run is over.
pub(super) fn clients(run: &Run, rate: u32) -> Vec<Client> {
    let mut all: Vec<Client> = Vec::new();
    for number in 0..KEEP_ALIVE.clients {
        all.push(Box::pin(keep_alive(run.clone(), KEEP_ALIVE.pace(rate, number))));
    }
    for number in 0..NEW_CONNECTION.clients {
        all.push(Box::pin(new_connections(run.clone(), NEW_CONNECTION.pace(rate, number))));
    }
    for number in 0..WEBSOCKET.clients {
        all.push(Box::pin(websocket::client(run.clone(), WEBSOCKET.pace(rate, number))));
    }
    all
}

impl Share {
    /// One client's ticks. The clients of a share begin one after the other: together they make an even stream.
    fn pace(&self, rate: u32, number: u32) -> Interval {
        let between = self.between(rate);
        let start = tokio::time::Instant::now() + between * number / self.clients;
        let mut ticks = interval_at(start, between);
        // What was late is caught up: the rate is kept whatever the gateway does.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        ticks
    }

    fn between(&self, rate: u32) -> Duration {
        Duration::from_secs(1) * 100 * self.clients / (rate * self.hundredths)
    }
}

async fn keep_alive(run: Run, mut pace: Interval) {
    let mut kept: Option<Connection> = None;
    while !run.over.get() {
        let due = pace.tick().await;
        if kept.as_ref().is_some_and(|connection| !connection.is_open()) {
            run.tally.borrow_mut().connections.ended_unannounced += 1;
            kept = None;
        }
        let nonce = run.tally.borrow_mut().send(Kind::KeepAlive);
        let outcome = async {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => Connection::open(run.target).await?,
            };
            let last = ask(&mut connection, nonce).await?;
            Ok::<_, Failure>((connection, last))
        };
        let outcome = outcome.await;
        let mut tally = run.tally.borrow_mut();
        match outcome {
            Ok((_, Answered::Last)) => {
                tally.connections.ended_announced += 1;
                tally.answered(nonce, due.elapsed());
            }
            Ok((connection, Answered::MoreToCome)) => {
                kept = Some(connection);
                tally.answered(nonce, due.elapsed());
            }
            Err(failure) => tally.failed(nonce, Kind::KeepAlive, &failure),
        }
    }
}

async fn new_connections(run: Run, mut pace: Interval) {
    while !run.over.get() {
        let due = pace.tick().await;
        let nonce = run.tally.borrow_mut().send(Kind::NewConnection);
        let outcome = async {
            let mut connection = Connection::open(run.target).await?;
            ask(&mut connection, nonce).await
        };
        let outcome = outcome.await;
        let mut tally = run.tally.borrow_mut();
        match outcome {
            Ok(Answered::Last | Answered::MoreToCome) => tally.answered(nonce, due.elapsed()),
            Err(failure) => tally.failed(nonce, Kind::NewConnection, &failure),
        }
    }
}

/// What the connection is good for after an answer.
enum Answered {
    Last,
    MoreToCome,
}

/// One of four requests, chosen by its number, and a look at the whole answer.
async fn ask(connection: &mut Connection, nonce: u64) -> Result<Answered, Failure> {
    let (method, path, body) = match nonce % 4 {
        0 => ("GET", format!("/echo/{nonce}"), Body::empty()),
        1 => ("GET", "/bytes/2000".to_owned(), Body::empty()),
        2 => ("POST", "/sink".to_owned(), Body::Pattern(700)),
        _ => ("GET", "/delay/3".to_owned(), Body::empty()),
    };
    let expected = match nonce % 4 {
        0 => Some(json!({ "method": "GET", "path": path }).to_string()),
        1 => None,
        2 => Some(json!({ "bytes": 700, "intact": true }).to_string()),
        _ => Some(json!({ "delay_ms": 3 }).to_string()),
    };
    let mut request = connection.request(method, &path, body)?;
    request.headers_mut().insert(NONCE, nonce.into());
    let answer = connection.exchange(request).await?;
    if answer.status != 200 {
        return Err(Failure::Status(answer.status));
    }
    let well = match expected {
        Some(expected) => answer.body == expected,
        None => is_pattern(&answer.body, 2_000),
    };
    match (well, answer.last) {
        (false, _) => Err(Failure::Body),
        (true, true) => Ok(Answered::Last),
        (true, false) => Ok(Answered::MoreToCome),
    }
}

fn is_pattern(body: &[u8], length: usize) -> bool {
    let mut check = PatternCheck::default();
    check.add(body);
    check.intact() && body.len() == length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_make_the_rate() {
        let all = [KEEP_ALIVE, NEW_CONNECTION, WEBSOCKET];
        let rate: f64 = all
            .iter()
            .map(|share| f64::from(share.clients) / share.between(2_000).as_secs_f64())
            .sum();
        assert!((rate - 2_000.0).abs() < 1.0, "{rate}");
    }
}
