//! Addresses: what listeners bind to, where servers are, which networks are meant.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::config::error::Problem;
use crate::config::fault::quoted;
use crate::config::{ListenAddress, ServerAddress};

/// `ip:port` or `unix:/path`.
pub(super) fn listen_address(text: &str) -> Result<ListenAddress, Problem> {
    match unix_path(text)? {
        Some(path) => Ok(ListenAddress::Unix(path)),
        None => ip_and_port(text).map(ListenAddress::Tcp),
    }
}

/// `ip:port`.
pub(super) fn ip_and_port(text: &str) -> Result<SocketAddr, Problem> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let wrong = Problem::nowhere(format!("{} is no address to listen on", quoted(text)));
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let help = match (host, port.parse::<u16>()) {
        ("" | "*", Ok(port)) => {
            format!("write \"0.0.0.0:{port}\", or \"[::]:{port}\" for IPv6, too")
        }
        ("localhost", Ok(port)) => format!("write \"127.0.0.1:{port}\""),
        (_, Err(_)) if text.parse::<IpAddr>().is_ok() => {
            format!(
                "say the port: \"{}\"",
                SocketAddr::new(text.parse().unwrap_or(IpAddr::from([0; 4])), 80)
            )
        }
        _ => "write \"ip:port\" such as \"0.0.0.0:8080\", or \"unix:/path\"".to_owned(),
    };
    Err(wrong.help(help))
}

/// `ip:port`, `name:port` or `unix:/path`.
pub(super) fn server_address(text: &str) -> Result<ServerAddress, Problem> {
    if let Some(path) = unix_path(text)? {
        return Ok(ServerAddress::Unix(path));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err(no_server(text).help("ports are 1 to 65535")),
            _ => Ok(ServerAddress::Ip(address)),
        };
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let tls = if scheme == "https" { "; TLS is said with tls = {}" } else { "" };
        let rest = rest.split('/').next().unwrap_or(rest);
        return Err(no_server(text).help(format!("write the address alone, \"{rest}\"{tls}")));
    }
    let Some((name, port)) = text.rsplit_once(':') else {
        return Err(no_server(text).help(format!("say the port: \"{text}:80\"")));
    };
    match port.parse() {
        Ok(0) | Err(_) => Err(no_server(text).help("ports are 1 to 65535")),
        Ok(port) if is_host_name(name) => Ok(ServerAddress::Name(name.to_ascii_lowercase(), port)),
        Ok(_) => Err(no_server(text)
            .help("write \"ip:port\", \"[ipv6]:port\", \"name:port\" or \"unix:/path\"")),
    }
}

fn no_server(text: &str) -> Problem {
    Problem::nowhere(format!("{} is no server's address", quoted(text)))
}

fn unix_path(text: &str) -> Result<Option<PathBuf>, Problem> {
    const PATH_BYTES_MAX: usize = 107;
    let Some(path) = text.strip_prefix("unix:") else { return Ok(None) };
    let wrong = Problem::nowhere(format!("{} is no socket", quoted(text)));
    if !Path::new(path).is_absolute() {
        return Err(wrong.help("the path starts with a slash: \"unix:/run/name.sock\""));
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(wrong.help(format!("the system takes paths of up to {PATH_BYTES_MAX} bytes")));
    }
    Ok(Some(path.into()))
}

fn is_host_name(name: &str) -> bool {
    // Digits and dots alone are a mistyped address, not a name.
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253
        && name.split('.').all(is_label)
        && !name.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// `10.0.0.0/8` or one address.
pub(super) fn network(text: &str) -> Result<IpNet, Problem> {
    text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        Problem::nowhere(format!("{} is no network", quoted(text)))
            .help("write \"10.0.0.0/8\", \"10.1.2.3\" or \"fd00::/8\"")
    })
}
