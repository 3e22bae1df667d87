//! What the service can be told: by flags, by environment, or as values by a program that starts it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Everything one instance needs to know to start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What its articles are about.
    pub theme: Theme,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Where every version is kept: what must not be lost.
    pub event_log: Database,
    /// Where the latest versions are kept: can be made again from the log.
    pub latest: Database,
    /// What to do with the latest versions at start.
    pub read_side: ReadSide,
}

/// What to do with the table of latest versions at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadSide {
    /// Add what the log has and the table has not.
    CatchUp,
    /// Empty it and make it again from the whole log.
    Rebuild,
}

/// A theme's name, as it stands in `news_type`: 1 to 32 of a–z, 0–9 and hyphen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theme(String);

impl Theme {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Theme {
    type Err = BadTheme;

    fn from_str(text: &str) -> Result<Self, BadTheme> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadTheme)
        }
    }
}

/// The text cannot be a theme's name.
#[derive(Debug, thiserror::Error)]
#[error("a theme has 1 to 32 characters: a-z, 0-9, hyphen")]
pub struct BadTheme;

/// One of the two stores of an instance.
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

/// How the read side hears of what was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Events {
    /// Within the process.
    InProcess,
    /// From a RabbitMQ broker.
    Amqp(AmqpUrl),
}

impl FromStr for Events {
    type Err = BadUrl;

    /// `http` is what all services call doing without a broker.
    fn from_str(text: &str) -> Result<Self, BadUrl> {
        if text == "http" { Ok(Self::InProcess) } else { text.parse().map(Self::Amqp) }
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
    use super::*;

    #[test]
    fn a_database_is_named_by_its_kind() {
        for (text, file) in [
            ("sqlite:log.sqlite", Some("log.sqlite")),
            ("sqlite:///var/lib/news", Some("/var/lib/news")),
            ("sqlite:", None),
            ("log.sqlite", None),
            ("mysql://localhost/news", None),
        ] {
            let expected = file.map(|file| Database::Sqlite(PathBuf::from(file)));
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
        let postgres = "postgres://ann:secret@localhost/news".parse().unwrap();
        assert!(matches!(postgres, Database::Postgres(_)));
        assert!(!format!("{postgres:?}").contains("secret"));
    }

    #[test]
    fn events_stay_in_the_process_or_go_over_amqp() {
        assert_eq!("http".parse::<Events>().unwrap(), Events::InProcess);
        let amqp = "amqp://ann:secret@localhost:5672/%2f".parse().unwrap();
        assert!(matches!(amqp, Events::Amqp(_)));
        assert!(!format!("{amqp:?}").contains("secret"));
        for text in ["", "https", "amqp:", "amqps://localhost"] {
            assert!(text.parse::<Events>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_theme_is_a_plain_word() {
        let longest = "a".repeat(32);
        for (text, taken) in [
            ("famous", true),
            ("local-news-2", true),
            (&longest, true),
            (&format!("{longest}a"), false),
            ("", false),
            ("Sports", false),
            ("a/b", false),
        ] {
            assert_eq!(text.parse::<Theme>().is_ok(), taken, "{text:?}");
        }
    }
}
