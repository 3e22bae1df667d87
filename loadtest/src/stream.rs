//! A huge body streamed through: the gateway's memory must not grow with it, also when the reader stalls.

use std::time::Duration;

use clap::{Args, ValueEnum};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::body::{Body, PatternCheck};
use crate::connection::{Connection, PATIENCE};
use crate::failure::Failure;
use crate::process::resident_bytes;
use crate::report::Report;
use crate::rig::{Rig, Wanted};

/// What is asked for.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    #[command(flatten)]
    gateway: Wanted,
    /// How much: bytes, or with KiB, MiB, GiB.
    #[arg(long, default_value = "10GiB", value_parser = parse_size)]
    bytes: u64,
    /// From the origin to us, or from us to the origin.
    #[arg(long, value_enum, default_value_t = Direction::Down)]
    direction: Direction,
    /// Milliseconds for which the reader first reads nothing.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    stall: u64,
    /// How much the memory may grow.
    #[arg(long, default_value = "8MiB", value_parser = parse_size)]
    most_growth: u64,
    /// Seconds after which it is given up.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    most_seconds: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Direction {
    Down,
    Up,
}

/// How often the memory is read.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) async fn run(settings: Settings) -> Result<Report, Failure> {
    let Settings { gateway, bytes, direction, stall, most_growth, most_seconds } = settings;
    let rig = Rig::new(&gateway).await?;
    let mut connection = Connection::open(rig.target).await?;
    // A small body first: what one connection needs is not growth.
    down(&mut connection, 65_536, Duration::ZERO).await?;
    let before = resident_bytes(rig.pid)?;
    let streaming = async {
        match direction {
            Direction::Down => down(&mut connection, bytes, Duration::from_millis(stall)).await,
            Direction::Up => up(&mut connection, bytes, stall).await,
        }
    };
    let mut peak = before;
    let whole = tokio::select! {
        whole = timeout(Duration::from_secs(most_seconds), streaming) => {
            whole.map_err(|_| Failure::TooLate { what: "the body's end", seconds: most_seconds })??
        }
        failure = watch(rig.pid, &mut peak) => return Err(failure),
    };
    let growth = peak - before;
    let mut report = Report::default();
    report.figure("bytes", bytes);
    report.figure("rss before, bytes", before);
    report.figure("rss at its peak, bytes", peak);
    report.figure("growth, bytes", growth);
    report.promise("every byte arrived as it was sent", whole);
    report.promise(&format!("memory grows by at most {most_growth} bytes"), growth <= most_growth);
    Ok(report)
}

/// Remembers the most memory seen; ends only when the process cannot be read any more.
async fn watch(pid: u32, peak: &mut u64) -> Failure {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        look.tick().await;
        match resident_bytes(pid) {
            Ok(bytes) => *peak = bytes.max(*peak),
            Err(failure) => return failure,
        }
    }
}

/// True if every byte came.
async fn down(connection: &mut Connection, bytes: u64, stall: Duration) -> Result<bool, Failure> {
    let request = connection.request("GET", &format!("/bytes/{bytes}"), Body::empty())?;
    let response = connection.send(request).await?;
    if response.status() != 200 {
        return Err(Failure::Status(response.status().as_u16()));
    }
    sleep(stall).await;
    let mut body = response.into_body();
    let mut check = PatternCheck::default();
    while let Some(frame) = timeout(PATIENCE, body.frame()).await.map_err(|_| late())? {
        if let Some(bytes) = frame?.data_ref() {
            check.add(bytes);
        }
    }
    Ok(check.bytes == bytes && check.intact())
}

/// True if the origin says that every byte came.
async fn up(connection: &mut Connection, bytes: u64, stall: u64) -> Result<bool, Failure> {
    let path = format!("/sink?stall={stall}");
    let request = connection.request("POST", &path, Body::Pattern(bytes))?;
    let answer = connection.exchange_slowly(request).await?;
    if answer.status != 200 {
        return Err(Failure::Status(answer.status));
    }
    Ok(answer.body == json!({ "bytes": bytes, "intact": true }).to_string())
}

fn late() -> Failure {
    Failure::TooLate { what: "the next piece of the body", seconds: PATIENCE.as_secs() }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(format!("`{unit}` is not a unit; units are KiB, MiB, GiB")),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` does not begin with a number"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is too much"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin;
    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("10GiB"), Ok(10_737_418_240));
        assert_eq!(parse_size("8MiB"), Ok(8_388_608));
        assert_eq!(parse_size("17"), Ok(17));
        assert!(parse_size("10GB").is_err() && parse_size("GiB").is_err());
        assert!(parse_size("99999999999999GiB").is_err());
    }

    #[tokio::test(flavor = "local")]
    async fn both_directions_are_counted_whole() {
        let origin = origin::start().await.expect("a free port");
        let mut connection = Connection::open(origin).await.expect("open");
        assert!(down(&mut connection, 3_000_000, Duration::ZERO).await.expect("answered"));
        assert!(up(&mut connection, 3_000_000, 0).await.expect("answered"));
    }
}
