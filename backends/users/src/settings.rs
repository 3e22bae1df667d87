//! What the service can be told: by flags, by environment, or as values by a program that starts it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Everything the service needs to know to start.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "users",
    about = "The portal's users: registration data over HTTP and gRPC, answered from cache and queue, kept in a database",
    after_help = "Exit codes: 0 stopped as asked, 1 not started, 2 failed while running."
)]
pub struct Configuration {
    /// Where to listen for HTTP, as ADDRESS:PORT; port 0 takes a free one
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:3001")]
    pub listen: SocketAddr,

    /// Where to listen for gRPC without TLS, as ADDRESS:PORT; port 0 takes a free one
    #[arg(long, env = "GRPC_LISTEN", default_value = "127.0.0.1:3002")]
    pub grpc_listen: SocketAddr,

    /// Where users are kept for good: sqlite:FILE (created if it is not there) or postgres://USER@HOST/DATABASE, with
    /// ?sslmode=verify-full&sslrootcert=FILE to insist on TLS and on a certificate of that authority
    #[arg(long, env = "DATABASE", value_name = "URL", default_value = "sqlite:users.sqlite")]
    pub database: Database,

    /// Cache and durable queue of writes: memory (of this process alone; the queue also in a file beside a SQLite
    /// database, else in ./users-queue.sqlite), memory:FILE, or redis://HOST:PORT (without TLS; let it sync its
    /// append-only file always, and never evict)
    #[arg(long, env = "QUEUE", value_name = "URL", default_value = "memory")]
    pub queue: Queue,

    /// What a guess at a password costs.
    #[command(flatten)]
    pub hash_cost: HashCost,
}

impl Configuration {
    /// The file of a queue in this process.
    pub(crate) fn queue_file(&self, named: Option<&PathBuf>) -> PathBuf {
        match (named, &self.database) {
            (Some(file), _) => file.clone(),
            (None, Database::Sqlite(file)) => {
                let stem = file.file_stem().unwrap_or_default().to_string_lossy();
                file.with_file_name(format!("{stem}-queue.sqlite"))
            }
            (None, Database::Postgres(_)) => PathBuf::from("users-queue.sqlite"),
        }
    }
}

/// The least that a program has to say which starts the service inside itself: the rest is as without flags, and
/// gRPC is on a free port.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen for HTTP; port 0 takes a free one.
    pub address: SocketAddr,
    /// Where users are kept.
    pub database: Database,
    /// What a guess at a password costs.
    pub hash_cost: HashCost,
}

impl From<Settings> for Configuration {
    fn from(settings: Settings) -> Self {
        let Settings { address, database, hash_cost } = settings;
        let grpc_listen = SocketAddr::new(address.ip(), 0);
        Self { listen: address, grpc_listen, database, queue: Queue::Memory(None), hash_cost }
    }
}

/// The database that keeps the users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A file of this process alone.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(ServerUrl),
}

impl FromStr for Database {
    type Err = UnknownDatabase;

    fn from_str(text: &str) -> Result<Self, UnknownDatabase> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(ServerUrl(text.to_owned())));
        }
        let file = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:"));
        match file {
            Some(file) if !file.is_empty() => Ok(Self::Sqlite(PathBuf::from(file))),
            _ => Err(UnknownDatabase),
        }
    }
}

/// Where the cache and the queue are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queue {
    /// In this process, with a file so that nothing is lost when it ends; without a name it is beside the database.
    Memory(Option<PathBuf>),
    /// In a Redis server, which any number of instances may share.
    Redis(ServerUrl),
}

impl FromStr for Queue {
    type Err = UnknownQueue;

    fn from_str(text: &str) -> Result<Self, UnknownQueue> {
        if text.starts_with("redis://") {
            return Ok(Self::Redis(ServerUrl(text.to_owned())));
        }
        if text.starts_with("rediss:") {
            return Err(UnknownQueue::WithTls);
        }
        match text.strip_prefix("memory") {
            Some("") => Ok(Self::Memory(None)),
            Some(file) if file.len() > 1 && file.starts_with(':') => {
                Ok(Self::Memory(Some(PathBuf::from(&file[1..]))))
            }
            _ => Err(UnknownQueue::Kind),
        }
    }
}

/// A URL that may hold a password, which is why `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ServerUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

/// The text names no database this service can use.
#[derive(Debug, thiserror::Error)]
#[error("not a database this service knows; give sqlite:FILE or postgres://USER@HOST/DATABASE")]
pub struct UnknownDatabase;

/// The text names no queue this service can use.
#[derive(Debug, thiserror::Error)]
pub enum UnknownQueue {
    /// It is of no kind that there is here.
    #[error("not a queue this service knows; give memory, memory:FILE or redis://HOST:PORT")]
    Kind,
    /// It is one that this program is built without.
    #[error(
        "this service speaks no TLS to Redis; give redis://HOST:PORT, on a network of its own or of a tunnel \
         (stunnel, a sidecar) that ends beside the service"
    )]
    WithTls,
}

/// The work of one argon2id hash. A higher cost needs no migration: each hash says how it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct HashCost {
    /// Memory of one password hash, in KiB; OWASP's recommendation by default
    #[arg(
        id = "hash-memory-kib",
        long = "hash-memory-kib",
        value_name = "KIB",
        env = "HASH_MEMORY_KIB",
        default_value_t = 19_456,
        value_parser = clap::value_parser!(u32).range(8..=1_048_576)
    )]
    pub memory_kib: u32,

    /// Passes over that memory
    #[arg(
        id = "hash-passes",
        long = "hash-passes",
        value_name = "COUNT",
        env = "HASH_PASSES",
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
        let postgres = "postgres://ann:s3cret@localhost/users";
        for (text, expected) in [
            ("sqlite:users.sqlite", Some(Database::Sqlite("users.sqlite".into()))),
            ("sqlite:///var/lib/users", Some(Database::Sqlite("/var/lib/users".into()))),
            (postgres, Some(Database::Postgres(ServerUrl(postgres.to_owned())))),
            ("sqlite:", None),
            ("users.sqlite", None),
            ("mysql://localhost/users", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
        let parsed: Database = postgres.parse().unwrap();
        assert_eq!(format!("{parsed:?}"), "Postgres(***)", "a password is never shown");
    }

    #[test]
    fn a_queue_is_named_by_its_kind() {
        let redis = "redis://localhost:6379";
        for (text, expected) in [
            ("memory", Some(Queue::Memory(None))),
            ("memory:queue.sqlite", Some(Queue::Memory(Some("queue.sqlite".into())))),
            (redis, Some(Queue::Redis(ServerUrl(redis.to_owned())))),
            ("memory:", None),
            ("memories", None),
            ("rediss://localhost:6379", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
        let error = "rediss://:s3cret@localhost".parse::<Queue>().unwrap_err().to_string();
        assert!(error.contains("TLS") && error.contains("redis://HOST:PORT"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn the_defaults_are_the_ones_that_help_shows() {
        let configuration = Configuration::try_parse_from(["users"]).unwrap();
        assert_eq!(configuration.hash_cost, HashCost::default());
        let queue_file = configuration.queue_file(None);
        assert_eq!(queue_file, PathBuf::from("users-queue.sqlite"), "beside the database");
    }
}
