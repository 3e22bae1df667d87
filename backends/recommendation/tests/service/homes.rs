//! Where a service keeps its data, and how events come to it: a file of its own and HTTP, or a database of its own on
//! PostgreSQL and HTTP or RabbitMQ.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use recommendation::{Database, Events};
use servers::{PostgreSql, RabbitMq};
use sqlx::PgPool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tempfile::TempDir;

use crate::broker::Broker;

/// Where homes are made.
pub(crate) enum Homes {
    Embedded,
    Real { servers: Box<Servers>, way: Way },
}

/// How events come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Http,
    Amqp,
}

/// The real servers.
pub(crate) struct Servers {
    pub(crate) postgres: PostgreSql,
    pub(crate) rabbit: RabbitMq,
    made: AtomicU32,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        let (postgres, rabbit) = tokio::join!(PostgreSql::start(), RabbitMq::start());
        Self { postgres: postgres.unwrap(), rabbit: rabbit.unwrap(), made: AtomicU32::new(0) }
    }

    /// A database that nobody has used.
    pub(crate) fn database(&self) -> String {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let url = self.postgres.url();
        format!("{}/counts_{number}", url.strip_suffix("/postgres").unwrap())
    }
}

/// What one service calls its own.
pub(crate) struct Home {
    pub(crate) database: Database,
    pub(crate) events: Events,
    /// The same broker that `events` names, for who publishes.
    pub(crate) broker: Option<Broker>,
    /// Holds the file, if the store is one.
    _folder: Option<TempDir>,
}

impl Homes {
    pub(crate) async fn make(&self) -> Home {
        match self {
            Self::Embedded => {
                let folder = tempfile::tempdir().unwrap();
                let file: PathBuf = folder.path().join("counts.sqlite");
                let (database, events) = (Database::Sqlite(file), Events::Http);
                Home { database, events, broker: None, _folder: Some(folder) }
            }
            Self::Real { servers, way } => servers.make(*way).await,
        }
    }
}

impl Servers {
    pub(crate) async fn make(&self, way: Way) -> Home {
        let database = self.database().parse().unwrap();
        let (events, broker) = match way {
            Way::Http => (Events::Http, None),
            Way::Amqp => {
                let broker = Broker::at(&self.rabbit.url());
                broker.forget_all().await;
                (self.rabbit.url().parse().unwrap(), Some(broker))
            }
        };
        Home { database, events, broker, _folder: None }
    }
}

impl Home {
    /// Behind the service's back.
    pub(crate) async fn run_sql(&self, statement: &str) {
        match &self.database {
            Database::Sqlite(file) => {
                let options = SqliteConnectOptions::new().filename(file);
                let pool = SqlitePool::connect_with(options).await.unwrap();
                sqlx::query(statement).execute(&pool).await.unwrap();
                pool.close().await;
            }
            Database::Postgres(url) => {
                let pool = PgPool::connect(url.dangerous_text()).await.unwrap();
                sqlx::query(statement).execute(&pool).await.unwrap();
                pool.close().await;
            }
        }
    }
}
