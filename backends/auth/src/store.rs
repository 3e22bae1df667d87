//! Where keys, sessions, codes, grants and failed logins are kept.
//!
//! What must happen once happens in one statement or one transaction, and every transaction begins with a write.

mod postgres;
mod sql;
mod sqlite;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::secret::{RefreshToken, Secret, SecretHash};
use crate::settings::{Database, LoginLimit};

/// How long after its end a code is known, so that its second coming is noticed.
const REMEMBERED_FOR: Duration = Duration::from_secs(10 * 60);
/// Of each kind: how many one user can have, the oldest go first.
const OF_ONE_USER_MAX: i64 = 100;
/// How many rows each table keeps; beyond it, what would end first ends now.
const ROWS_MAX: i64 = 100_000;
/// How long a request waits for a connection or for another's write.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A durable store: what a call has done survives the machine once the call returns.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// All signing keys, the oldest first.
    async fn keys(&self) -> Result<Vec<StoredKey>, StoreError>;
    /// Adds a key, unless another instance has added this generation.
    async fn add_key(&self, key: StoredKey) -> Result<(), StoreError>;
    /// Forgets the keys before this generation.
    async fn remove_keys_before(&self, generation: i64) -> Result<(), StoreError>;

    /// Begins a session; a user with too many loses the oldest.
    async fn begin_session(&self, session: &Session) -> Result<(), StoreError>;
    /// The session of a cookie, if it has one that has not ended.
    async fn session(&self, id: &SecretHash, now: Timestamp)
    -> Result<Option<Session>, StoreError>;
    /// Ends a session with all that was granted in it.
    async fn end_session(&self, id: &SecretHash) -> Result<(), StoreError>;

    /// Keeps a new code; a user with too many loses the oldest.
    async fn add_code(&self, secret: &Secret, code: &Code) -> Result<(), StoreError>;
    /// Spends a code for a new grant, all of it or nothing: of two who present it, one has the grant and the other ends
    /// it. Who then finds that the code was not meant for this client ends the grant as well.
    async fn spend_code(
        &self,
        secret: &Secret,
        refresh: &RefreshToken,
        ends: Timestamp,
        now: Timestamp,
    ) -> Result<Spent, StoreError>;

    /// Begins a grant; a user with too many loses the oldest.
    async fn begin_grant(&self, refresh: &RefreshToken, grant: &Grant) -> Result<(), StoreError>;
    /// The grant whose current refresh token this is, presented by the client that it was given to.
    async fn current_grant(
        &self,
        refresh: &RefreshToken,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Option<Grant>, StoreError>;
    /// Changes a refresh token for the next. Of two who come with the same token one is the first; the other's coming
    /// ends the grant.
    async fn rotate(
        &self,
        refresh: &RefreshToken,
        next: &RefreshToken,
        client_id: &str,
    ) -> Result<Rotated, StoreError>;
    /// Ends the grant of a refresh token that is not its current one, or not this client's.
    async fn end_reused(
        &self,
        refresh: &RefreshToken,
        client_id: &str,
    ) -> Result<Rotated, StoreError>;
    /// Ends a grant: none of its refresh tokens is good any more.
    async fn end_grant(&self, id: &SecretHash) -> Result<(), StoreError>;

    /// Counts a login before the password is looked at, so that many at once are many.
    async fn attempt(
        &self,
        account: &SecretHash,
        limit: LoginLimit,
        now: Timestamp,
    ) -> Result<Attempt, StoreError>;
    /// Holds nothing against an account any more.
    async fn forgive(&self, account: &SecretHash) -> Result<(), StoreError>;

    /// Asks the database for something small.
    async fn check(&self) -> Result<(), StoreError>;
    /// Deletes what has expired, and what is too much.
    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError>;
    /// Lets go of the database.
    async fn close(&self);
}

/// Opens or creates the database and brings its schema up to date.
pub(crate) async fn open(database: &Database) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match database {
        Database::Sqlite(file) => Arc::new(sql::SqliteStore::open(file).await?),
        Database::Postgres(url) => Arc::new(sql::PostgresStore::open(url).await?),
    })
}

/// A key as it is stored.
#[derive(sqlx::FromRow)]
pub(crate) struct StoredKey {
    /// Which one it is, counted from 1.
    pub(crate) generation: i64,
    /// How it signs.
    pub(crate) algorithm: String,
    /// PKCS #8.
    pub(crate) private_key: Vec<u8>,
    /// Seconds since 1970.
    pub(crate) signs_from: i64,
}

/// A browser that is logged in.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Session {
    /// The hash of its cookie. It tells nobody the cookie, so tokens may carry it as `sid`.
    pub(crate) id: SecretHash,
    pub(crate) user_id: String,
    /// When the password was last given.
    pub(crate) authenticated_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// What a code stands for.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Code {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    /// PKCE, S256.
    pub(crate) challenge: String,
    /// Empty if there was none.
    pub(crate) nonce: String,
    pub(crate) user_id: String,
    pub(crate) session_id: String,
    pub(crate) scope: String,
    /// Seconds since 1970.
    pub(crate) authenticated_at: i64,
    /// Seconds since 1970.
    pub(crate) expires_at: i64,
}

impl Code {
    /// What it is spent for, with refresh tokens until `ends`.
    pub(crate) fn grant(&self, ends: Timestamp) -> Grant {
        Grant {
            client_id: self.client_id.clone(),
            user_id: self.user_id.clone(),
            session_id: self.session_id.clone(),
            scope: self.scope.clone(),
            authenticated_at: self.authenticated_at,
            expires_at: ends.0,
        }
    }
}

/// What came of presenting a code.
#[derive(Debug)]
pub(crate) enum Spent {
    /// It was good, is spent now, and a grant has begun.
    Fresh(Code),
    /// It had been spent before; what it had been spent for has ended.
    Again,
    /// There is no such code, or its time is over.
    Unknown,
}

/// What a user let a client have.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Grant {
    pub(crate) client_id: String,
    pub(crate) user_id: String,
    /// Empty for a login without a browser.
    pub(crate) session_id: String,
    pub(crate) scope: String,
    /// When the password was given: seconds since 1970.
    pub(crate) authenticated_at: i64,
    /// When its refresh tokens end, however often they were changed: seconds since 1970.
    pub(crate) expires_at: i64,
}

/// What came of changing a refresh token for the next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rotated {
    /// The next one is current.
    Done,
    /// It was not the current one, or not this client's: somebody else has a copy, and the whole grant has ended
    /// (RFC 9700, 4.14.2).
    Reused,
    /// There is no such grant, or its time is over.
    Unknown,
}

/// Whether an account may be tried now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Yes, and this attempt is counted.
    Allowed,
    /// Not before this time has passed.
    Wait(Duration),
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
