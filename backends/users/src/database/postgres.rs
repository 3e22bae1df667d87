//! Users in PostgreSQL.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Executor};

use crate::database::statements::{
    AccountRow, CHECK, EMAILS, EmailRow, FIND, KEEP, PAGE, PROGRESS, PROGRESS_LOCKED, REMOVE,
    SET_PROGRESS, UserRow, impl_database,
};
use crate::database::{Database, DatabaseError, Registered};
use crate::intake::{Change, Sequence, Versioned};
use crate::user::{Account, User, UserId};

/// One worker writes; the others read what the cache has forgotten. A hundred is what a server takes by default.
const CONNECTIONS_MAX: u32 = 8;
/// How long a request waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// A worker whose machine vanishes must not hold the lock on `progress` until TCP gives up, which takes hours.
const TIME_LIMITS: &str =
    "SET statement_timeout = '10s'; SET idle_in_transaction_session_timeout = '10s'";
/// Classes of SQLSTATE that another try would get again: bad data, broken constraint, an exception of a trigger.
const REFUSALS: [&str; 3] = ["22", "23", "P0"];

/// Users in a PostgreSQL database.
pub(super) struct PostgresDatabase {
    pool: PgPool,
}

impl PostgresDatabase {
    /// Connects and brings the schema up to date.
    pub(super) async fn open(url: &str) -> Result<Self, DatabaseError> {
        // Of a server that is not there the pool would only say that it has waited.
        let mut first = PgConnection::connect(url).await.map_err(classified)?;
        sqlx::migrate!("migrations/postgres").run(&mut first).await?;
        first.close().await.map_err(classified)?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(WAIT_MAX)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(TIME_LIMITS).await.map(drop) })
            })
            .connect(url)
            .await
            .map_err(classified)?;
        Ok(Self { pool })
    }
}

impl_database!(PostgresDatabase, begin with "BEGIN");

fn classified(error: sqlx::Error) -> DatabaseError {
    let code = error.as_database_error().and_then(|it| it.code());
    let is_refusal = code.is_some_and(|code| REFUSALS.iter().any(|class| code.starts_with(class)));
    if is_refusal { DatabaseError::Refused(error) } else { DatabaseError::Failed(error) }
}
