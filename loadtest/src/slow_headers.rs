//! A thousand clients send a header byte a second: each is closed by the deadline, and a normal client does not notice.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::body::Body;
use crate::connection::{Connection, client_address, connect};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::process::allow_files;
use crate::report::Report;
use crate::rig::{Rig, Wanted};

/// What is asked for.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    #[command(flatten)]
    gateway: Wanted,
    /// Slow clients.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Seconds by which the gateway closes them.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=120))]
    deadline: u64,
    /// Requests a second of the normal client.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    rate: u32,
    /// What the normal client's p99 may become, as a multiple of what it was.
    #[arg(long, default_value_t = 1.2)]
    most_slower: f64,
}

/// How much later than the deadline a close may be seen here.
const GRACE: Duration = Duration::from_secs(1);

pub(crate) async fn run(settings: Settings) -> Result<Report, Failure> {
    let Settings { gateway, clients, deadline, rate, most_slower } = settings;
    allow_files(u64::from(clients) + 512)?;
    let rig = Rig::new(&gateway).await?;
    let deadline = Duration::from_secs(deadline);
    let before = normal_client(rig.target, rate, deadline).await?;
    let during = Rc::new(RefCell::new(None));
    let beside = tokio::task::spawn_local({
        let (during, target) = (during.clone(), rig.target);
        async move {
            *during.borrow_mut() = Some(normal_client(target, rate, deadline).await);
        }
    });
    let lives = slow_clients(rig.target, clients, deadline * 2).await?;
    beside.await.ok();
    let during = during.borrow_mut().take().ok_or(Failure::TooLate {
        what: "the normal client's end",
        seconds: deadline.as_secs(),
    })??;
    Ok(report(&lives, deadline, [&before, &during], most_slower))
}

fn report(
    lives: &[Duration],
    deadline: Duration,
    [before, during]: [&Latencies; 2],
    most_slower: f64,
) -> Report {
    let closed = lives.iter().filter(|life| **life <= deadline + GRACE).count();
    let (p99_before, p99_during) = (before.percentile_ms(99.0), during.percentile_ms(99.0));
    let mut report = Report::default();
    report.figure("slow clients", lives.len());
    report.figure("closed by the deadline", closed);
    let seconds = |life: Option<&Duration>| life.map(Duration::as_secs_f64);
    report.figure("first closed after, s", seconds(lives.iter().min()));
    report.figure("last closed after, s", seconds(lives.iter().max()));
    report.figure("normal client p99 before, ms", p99_before);
    report.figure("normal client p99 during, ms", p99_during);
    report.figure("ratio", p99_during / p99_before);
    report.promise("every slow client is closed by the deadline", closed == lives.len());
    let calm = p99_during <= p99_before * most_slower;
    report.promise(&format!("others' p99 stays within {most_slower} times"), calm);
    report
}

/// How long each slow client lived. They have a thread of their own: what a thousand of them cost must not delay the
/// normal client, whose time is measured in this one.
async fn slow_clients(
    target: SocketAddr,
    clients: u32,
    most: Duration,
) -> Result<Vec<Duration>, Failure> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let lives = runtime.map_err(|source| Failure::Socket { address: target, source });
        let lives = lives.and_then(|runtime| {
            // A second for all to begin: their bytes must not come in bursts.
            let starts = (0..clients).map(|number| async move {
                sleep(Duration::from_secs_f64(f64::from(number) / f64::from(clients))).await;
                slow_client(target, number as usize, most).await
            });
            runtime.block_on(join_all(starts)).into_iter().collect()
        });
        // Nobody waits for it if the measurement was given up.
        drop(tell.send(lives));
    });
    let gone = Failure::TooLate { what: "the slow clients' end", seconds: most.as_secs() };
    told.await.unwrap_or(Err(gone))
}

/// How long the gateway let one slow client live; `most` if longer.
async fn slow_client(
    target: SocketAddr,
    number: usize,
    most: Duration,
) -> Result<Duration, Failure> {
    let failed = |source| Failure::Socket { address: target, source };
    let mut stream = connect(target, Some(client_address(number))).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: slow\r\nX-Slow: ").await.map_err(failed)?;
    let started = Instant::now();
    let mut second = interval(Duration::from_secs(1));
    let mut bytes = [0; 1_024];
    while started.elapsed() < most {
        tokio::select! {
            read = stream.read(&mut bytes) => match read {
                // An answer may come before the end.
                Ok(1..) => {}
                Ok(0) | Err(_) => return Ok(started.elapsed()),
            },
            _ = second.tick() => if stream.write_all(b"a").await.is_err() {
                return Ok(started.elapsed());
            },
        }
    }
    Ok(most)
}

/// One keep-alive client at a constant rate.
async fn normal_client(
    target: SocketAddr,
    rate: u32,
    time: Duration,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::default();
    let mut connection = Connection::open(target).await?;
    let mut due = interval(Duration::from_secs(1) / rate);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let started = Instant::now();
    while started.elapsed() < time {
        let due = due.tick().await;
        if !connection.is_open() {
            connection = Connection::open(target).await?;
        }
        let request = connection.request("GET", "/echo/normal", Body::empty())?;
        let answer = connection.exchange(request).await?;
        if answer.status != 200 {
            return Err(Failure::Status(answer.status));
        }
        latencies.add(due.elapsed());
        if answer.last {
            connection = Connection::open(target).await?;
        }
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Kept;

    fn latencies(ms: u64) -> Latencies {
        let mut latencies = Latencies::default();
        latencies.add(Duration::from_millis(ms));
        latencies
    }

    #[test]
    fn a_client_that_lives_too_long_breaks_the_promise() {
        let deadline = Duration::from_secs(10);
        let well = [Duration::from_secs(10), Duration::from_millis(10_900)];
        let calm = [&latencies(10), &latencies(11)];
        assert_eq!(report(&well, deadline, calm, 1.2).kept(), Kept::Yes);
        let ill = [Duration::from_secs(10), Duration::from_secs(12)];
        assert_eq!(report(&ill, deadline, calm, 1.2).kept(), Kept::No);
        let disturbed = [&latencies(10), &latencies(13)];
        assert_eq!(report(&well, deadline, disturbed, 1.2).kept(), Kept::No);
    }

    #[tokio::test]
    async fn a_slow_client_sees_its_connection_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let target = listener.local_addr().expect("bound");
        // Closed in one direction only: a byte can still be sent, so only reading shows the end.
        let closing = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            stream.shutdown().await.expect("connected");
            stream
        };
        let (life, _stream) = tokio::join!(slow_client(target, 0, Duration::from_secs(3)), closing);
        assert!(life.expect("connected") < Duration::from_secs(1));
    }
}
