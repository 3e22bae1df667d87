//! Where an instance keeps its data: files of its own, or databases of its own on servers that all tests share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use news::{Database, Events, ReadSide, Settings};
use servers::{PostgreSql, RabbitMq};
use sqlx::PgPool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tempfile::TempDir;

/// Where homes are made.
pub(crate) enum Homes {
    Embedded,
    Real(Box<Servers>),
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
}

/// What one instance calls its own.
pub(crate) struct Home {
    pub(crate) theme: String,
    pub(crate) event_log: Database,
    pub(crate) latest: Database,
    pub(crate) events: Events,
    /// Holds the files, if the stores are files.
    folder: Option<TempDir>,
}

/// One of an instance's stores.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Log,
    Latest,
}

impl Homes {
    pub(crate) fn make(&self) -> Home {
        match self {
            Self::Embedded => {
                let folder = tempfile::tempdir().unwrap();
                let database = |file: &str| Database::Sqlite(folder.path().join(file));
                let (event_log, latest) = (database("event-log.sqlite"), database("latest.sqlite"));
                let (theme, events) = ("famous".to_owned(), Events::InProcess);
                Home { theme, event_log, latest, events, folder: Some(folder) }
            }
            Self::Real(servers) => servers.make(),
        }
    }
}

impl Servers {
    pub(crate) fn make(&self) -> Home {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let url = self.postgres.url();
        let server = url.strip_suffix("/postgres").unwrap();
        let database = |name: &str| format!("{server}/{name}_{number}").parse().unwrap();
        let (event_log, latest) = (database("event_log"), database("latest"));
        let events = self.rabbit.url().parse().unwrap();
        Home { theme: format!("famous-{number}"), event_log, latest, events, folder: None }
    }
}

impl Home {
    pub(crate) fn settings(&self, read_side: ReadSide) -> Settings {
        Settings {
            theme: self.theme.parse().unwrap(),
            address: "127.0.0.1:0".parse().unwrap(),
            event_log: self.event_log.clone(),
            latest: self.latest.clone(),
            read_side,
        }
    }

    /// The path of a file in the folder of embedded stores.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.as_ref().unwrap().path().join(name)
    }

    /// Behind the service's back.
    pub(crate) async fn run_sql(&self, side: Side, statement: &str) -> Result<u64, sqlx::Error> {
        let database = match side {
            Side::Log => &self.event_log,
            Side::Latest => &self.latest,
        };
        match database {
            Database::Sqlite(file) => {
                let options = SqliteConnectOptions::new().filename(file);
                let pool = SqlitePool::connect_with(options).await?;
                let done = sqlx::query(statement).execute(&pool).await;
                pool.close().await;
                Ok(done?.rows_affected())
            }
            Database::Postgres(url) => {
                let pool = PgPool::connect(url.dangerous_text()).await?;
                let done = sqlx::query(statement).execute(&pool).await;
                pool.close().await;
                Ok(done?.rows_affected())
            }
        }
    }
}
