//! Waits until everything answers, and names what does not.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::addresses::Addresses;
use crate::failure::Failure;
use crate::portal::Portal;

/// How long everything together may take.
const READY_TIME_MAX: Duration = Duration::from_secs(30);
/// How long one answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// Between two questions to the same.
const PAUSE: Duration = Duration::from_millis(50);

/// Somebody to ask.
pub(crate) struct Probe {
    name: &'static str,
    address: SocketAddr,
    path: &'static str,
}

/// The services and the gateway's admin.
pub(crate) fn probes(portal: &Portal, addresses: &Addresses) -> Vec<Probe> {
    let services = portal.addresses().into_iter();
    services
        .map(|(name, address)| Probe { name, address, path: "/health" })
        .chain([Probe { name: "gateway", address: addresses.admin, path: "/readyz" }])
        .collect()
}

/// Asks all, again and again, until each has answered 200.
pub(crate) async fn wait(probes: &[Probe]) -> Result<(), Failure> {
    let until = Instant::now() + READY_TIME_MAX;
    let mut missing = Vec::new();
    for probe in probes {
        while let Err(reason) = ask(probe).await {
            if Instant::now() >= until {
                let Probe { name, address, path } = probe;
                missing.push(format!("\n  {name}: http://{address}{path}: {reason}"));
                break;
            }
            sleep(PAUSE).await;
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::NotReady { seconds: READY_TIME_MAX.as_secs(), missing: missing.concat() })
}

async fn ask(probe: &Probe) -> Result<(), String> {
    let Probe { name: _, address, path } = probe;
    let status_line = async {
        let mut stream = TcpStream::connect(address).await?;
        let question =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(question.as_bytes()).await?;
        let mut line = [0; "HTTP/1.1 200".len()];
        stream.read_exact(&mut line).await?;
        Ok::<_, std::io::Error>(line)
    };
    match timeout(ANSWER_TIME_MAX, status_line).await {
        Ok(Ok(line)) if line.ends_with(b" 200") => Ok(()),
        Ok(Ok(line)) => Err(String::from_utf8_lossy(&line).into_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}
