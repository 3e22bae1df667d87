//! Who the client is: the peer itself, or whom a trusted proxy vouches for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use plugins::exchange::Scheme;

/// `X-Forwarded-For`, the de-facto standard before RFC 7239.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`.
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address; by PROXY protocol, if the listener speaks that. A Unix socket's peer counts as 127.0.0.1.
    pub(crate) address: IpAddr,
    /// The address as a header has it; made once per connection.
    pub(crate) text: HeaderValue,
    /// Whether the connection is encrypted.
    pub(crate) scheme: Scheme,
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// The client's address.
    pub(crate) address: IpAddr,
    /// The address as a header has it.
    pub(crate) text: HeaderValue,
    /// The scheme the client used.
    pub(crate) scheme: Scheme,
    /// Whether the peer is a trusted proxy: what it says of the request's origin is kept and added to.
    pub(crate) proxied: bool,
}

impl Peer {
    pub(crate) fn new(address: Option<SocketAddr>, scheme: Scheme) -> Self {
        let address = address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip());
        let address = address.to_canonical();
        Self { address, text: text(address), scheme }
    }

    /// Who sent a request with these headers.
    pub(crate) fn sender(&self, headers: &HeaderMap, trusted: &[IpNet]) -> Sender {
        if trusted.is_empty() || !is_trusted(self.address, trusted) {
            let Self { address, text, scheme } = self.clone();
            return Sender { address, text, scheme, proxied: false };
        }
        let address = vouched(headers, trusted).unwrap_or(self.address);
        let scheme = match headers.get(X_FORWARDED_PROTO).map(HeaderValue::as_bytes) {
            Some(b"https") => Scheme::Https,
            Some(b"http") => Scheme::Http,
            Some(_) | None => self.scheme,
        };
        Sender { address, text: text(address), scheme, proxied: true }
    }
}

/// The last address of `X-Forwarded-For` that is no trusted proxy: what stands left of it, the client may have made up.
fn vouched(headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut last = None;
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        for word in line.to_str().ok()?.rsplit(',') {
            let Some(address) = parse(word.trim()) else { return last };
            last = Some(address);
            if !is_trusted(address, trusted) {
                return last;
            }
        }
    }
    last
}

/// An address, with or without a port, as proxies write it.
fn parse(word: &str) -> Option<IpAddr> {
    let bare = word.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(word);
    let parsed = bare.parse::<IpAddr>().ok();
    let with_port = || word.parse::<SocketAddr>().ok().map(|address| address.ip());
    parsed.or_else(with_port).map(|address| address.to_canonical())
}

/// Whether an address belongs to a trusted proxy.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

fn text(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        let peer = Peer::new(Some(SocketAddr::new(peer.parse().unwrap(), 1)), Scheme::Http);
        peer.sender(&headers, &trusted).address.to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(who("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(who("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(who("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn the_last_untrusted_address_counts() {
        assert_eq!(who("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(who("10.0.0.1", &["1.1.1.1", "198.51.100.1", "10.0.0.2"]), "198.51.100.1");
        assert_eq!(who("10.0.0.1", &["198.51.100.1:4711"]), "198.51.100.1");
        assert_eq!(who("10.0.0.1", &["[2001:db8::1]:80"]), "2001:db8::1");
    }

    #[test]
    fn what_cannot_be_read_is_not_passed_over() {
        assert_eq!(who("10.0.0.1", &["198.51.100.1, unknown"]), "10.0.0.1");
        assert_eq!(who("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(who("10.0.0.1", &[]), "10.0.0.1");
    }
}
