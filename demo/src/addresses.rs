//! Where everything listens: read from the gateway's own configuration, so that the two cannot disagree.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use toml::Value;

use crate::failure::Failure;

/// The first listener, the admin, and the first server of each upstream that the portal needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) gateway: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) users: SocketAddr,
    pub(crate) famous: SocketAddr,
    pub(crate) politics: SocketAddr,
    pub(crate) sports: SocketAddr,
    pub(crate) recommendation: SocketAddr,
    pub(crate) auth: SocketAddr,
}

impl Addresses {
    /// Reads them; everything else in the file is the gateway's to judge.
    pub(crate) fn read(config: &Path) -> Result<Self, Failure> {
        let path = || config.to_owned();
        let text = std::fs::read_to_string(config)
            .map_err(|source| Failure::Config { path: path(), reason: source.to_string() })?;
        Self::parse(&text).map_err(|reason| Failure::Config { path: path(), reason })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: toml::Table =
            text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let address = |key: &str, value: Option<&Value>| {
            let address = value.and_then(Value::as_str).and_then(|text| text.parse().ok());
            address
                .map(reachable)
                .ok_or_else(|| format!("{key} must be an address like 127.0.0.1:80"))
        };
        let server = |upstream: &str| {
            let servers = config.get("upstreams").and_then(|it| it.get(upstream)?.get("servers"));
            let first = servers.and_then(|servers| servers.get(0));
            // A server with a weight is a table.
            let first = first.and_then(|first| first.get("address")).or(first);
            address(&format!("the first of upstreams.{upstream}.servers"), first)
        };
        let listener = config.get("listeners").and_then(|it| it.get(0)?.get("address"));
        Ok(Self {
            gateway: address("the first listener's address", listener)?,
            admin: address("admin.address", config.get("admin").and_then(|it| it.get("address")))?,
            users: server("users")?,
            famous: server("famous-news")?,
            politics: server("politics-news")?,
            sports: server("sports-news")?,
            recommendation: server("recommendation")?,
            auth: server("auth")?,
        })
    }
}

/// Who listens everywhere is asked here.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        admin.address = "127.0.0.1:9000"
        upstreams.users.servers = ["127.0.0.1:3001", "127.0.0.1:3002"]
        upstreams.famous-news.servers = [{ address = "127.0.0.1:3011", weight = 2 }]
        upstreams.politics-news.servers = ["127.0.0.1:3012"]
        upstreams.sports-news = { servers = ["127.0.0.1:3013"], balance = "least-time" }
        upstreams.recommendation.servers = ["127.0.0.1:3021"]
        upstreams.auth.servers = ["127.0.0.1:3031"]
        listeners = [{ address = "0.0.0.0:8080" }, { address = "0.0.0.0:8443" }]
    "#;

    #[test]
    fn addresses_are_the_ones_the_gateway_uses() {
        let at = |port| (Ipv4Addr::LOCALHOST, port).into();
        let expected = Addresses {
            gateway: at(8080),
            admin: at(9000),
            users: at(3001),
            famous: at(3011),
            politics: at(3012),
            sports: at(3013),
            recommendation: at(3021),
            auth: at(3031),
        };
        assert_eq!(Addresses::parse(CONFIG), Ok(expected));
    }

    #[test]
    fn what_is_missing_or_no_address_is_named() {
        for (taken_out, put_in, named) in [
            ("admin", "administration", "admin.address"),
            ("listeners", "listener", "the first listener's address"),
            ("sports-news", "sport-news", "upstreams.sports-news.servers"),
            ("127.0.0.1:3001", "users.internal:3001", "upstreams.users.servers"),
        ] {
            let error = Addresses::parse(&CONFIG.replace(taken_out, put_in)).unwrap_err();
            assert!(error.contains(named), "{named} is not in {error}");
        }
    }
}
