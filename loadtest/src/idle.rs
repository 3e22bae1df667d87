//! Memory of idle keep-alive connections: RSS before and after many were opened and asked once.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::connection::{PATIENCE, client_address, connect};
use crate::failure::Failure;
use crate::process::{allow_files, resident_bytes};
use crate::report::Report;
use crate::rig::{Rig, Wanted};

/// What is asked for.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    #[command(flatten)]
    gateway: Wanted,
    /// Connections to keep open.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    connections: u32,
    /// Bytes that one may take.
    #[arg(long, default_value_t = 8_192)]
    most_bytes: u64,
    /// Seconds to wait before the memory is read again; an allocator returns memory to the system some seconds after
    /// it was freed.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(0..=600))]
    settle: u64,
}

/// Connections being opened or asked at the same time.
const AT_ONCE: usize = 64;

/// Connections opened, asked and closed first: pools and allocator are in place afterwards.
const WARM_UP: usize = 256;

pub(crate) async fn run(settings: Settings) -> Result<Report, Failure> {
    let Settings { gateway, connections, most_bytes, settle } = settings;
    let count = connections as usize;
    allow_files(u64::from(connections) + 512)?;
    let rig = Rig::new(&gateway).await?;
    drop(open_all(rig.target, WARM_UP).await?);
    sleep(Duration::from_secs(1)).await;
    let before = resident_bytes(rig.pid)?;
    let open = open_all(rig.target, count).await?;
    sleep(Duration::from_secs(settle)).await;
    let after = resident_bytes(rig.pid)?;
    let answered = ask_all(rig.target, open).await;
    let each = after.saturating_sub(before) / u64::from(connections);
    let mut report = Report::default();
    report.figure("connections", connections);
    report.figure("rss before, bytes", before);
    report.figure("rss after, bytes", after);
    report.figure("bytes per idle connection", each);
    report.figure("answered again afterwards", answered);
    report.promise(
        &format!("an idle connection takes at most {most_bytes} bytes"),
        each <= most_bytes,
    );
    report.promise("every idle connection still answers", answered == count);
    Ok(report)
}

/// Opens connections and asks once on each.
async fn open_all(target: SocketAddr, count: usize) -> Result<Vec<TcpStream>, Failure> {
    let opening = stream::iter(0..count).map(|number| async move {
        let mut stream = connect(target, Some(client_address(number))).await?;
        ask(target, &mut stream).await?;
        Ok(stream)
    });
    opening.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
}

/// How many still answer.
async fn ask_all(target: SocketAddr, open: Vec<TcpStream>) -> usize {
    let asking = stream::iter(open).map(|mut stream| async move { ask(target, &mut stream).await });
    let answers = asking.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    answers.iter().filter(|answer| answer.is_ok()).count()
}

/// One request by hand: a client library would keep buffers for ten thousand connections.
async fn ask(address: SocketAddr, stream: &mut TcpStream) -> Result<(), Failure> {
    let failed = |source| Failure::Socket { address, source };
    let request = format!("GET /echo/idle HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = [0; 2_048];
    let mut filled = 0;
    while !is_whole(&answer[..filled])? {
        let reading = timeout(PATIENCE, stream.read(&mut answer[filled..])).await;
        let late = |_| Failure::TooLate { what: "an answer", seconds: PATIENCE.as_secs() };
        match reading.map_err(late)?.map_err(failed)? {
            0 => return Err(Failure::Body),
            bytes => filled += bytes,
        }
    }
    Ok(())
}

/// A head of status 200 and as many bytes behind it as it says.
fn is_whole(answer: &[u8]) -> Result<bool, Failure> {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(false);
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or(Failure::Body)?;
    if status != 200 {
        return Err(Failure::Status(status));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|value| value.trim().parse().ok()).ok_or(Failure::Body)?;
    Ok(answer.len() >= end + 4 + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin;
    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab";
        assert!(is_whole(answer).expect("well"));
        assert!(!is_whole(&answer[..answer.len() - 1]).expect("well"));
        assert!(!is_whole(b"HTTP/1.1 200").expect("well"));
        assert!(is_whole(b"HTTP/1.1 503 Full\r\ncontent-length: 0\r\n\r\n").is_err());
    }

    #[tokio::test(flavor = "local")]
    async fn connections_stay_open_and_answer_again() {
        let origin = origin::start().await.expect("a free port");
        let open = open_all(origin, 40).await.expect("all answered");
        assert_eq!(ask_all(origin, open).await, 40);
    }
}
