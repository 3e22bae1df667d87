//! What the service can be told: by flags, by environment, or as values by a program that starts it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Everything the service needs to know to start.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "users", about = "The portal's users: registration data over HTTP")]
pub struct Settings {
    /// Where to listen; port 0 takes a free one
    #[arg(long, env = "USERS_ADDRESS", default_value = "127.0.0.1:3001")]
    pub address: SocketAddr,

    /// Where users are kept: sqlite:FILE (created if it is not there)
    #[arg(long, env = "USERS_DATABASE", default_value = "sqlite:users.sqlite")]
    pub database: Database,

    /// What a guess at a password costs.
    #[command(flatten)]
    pub hash_cost: HashCost,
}

/// The database that keeps the users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A file of this process alone.
    Sqlite(PathBuf),
}

impl FromStr for Database {
    type Err = UnknownDatabase;

    fn from_str(text: &str) -> Result<Self, UnknownDatabase> {
        let file = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:"));
        match file {
            Some(file) if !file.is_empty() => Ok(Self::Sqlite(PathBuf::from(file))),
            _ => Err(UnknownDatabase),
        }
    }
}

/// The text names no database this service can use.
#[derive(Debug, thiserror::Error)]
#[error("not a database this service knows; give sqlite:FILE")]
pub struct UnknownDatabase;

/// The work of one argon2id hash. A higher cost needs no migration: each hash says how it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct HashCost {
    /// Memory of one password hash, in KiB; OWASP's recommendation by default
    #[arg(
        id = "hash-memory-kib",
        long = "hash-memory-kib",
        value_name = "KIB",
        env = "USERS_HASH_MEMORY_KIB",
        default_value_t = 19_456,
        value_parser = clap::value_parser!(u32).range(8..=1_048_576)
    )]
    pub memory_kib: u32,

    /// Passes over that memory
    #[arg(
        id = "hash-passes",
        long = "hash-passes",
        value_name = "COUNT",
        env = "USERS_HASH_PASSES",
        default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub passes: u32,
}

impl Default for HashCost {
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2 }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_database_is_named_by_its_kind() {
        for (text, file) in [
            ("sqlite:users.sqlite", Some("users.sqlite")),
            ("sqlite:///var/lib/users", Some("/var/lib/users")),
            ("sqlite:", None),
            ("users.sqlite", None),
            ("postgres://localhost/users", None),
        ] {
            let expected = file.map(|file| Database::Sqlite(PathBuf::from(file)));
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

    #[test]
    fn the_default_cost_is_the_one_that_help_shows() {
        let settings = Settings::try_parse_from(["users"]).unwrap();
        assert_eq!(settings.hash_cost, HashCost::default());
    }
}
