//! What the service can be told: by flags, by environment, or as values by a program that starts it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::clients::Registry;
use crate::clock::{Clock, parse_duration};

/// Everything the service needs to know to start.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "auth",
    about = "Logins of the portal: tokens under rotating keys, and an OpenID provider",
    after_help = "Exit codes: 0 stopped as asked, 1 not started, 2 failed while running."
)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one
    #[arg(long, env = "LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:3031")]
    pub listen: SocketAddr,

    /// Where keys, sessions and grants are kept: sqlite:FILE (created, readable by its owner alone) or postgres://…
    #[arg(
        long,
        env = "DATABASE",
        hide_env_values = true,
        value_name = "URL",
        default_value = "sqlite:auth.sqlite"
    )]
    pub database: Database,

    /// The public address of this service, as clients and tokens name it: https://…, without a slash at the end
    #[arg(
        long,
        env = "ISSUER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080/auth/v1"
    )]
    pub issuer: Issuer,

    /// Where the users service is: http://HOST:PORT
    #[arg(long, env = "USERS", value_name = "URL", default_value = "http://127.0.0.1:3001")]
    pub users: UsersAddress,

    /// Whom access tokens are for: what checks them expects this as `aud`
    #[arg(long, env = "AUDIENCE", value_name = "NAME", default_value = DEFAULT_AUDIENCE)]
    pub audience: String,

    /// A TOML file of OpenID clients and of roles; without it there are none
    #[arg(long, env = "CLIENTS", value_name = "FILE", value_parser = Registry::read)]
    pub clients: Option<Registry>,

    /// How long things last.
    #[command(flatten)]
    pub lifetimes: Lifetimes,

    /// When signing keys change.
    #[command(flatten)]
    pub rotation: Rotation,

    /// How often a password may be guessed.
    #[command(flatten)]
    pub login_limit: LoginLimit,

    /// How often keys are looked after and what has expired is deleted
    #[arg(
        long,
        value_name = "DURATION",
        env = "HOUSEKEEPING_EVERY",
        default_value = "30s",
        value_parser = parse_duration
    )]
    pub housekeeping_every: Duration,

    /// Where the time comes from.
    #[arg(skip)]
    pub clock: Clock,
}

const DEFAULT_AUDIENCE: &str = "portal";
const DEFAULT_HOUSEKEEPING_EVERY: Duration = Duration::from_secs(30);

impl Settings {
    /// Settings with the defaults of `--help` but for what differs from place to place.
    pub fn new(
        listen: SocketAddr,
        database: Database,
        issuer: Issuer,
        users: UsersAddress,
    ) -> Self {
        Self {
            listen,
            database,
            issuer,
            users,
            audience: DEFAULT_AUDIENCE.to_owned(),
            clients: None,
            lifetimes: Lifetimes::default(),
            rotation: Rotation::default(),
            login_limit: LoginLimit::default(),
            housekeeping_every: DEFAULT_HOUSEKEEPING_EVERY,
            clock: Clock::System,
        }
    }
}

/// The database of this service.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file of this process alone.
    Sqlite(PathBuf),
    /// A PostgreSQL database, which several instances may share. Its URL may hold a password.
    Postgres(Url),
}

/// The URL of a server may hold its password.
impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(file) => write!(formatter, "sqlite:{}", file.display()),
            Self::Postgres(_) => formatter.write_str("postgres://***"),
        }
    }
}

impl FromStr for Database {
    type Err = UnknownDatabase;

    fn from_str(text: &str) -> Result<Self, UnknownDatabase> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return text.parse().map(Self::Postgres).map_err(|_| UnknownDatabase);
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
#[error("not a database this service knows; give sqlite:FILE or postgres://USER@HOST/NAME")]
pub struct UnknownDatabase;

/// The public address of this service: what tokens call `iss`, and what every link we publish begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer(Url);

impl Issuer {
    /// The text, without a slash at the end.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// The public address of one of our paths, which begins with a slash.
    pub(crate) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.as_str())
    }

    /// The same without scheme and host: what a form of ours leads to.
    pub(crate) fn path_of(&self, path: &str) -> String {
        format!("{}{path}", self.0.path().trim_end_matches('/'))
    }

    /// What browsers call the origin of our pages.
    pub(crate) fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The path under which browsers see us, at least a slash.
    pub(crate) fn path(&self) -> &str {
        match self.0.path().trim_end_matches('/') {
            "" => "/",
            path => path,
        }
    }

    /// Whether browsers reach us over TLS only, so that cookies can be held to it.
    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl FromStr for Issuer {
    type Err = BadIssuer;

    fn from_str(text: &str) -> Result<Self, BadIssuer> {
        let url: Url = text.parse().map_err(|_| BadIssuer)?;
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        // The path becomes an attribute of cookies, in which a semicolon would begin another.
        let plain = plain && !text.contains(';');
        match url.scheme() {
            "https" | "http" if plain && url.has_host() && !text.ends_with('/') => Ok(Self(url)),
            _ => Err(BadIssuer),
        }
    }
}

/// The text cannot be an issuer.
#[derive(Debug, thiserror::Error)]
#[error("an issuer looks like https://host/path, without query, fragment, or slash at the end")]
pub struct BadIssuer;

/// Where the users service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsersAddress(Url);

impl UsersAddress {
    /// The address of one of its paths, which begins with a slash.
    pub(crate) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.0.as_str().trim_end_matches('/'))
    }
}

impl FromStr for UsersAddress {
    type Err = BadUsersAddress;

    fn from_str(text: &str) -> Result<Self, BadUsersAddress> {
        let url: Url = text.parse().map_err(|_| BadUsersAddress)?;
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if url.scheme() == "http" && url.has_host() && plain {
            Ok(Self(url))
        } else {
            Err(BadUsersAddress)
        }
    }
}

/// The text cannot be the address of the users service.
#[derive(Debug, thiserror::Error)]
#[error("give http://HOST:PORT; passwords travel there, so it has to be a network of your own")]
pub struct BadUsersAddress;

/// How long each thing lasts. The longest life of an access token is bounded, because a key has to be kept that long
/// after it last signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct Lifetimes {
    /// Life of access and id tokens, at most 1h: what is withdrawn works until then
    #[arg(
        id = "access-lifetime",
        long = "access-lifetime",
        value_name = "DURATION",
        env = "ACCESS_LIFETIME",
        default_value = "5m",
        value_parser = access_lifetime
    )]
    pub access: Duration,

    /// Life of a login's refresh tokens, from the login on
    #[arg(
        id = "refresh-lifetime",
        long = "refresh-lifetime",
        value_name = "DURATION",
        env = "REFRESH_LIFETIME",
        default_value = "14d",
        value_parser = parse_duration
    )]
    pub refresh: Duration,

    /// How long a browser that logged in is not asked again
    #[arg(
        id = "session-lifetime",
        long = "session-lifetime",
        value_name = "DURATION",
        env = "SESSION_LIFETIME",
        default_value = "8h",
        value_parser = parse_duration
    )]
    pub session: Duration,

    /// Life of an authorization code
    #[arg(
        id = "code-lifetime",
        long = "code-lifetime",
        value_name = "DURATION",
        env = "CODE_LIFETIME",
        default_value = "60s",
        value_parser = parse_duration
    )]
    pub code: Duration,
}

impl Lifetimes {
    /// The longest that an access or id token may live.
    pub(crate) const ACCESS_MAX: Duration = Duration::from_secs(60 * 60);
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            access: Duration::from_secs(5 * 60),
            refresh: Duration::from_secs(14 * 24 * 60 * 60),
            session: Duration::from_secs(8 * 60 * 60),
            code: Duration::from_secs(60),
        }
    }
}

fn access_lifetime(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_secs(1)..=Lifetimes::ACCESS_MAX).contains(&duration) {
        Ok(duration)
    } else {
        Err("must be 1s to 1h".to_owned())
    }
}

/// When signing keys change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct Rotation {
    /// How long one key signs
    #[arg(
        id = "key-lifetime",
        long = "key-lifetime",
        value_name = "DURATION",
        env = "KEY_LIFETIME",
        default_value = "30d",
        value_parser = parse_duration
    )]
    pub every: Duration,

    /// How long a key is published before it signs, so that everybody has it by then: more than JWKS is cached
    #[arg(
        id = "key-publish-ahead",
        long = "key-publish-ahead",
        value_name = "DURATION",
        env = "KEY_PUBLISH_AHEAD",
        default_value = "1h",
        value_parser = parse_duration
    )]
    pub publish_ahead: Duration,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30 * 24 * 60 * 60),
            publish_ahead: Duration::from_secs(60 * 60),
        }
    }
}

/// How often a password may be guessed, for each account by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct LoginLimit {
    /// Failed logins of one account before it has to wait; also how many can be under way at once
    #[arg(
        id = "login-attempts",
        long = "login-attempts",
        value_name = "COUNT",
        env = "LOGIN_ATTEMPTS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub attempts: u32,

    /// After how long it has one more
    #[arg(
        id = "login-attempt-every",
        long = "login-attempt-every",
        value_name = "DURATION",
        env = "LOGIN_ATTEMPT_EVERY",
        default_value = "1m",
        value_parser = parse_duration
    )]
    pub one_more_every: Duration,
}

impl Default for LoginLimit {
    fn default() -> Self {
        Self { attempts: 10, one_more_every: Duration::from_secs(60) }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_defaults_are_the_ones_that_help_shows() {
        let settings = Settings::try_parse_from(["auth"]).unwrap();
        assert_eq!(settings.lifetimes, Lifetimes::default());
        assert_eq!(settings.rotation, Rotation::default());
        assert_eq!(settings.login_limit, LoginLimit::default());
        assert_eq!(settings.audience, DEFAULT_AUDIENCE);
        assert_eq!(settings.housekeeping_every, DEFAULT_HOUSEKEEPING_EVERY);
    }

    #[test]
    fn a_database_is_named_by_its_kind_and_its_password_is_not_shown() {
        for (text, shown) in [
            ("sqlite:auth.sqlite", Some("sqlite:auth.sqlite")),
            ("sqlite:///var/lib/auth", Some("sqlite:/var/lib/auth")),
            ("postgres://auth:s3cret@localhost/auth", Some("postgres://***")),
            ("postgresql://localhost/auth", Some("postgres://***")),
            ("sqlite:", None),
            ("auth.sqlite", None),
            ("mysql://localhost/auth", None),
        ] {
            let database = text.parse::<Database>().ok().map(|it| format!("{it:?}"));
            assert_eq!(database.as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn an_issuer_is_a_plain_web_address() {
        for (text, taken) in [
            ("https://portal.example/auth/v1", true),
            ("http://127.0.0.1:8080/auth/v1", true),
            ("https://portal.example", true),
            ("https://portal.example/", false),
            ("https://portal.example/auth/", false),
            ("https://portal.example/auth?x=1", false),
            ("https://portal.example/auth#x", false),
            ("https://portal.example/auth;x", false),
            ("https://user@portal.example", false),
            ("ftp://portal.example", false),
            ("portal.example", false),
        ] {
            let issuer = text.parse::<Issuer>();
            assert_eq!(issuer.is_ok(), taken, "{text}");
            if let Ok(issuer) = issuer {
                assert_eq!(issuer.as_str(), text);
                assert_eq!(issuer.link("/jwks"), format!("{text}/jwks"));
            }
        }
    }

    #[test]
    fn an_access_token_cannot_outlive_the_keys() {
        for (text, taken) in [("5m", true), ("1h", true), ("61m", false), ("0s", false)] {
            let settings = Settings::try_parse_from(["auth", "--access-lifetime", text]);
            assert_eq!(settings.is_ok(), taken, "{text}");
        }
    }
}
