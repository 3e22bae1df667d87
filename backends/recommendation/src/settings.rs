//! What the service can be told: by flags, by environment, or as values by a program that starts it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use axum::http::Uri;

/// Everything the service needs to know to start.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "recommendation",
    about = "The portal's recommendations: which labels a user reads, and who reads a label"
)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:3021")]
    pub listen: SocketAddr,

    /// Where counts and waiting events are kept: sqlite:FILE or postgres://USER:PASSWORD@HOST/NAME; created if it is
    /// not there
    #[arg(
        long,
        env = "DATABASE",
        hide_env_values = true,
        default_value = "sqlite:recommendation.sqlite"
    )]
    pub database: Database,

    /// How the event "viewed" comes: http (POST /events/viewed, which is there in any case) or
    /// amqp://USER:PASSWORD@HOST:PORT/VHOST (queue recommendation.viewed); amqps://, that is TLS, is not supported
    #[arg(long, env = "EVENTS", hide_env_values = true, default_value = "http")]
    pub events: Events,

    /// Where users answers gRPC
    #[arg(long, env = "USERS", default_value = "http://127.0.0.1:3002", value_parser = plain_http)]
    pub users: Uri,

    /// Milliseconds that users may take to answer; after that it is asked again later
    #[arg(
        long,
        env = "USERS_TIMEOUT_MS",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(1..=60_000)
    )]
    pub users_timeout_ms: u64,

    /// Days for which the ids of counted events are remembered: one that is told again later is counted again
    #[arg(
        long,
        env = "REMEMBER_DAYS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=3650)
    )]
    pub remember_days: u32,
}

fn plain_http(text: &str) -> Result<Uri, String> {
    match text.parse::<Uri>() {
        Ok(uri) if uri.scheme_str() == Some("http") && uri.authority().is_some() => Ok(uri),
        Ok(_) | Err(_) => Err("give http://HOST:PORT".to_owned()),
    }
}

/// The database that keeps what was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A file of this process alone.
    Sqlite(PathBuf),
    /// A database on a PostgreSQL server, which several instances may share.
    Postgres(PostgresUrl),
}

impl FromStr for Database {
    type Err = UnknownDatabase;

    fn from_str(text: &str) -> Result<Self, UnknownDatabase> {
        if let Ok(url) = text.parse() {
            return Ok(Self::Postgres(url));
        }
        let file = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:"));
        match file {
            Some(file) if !file.is_empty() => Ok(Self::Sqlite(PathBuf::from(file))),
            _ => Err(UnknownDatabase),
        }
    }
}

/// The text names no database this service can use.
#[derive(Debug, thiserror::Error)]
#[error(
    "not a database this service knows; give sqlite:FILE or postgres://USER:PASSWORD@HOST/NAME"
)]
pub struct UnknownDatabase;

/// How the event "viewed" comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Events {
    /// By `POST /events/viewed` alone.
    Http,
    /// From a RabbitMQ broker as well.
    Amqp(AmqpUrl),
}

impl FromStr for Events {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        if text == "http" { Ok(Self::Http) } else { text.parse().map(Self::Amqp) }
    }
}

/// `postgres://…`, which may hold a password and so is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

/// `amqp://…`, which may hold a password and so is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl(String);

impl PostgresUrl {
    /// The whole URL, password and all: for who connects, not for logs.
    pub fn dangerous_text(&self) -> &str {
        &self.0
    }
}

impl AmqpUrl {
    /// The whole URL, password and all: for who connects, not for logs.
    pub fn dangerous_text(&self) -> &str {
        &self.0
    }
}

impl FromStr for PostgresUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let scheme = text.starts_with("postgres://") || text.starts_with("postgresql://");
        if scheme && sqlx::postgres::PgConnectOptions::from_str(text).is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadUrl)
        }
    }
}

impl FromStr for AmqpUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        if text.starts_with("amqp://") && lapin::uri::AMQPUri::from_str(text).is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadUrl)
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("postgres://***")
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("amqp://***")
    }
}

/// The text cannot be used as an address of the kind that is asked for.
#[derive(Debug, thiserror::Error)]
#[error(
    "give http or amqp://USER:PASSWORD@HOST:PORT/VHOST, %2f being the usual VHOST; \
     amqps:// (AMQP over TLS) is not supported"
)]
pub struct BadUrl;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_database_is_named_by_its_kind() {
        let file = |name: &str| Some(Database::Sqlite(PathBuf::from(name)));
        for (text, expected) in [
            ("sqlite:counts.sqlite", file("counts.sqlite")),
            ("sqlite:///var/lib/counts", file("/var/lib/counts")),
            ("sqlite:", None),
            ("counts.sqlite", None),
            ("mysql://localhost/counts", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
        let postgres = "postgres://ann:secret@localhost:5433/counts".parse().unwrap();
        assert!(matches!(postgres, Database::Postgres(_)));
    }

    #[test]
    fn events_come_over_http_or_amqp() {
        assert_eq!("http".parse::<Events>().unwrap(), Events::Http);
        assert!(matches!("amqp://u:secret@localhost:5672/%2f".parse(), Ok(Events::Amqp(_))));
        for text in ["", "https", "amqp:", "amqps://localhost", "kafka://localhost"] {
            assert!(text.parse::<Events>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn no_password_is_printed() {
        let settings = Settings::try_parse_from([
            "recommendation",
            "--database=postgres://ann:secret@localhost/counts",
            "--events=amqp://ann:secret@localhost:5672/%2f",
        ])
        .unwrap();
        assert!(!format!("{settings:?}").contains("secret"));
    }
}
