//! The store in one SQLite file, which its owner alone may read.

use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::store::sql::SqliteStore;
use crate::store::{StoreError, WAIT_MAX};

/// Nearly every request writes, and SQLite writes one at a time whatever we do.
const CONNECTIONS_MAX: u32 = 1;

impl SqliteStore {
    /// Opens or creates the file and brings its schema up to date.
    pub(super) async fn open(file: &Path) -> Result<Self, StoreError> {
        keep_to_the_owner(file)?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            // With WAL the default would make a refresh token good again that was spent before the power failed.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(WAIT_MAX)
            .pragma("secure_delete", "ON");
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(WAIT_MAX)
            .connect_with(options)
            .await?;
        sqlx::migrate!("migrations/sqlite").run(&pool).await?;
        Ok(Self { pool })
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
