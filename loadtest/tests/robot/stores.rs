//! Where the services keep what they know: files in a folder, or real servers that end with the test.

use servers::{PostgreSql, RabbitMq, Redis};
use sqlx::migrate::MigrateDatabase as _;
use tempfile::TempDir;

/// Everything is named by URLs, as by an operator.
pub(crate) enum Stores {
    Embedded(TempDir),
    Real(Box<Servers>),
}

pub(crate) struct Servers {
    postgresql: PostgreSql,
    redis: Redis,
    rabbitmq: RabbitMq,
}

impl Stores {
    pub(crate) fn embedded() -> Self {
        Self::Embedded(tempfile::tempdir().unwrap())
    }

    pub(crate) async fn real() -> Self {
        let (postgresql, redis, rabbitmq) =
            tokio::join!(PostgreSql::start(), Redis::start(), RabbitMq::start());
        let (postgresql, redis) = (postgresql.unwrap(), redis.unwrap());
        Self::Real(Box::new(Servers { postgresql, redis, rabbitmq: rabbitmq.unwrap() }))
    }

    /// A database of this name, which is there and empty.
    pub(crate) async fn database(&self, name: &str) -> String {
        match self {
            Self::Embedded(folder) => {
                format!("sqlite:{}", folder.path().join(name).with_extension("sqlite").display())
            }
            Self::Real(servers) => {
                let server = servers.postgresql.url();
                let url = format!("{}/{name}", server.strip_suffix("/postgres").unwrap());
                sqlx::Postgres::create_database(&url).await.unwrap();
                url
            }
        }
    }

    pub(crate) fn queue(&self) -> String {
        match self {
            Self::Embedded(_) => "memory".to_owned(),
            Self::Real(servers) => servers.redis.url(),
        }
    }

    pub(crate) fn events(&self) -> String {
        match self {
            Self::Embedded(_) => "http".to_owned(),
            Self::Real(servers) => servers.rabbitmq.url(),
        }
    }
}
