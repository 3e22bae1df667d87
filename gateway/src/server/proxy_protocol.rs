//! PROXY protocol v1 and v2: a load balancer says who the client is before the first byte of TLS or HTTP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The start of a binary header (v2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest text header (v1), CR LF included.
const TEXT_MAX: usize = 107;
/// The longest address block and extensions of v2 that are read.
const BINARY_MAX: usize = 4096;

/// Why a connection is not let in.
#[derive(Debug, Error)]
pub(super) enum ProxyError {
    /// There is no PROXY header, or none that can be read.
    #[error("no PROXY protocol header")]
    Malformed,
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Reads the header, and no byte more. `None`: the load balancer speaks for itself (a health check).
pub(super) async fn read<T: AsyncRead + Unpin>(
    stream: &mut T,
) -> Result<Option<SocketAddr>, ProxyError> {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    if &start == SIGNATURE { read_binary(stream).await } else { read_text(stream, &start).await }
}

async fn read_text<T: AsyncRead + Unpin>(
    stream: &mut T,
    start: &[u8],
) -> Result<Option<SocketAddr>, ProxyError> {
    if !start.starts_with(b"PROXY ") {
        return Err(ProxyError::Malformed);
    }
    // Byte by byte, because what follows belongs to somebody else.
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= TEXT_MAX {
            return Err(ProxyError::Malformed);
        }
        line.push(stream.read_u8().await?);
    }
    let line = std::str::from_utf8(&line).map_err(|_| ProxyError::Malformed)?;
    let mut words = line.trim_end_matches("\r\n").split(' ').skip(1);
    match words.next() {
        Some("UNKNOWN") => Ok(None),
        Some("TCP4" | "TCP6") => {
            let address: Option<IpAddr> = words.next().and_then(|word| word.parse().ok());
            let port: Option<u16> = words.nth(1).and_then(|word| word.parse().ok());
            let source = address.zip(port).map(|(address, port)| SocketAddr::new(address, port));
            source.map(Some).ok_or(ProxyError::Malformed)
        }
        Some(_) | None => Err(ProxyError::Malformed),
    }
}

async fn read_binary<T: AsyncRead + Unpin>(
    stream: &mut T,
) -> Result<Option<SocketAddr>, ProxyError> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    let [command, family, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 || length > BINARY_MAX {
        return Err(ProxyError::Malformed);
    }
    let mut block = vec![0; length];
    stream.read_exact(&mut block).await?;
    match (command & 0x0f, family) {
        (0, _) => Ok(None),
        (1, 0x11 | 0x12) => source_v4(&block).map(Some).ok_or(ProxyError::Malformed),
        (1, 0x21 | 0x22) => source_v6(&block).map(Some).ok_or(ProxyError::Malformed),
        (1, _) => Ok(None),
        (_, _) => Err(ProxyError::Malformed),
    }
}

/// Source and destination address, source and destination port.
fn source_v4(block: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 4] = block.get(..4)?.try_into().ok()?;
    let port: [u8; 2] = block.get(8..10)?.try_into().ok()?;
    Some(SocketAddr::new(Ipv4Addr::from(address).into(), u16::from_be_bytes(port)))
}

fn source_v6(block: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 16] = block.get(..16)?.try_into().ok()?;
    let port: [u8; 2] = block.get(32..34)?.try_into().ok()?;
    Some(SocketAddr::new(Ipv6Addr::from(address).into(), u16::from_be_bytes(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn source(bytes: &[u8]) -> Result<(Option<String>, usize), ProxyError> {
        let mut rest = bytes;
        let source = read(&mut rest).await?;
        Ok((source.map(|source| source.to_string()), rest.len()))
    }

    fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, block].concat()
    }

    #[tokio::test]
    async fn headers_of_both_versions_are_read_and_nothing_more() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        v6[32..34].copy_from_slice(&443_u16.to_be_bytes());
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec(), Some("192.0.2.7:4660")),
            (b"PROXY TCP6 2001:db8::7 ::1 443 80\r\n".to_vec(), Some("[2001:db8::7]:443")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN whatever\r\n".to_vec(), None),
            (binary(1, 0x11, &v4), Some("192.0.2.7:4660")),
            (binary(1, 0x21, &v6), Some("[2001:db8::7]:443")),
            (binary(0, 0, &[]), None),
            (binary(1, 0x31, &[0; 216]), None),
        ] {
            let with_rest = [&header[..], b"GET"].concat();
            let read = source(&with_rest).await.unwrap();
            assert_eq!(read, (expected.map(str::to_owned), 3), "{header:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let endless = format!("PROXY TCP4 {}", "1".repeat(200));
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 nonsense here\r\n".to_vec(),
            b"PROXY TCP9 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(),
            endless.into_bytes(),
            binary(1, 0x11, &[1, 2, 3]),
            binary(9, 0x11, &[0; 12]),
            SIGNATURE.iter().copied().chain([0x31, 0x11, 0, 0]).collect(),
            SIGNATURE.iter().copied().chain([0x21, 0x11, 0xff, 0xff]).collect(),
        ] {
            assert!(source(&bytes).await.is_err(), "{bytes:?}");
        }
    }
}
