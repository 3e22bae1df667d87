//! Where the portal keeps what it knows: files of its own, or servers that run already.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::MigrateDatabase;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::failure::Failure;

/// Where everything is kept, as the services understand it.
pub(crate) struct Stores {
    real: Option<Servers>,
}

/// Servers that run already.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Servers {
    /// PostgreSQL, with --real; each service gets a database of its own there, created if it is not there
    #[arg(long, value_name = "URL", default_value = "postgres://postgres@127.0.0.1:5432")]
    postgres: String,

    /// Redis, with --real
    #[arg(long, value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    redis: String,

    /// RabbitMQ, with --real
    #[arg(long, value_name = "URL", default_value = "amqp://guest:guest@127.0.0.1:5672/%2f")]
    rabbitmq: String,
}

/// How long a server may take to take a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

impl Stores {
    /// Files of this run.
    pub(crate) fn embedded() -> Self {
        Self { real: None }
    }

    /// Servers, if all of them are there; else all that are missing are named at once.
    pub(crate) async fn real(servers: Servers) -> Result<Self, Failure> {
        let mut missing = String::new();
        for (name, url, package, port) in [
            ("PostgreSQL", &servers.postgres, "postgresql", 5432),
            ("Redis", &servers.redis, "redis-server", 6379),
            ("RabbitMQ", &servers.rabbitmq, "rabbitmq-server", 5672),
        ] {
            let address = address_of(url, port);
            let connected = timeout(CONNECT_TIME_MAX, TcpStream::connect(&address)).await;
            if !matches!(connected, Ok(Ok(_))) {
                missing.push_str(&format!(
                    "\n  {name} at {address} (Debian package {package}; another address: --{})",
                    name.to_ascii_lowercase().replace("postgresql", "postgres"),
                ));
            }
        }
        if missing.is_empty() {
            Ok(Self { real: Some(servers) })
        } else {
            Err(Failure::NoServers { missing })
        }
    }

    /// The database of this name: `sqlite:FILE` in the folder, or one at the PostgreSQL server.
    pub(crate) async fn database(&self, data: &Path, name: &str) -> Result<String, Failure> {
        let Some(Servers { postgres, .. }) = &self.real else {
            return Ok(format!("sqlite:{}", data.join(format!("{name}.sqlite")).display()));
        };
        let url = format!("{}/{}", postgres.trim_end_matches('/'), name.replace('-', "_"));
        let failed = |source| Failure::Database { name: name.to_owned(), source };
        if !sqlx::Postgres::database_exists(&url).await.map_err(failed)? {
            sqlx::Postgres::create_database(&url).await.map_err(failed)?;
        }
        Ok(url)
    }

    /// The cache and queue of users.
    pub(crate) fn queue(&self) -> &str {
        self.real.as_ref().map_or("memory", |servers| &servers.redis)
    }

    /// How events go.
    pub(crate) fn events(&self) -> &str {
        self.real.as_ref().map_or("http", |servers| &servers.rabbitmq)
    }
}

/// `HOST:PORT` of a URL, whatever else stands in it.
fn address_of(url: &str, port: u16) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { host.to_owned() } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_every_url() {
        for (url, address) in [
            ("postgres://postgres@127.0.0.1:5432", "127.0.0.1:5432"),
            ("postgres://a:b%40c@db.internal/x?sslmode=disable", "db.internal:1"),
            ("redis://127.0.0.1", "127.0.0.1:1"),
            ("amqp://guest:guest@[::1]:5672/%2f", "[::1]:5672"),
        ] {
            assert_eq!(address_of(url, 1), address, "{url}");
        }
    }

    #[tokio::test]
    async fn all_that_is_missing_is_named_at_once() {
        let nobody = |scheme: &str| format!("{scheme}://127.0.0.1:1");
        let (postgres, redis, rabbitmq) = (nobody("postgres"), nobody("redis"), nobody("amqp"));
        let servers = Servers { postgres, redis, rabbitmq };
        let Err(failure) = Stores::real(servers).await else { panic!("nobody listens there") };
        let said = failure.to_string();
        for name in ["PostgreSQL", "Redis", "RabbitMQ", "--postgres", "--redis", "--rabbitmq"] {
            assert!(said.contains(name), "{name} is not in {said}");
        }
    }
}
