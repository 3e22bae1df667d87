//! Users in one SQLite file.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::database::statements::{
    AccountRow, CHECK, EMAILS, EmailRow, FIND, KEEP, PAGE, PROGRESS, PROGRESS_LOCKED, REMOVE,
    SET_PROGRESS, UserRow, impl_database,
};
use crate::database::{Database, DatabaseError, Registered};
use crate::intake::{Change, Sequence, Versioned};
use crate::user::{Account, User, UserId};

/// SQLite writes one at a time whatever we do; the others are readers.
const CONNECTIONS_MAX: u32 = 4;
/// How long a request waits for a connection or for another's write.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Result codes (sqlite.org/rescode.html) that another try would get again: too big, constraint, mismatch, range.
const REFUSALS: [i32; 4] = [18, 19, 20, 25];

/// Users in one SQLite file.
pub(super) struct SqliteDatabase {
    pool: SqlitePool,
}

impl SqliteDatabase {
    /// Opens or creates the file and brings its schema up to date.
    pub(super) async fn open(file: &Path) -> Result<Self, DatabaseError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // With WAL the default would lose the last acknowledged jobs when the power fails.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(WAIT_MAX);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(WAIT_MAX)
            .connect_with(options)
            .await
            .map_err(classified)?;
        sqlx::migrate!("migrations/sqlite").run(&pool).await?;
        Ok(Self { pool })
    }
}

// A transaction that writes says so at once: one that reads first may find that another has written since.
impl_database!(SqliteDatabase, begin with "BEGIN IMMEDIATE");

fn classified(error: sqlx::Error) -> DatabaseError {
    let code = error.as_database_error().and_then(|it| it.code()?.parse::<i32>().ok());
    // The low byte is the code, the rest tells more of it.
    match code {
        Some(code) if REFUSALS.contains(&(code & 0xff)) => DatabaseError::Refused(error),
        _ => DatabaseError::Failed(error),
    }
}
