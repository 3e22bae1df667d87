//! Where keys, sessions, codes, grants and failed logins are kept: one set of statements for SQLite and PostgreSQL.
//!
//! sqlx's `Any` is the trait behind which both stand, so there is one implementation and not two that drift apart.
//! What must happen once happens in one statement or one transaction; SQLite has a single connection, so that
//! transactions there follow each other.

mod attempts;
mod codes;
mod grants;
mod keys;
mod sessions;

use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Executor};

pub(crate) use attempts::Attempt;
pub(crate) use codes::{Code, Spent};
pub(crate) use grants::{Grant, Rotated};
pub(crate) use keys::StoredKey;
pub(crate) use sessions::Session;

use crate::clock::Timestamp;
use crate::settings::Database;

/// Of each kind: how many one user can have, the oldest go first.
const OF_ONE_USER_MAX: i64 = 100;
/// How many rows each table keeps; beyond it, what would end first ends now.
const ROWS_MAX: i64 = 100_000;
/// How long a request waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// An instance's share of a PostgreSQL server.
const POSTGRES_CONNECTIONS_MAX: u32 = 8;

/// A database that is open and has the schema of this version.
#[derive(Clone)]
pub(crate) struct Store {
    pool: AnyPool,
}

impl Store {
    /// Opens or creates the database and brings its schema up to date.
    pub(crate) async fn open(database: &Database) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        match database {
            Database::Sqlite(file) => Self::open_sqlite(file).await,
            Database::Postgres(url) => Self::open_postgres(url.as_str()).await,
        }
    }

    async fn open_sqlite(file: &Path) -> Result<Self, StoreError> {
        keep_to_the_owner(file)?;
        // The rest of a URL begins with these characters.
        let name = file.to_string_lossy();
        let name = name.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        let pool = AnyPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(WAIT_MAX)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // FULL: a refresh token that was answered stays spent when the power fails.
                    connection
                        .execute(
                            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                             PRAGMA busy_timeout = 5000; PRAGMA secure_delete = ON",
                        )
                        .await?;
                    Ok(())
                })
            })
            .connect(&format!("sqlite:{name}"))
            .await?;
        sqlx::migrate!("migrations/sqlite").run(&pool).await?;
        Ok(Self { pool })
    }

    async fn open_postgres(url: &str) -> Result<Self, StoreError> {
        let pool = AnyPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS_MAX)
            .acquire_timeout(WAIT_MAX)
            .connect(url)
            .await?;
        sqlx::migrate!("migrations/postgres").run(&pool).await?;
        Ok(Self { pool })
    }

    /// Asks the database for something small.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Deletes what has expired, and what is too much.
    pub(crate) async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        for (table, expires_at) in [
            ("sessions", "expires_at"),
            ("codes", "expires_at"),
            ("grants", "expires_at"),
            ("login_attempts", "free_at"),
        ] {
            // Spent codes are remembered for a while, to notice that one comes again.
            let before = match table {
                "codes" => now.before(codes::REMEMBERED_FOR),
                _ => now,
            };
            sqlx::query(&format!("DELETE FROM {table} WHERE {expires_at} <= $1"))
                .bind(before.0)
                .execute(&self.pool)
                .await?;
            let kept = format!(
                "SELECT {expires_at} FROM {table} ORDER BY {expires_at} DESC LIMIT 1 OFFSET {ROWS_MAX}"
            );
            sqlx::query(&format!("DELETE FROM {table} WHERE {expires_at} <= ({kept})"))
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }

    /// Lets go of the database.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// Private keys lie in this file: it is created for its owner alone, and one that others can read is refused.
fn keep_to_the_owner(file: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::File { file: file.to_owned(), source };
    let opened = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file);
    let mode = opened.and_then(|opened| opened.metadata()).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(StoreError::OpenToOthers { file: file.to_owned(), mode: mode & 0o777 });
    }
    Ok(())
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or created.
    #[error("cannot open {file}: {source}")]
    File {
        /// The file that was asked for.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others on this machine could read the private keys.
    #[error("{file} holds private keys and has mode {mode:o}: run `chmod 600` on it")]
    OpenToOthers {
        /// The file that was asked for.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The schema cannot be brought up to date.
    #[error("database schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}
