//! The statements, which are the same for every database, and the one place where they are run.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{PgPool, Postgres, Sqlite, SqlitePool, Transaction};

use crate::clock::{Timestamp, seconds};
use crate::secret::{RefreshToken, Secret, SecretHash};
use crate::settings::LoginLimit;
use crate::store::{
    Attempt, Code, Grant, OF_ONE_USER_MAX, REMEMBERED_FOR, ROWS_MAX, Rotated, Session, Spent,
    Store, StoreError, StoredKey,
};

/// Makes a [`Store`] of a pool. sqlx checks types by the database, so that the same code is compiled once for each; as a
/// generic it would be mostly where-clauses, as twins it would drift apart.
macro_rules! store {
    ($(#[$about:meta])* $name:ident over $pool:ty, $database:ty) => {
        $(#[$about])*
        pub(super) struct $name {
            pub(super) pool: $pool,
        }

        impl $name {
            async fn insert_grant(
                transaction: &mut Transaction<'_, $database>,
                refresh: &RefreshToken,
                grant: &Grant,
            ) -> Result<(), StoreError> {
                let Grant { client_id, user_id, session_id, scope, authenticated_at, expires_at } =
                    grant;
                sqlx::query(ROOM_FOR_GRANT)
                    .bind(user_id)
                    .bind(OF_ONE_USER_MAX - 1)
                    .execute(&mut **transaction)
                    .await?;
                sqlx::query(ADD_GRANT)
                    .bind(refresh.grant.hash())
                    .bind(refresh.current.hash())
                    .bind(client_id)
                    .bind(user_id)
                    .bind(session_id)
                    .bind(scope)
                    .bind(authenticated_at)
                    .bind(expires_at)
                    .execute(&mut **transaction)
                    .await?;
                Ok(())
            }

            async fn end_grant_of_code(&self, code: &SecretHash) -> Result<Spent, StoreError> {
                let grant: Option<SecretHash> = sqlx::query_scalar(GRANT_OF_CODE)
                    .bind(code)
                    .fetch_optional(&self.pool)
                    .await?;
                let Some(grant) = grant else {
                    return Ok(Spent::Unknown);
                };
                self.end_grant(&grant).await?;
                Ok(Spent::Again)
            }
        }

        #[async_trait]
        impl Store for $name {
            async fn keys(&self) -> Result<Vec<StoredKey>, StoreError> {
                Ok(sqlx::query_as(KEYS).fetch_all(&self.pool).await?)
            }

            async fn add_key(&self, key: StoredKey) -> Result<(), StoreError> {
                let StoredKey { generation, algorithm, private_key, signs_from } = key;
                sqlx::query(ADD_KEY)
                    .bind(generation)
                    .bind(algorithm)
                    .bind(private_key)
                    .bind(signs_from)
                    .execute(&self.pool)
                    .await?;
                Ok(())
            }

            async fn remove_keys_before(&self, generation: i64) -> Result<(), StoreError> {
                sqlx::query(REMOVE_KEYS).bind(generation).execute(&self.pool).await?;
                Ok(())
            }

            async fn begin_session(&self, session: &Session) -> Result<(), StoreError> {
                let Session { id, user_id, authenticated_at, expires_at } = session;
                let mut transaction = self.pool.begin().await?;
                sqlx::query(ROOM_FOR_SESSION)
                    .bind(user_id)
                    .bind(OF_ONE_USER_MAX - 1)
                    .execute(&mut *transaction)
                    .await?;
                sqlx::query(ADD_SESSION)
                    .bind(id)
                    .bind(user_id)
                    .bind(authenticated_at)
                    .bind(expires_at)
                    .execute(&mut *transaction)
                    .await?;
                Ok(transaction.commit().await?)
            }

            async fn session(
                &self,
                id: &SecretHash,
                now: Timestamp,
            ) -> Result<Option<Session>, StoreError> {
                let found = sqlx::query_as(SESSION).bind(id).bind(now);
                Ok(found.fetch_optional(&self.pool).await?)
            }

            async fn end_session(&self, id: &SecretHash) -> Result<(), StoreError> {
                let mut transaction = self.pool.begin().await?;
                for statement in END_SESSION {
                    sqlx::query(statement).bind(id).execute(&mut *transaction).await?;
                }
                Ok(transaction.commit().await?)
            }

            async fn add_code(&self, secret: &Secret, code: &Code) -> Result<(), StoreError> {
                let mut transaction = self.pool.begin().await?;
                sqlx::query(ROOM_FOR_CODE)
                    .bind(&code.user_id)
                    .bind(OF_ONE_USER_MAX - 1)
                    .execute(&mut *transaction)
                    .await?;
                sqlx::query(ADD_CODE)
                    .bind(secret.hash())
                    .bind(&code.client_id)
                    .bind(&code.redirect_uri)
                    .bind(&code.challenge)
                    .bind(&code.nonce)
                    .bind(&code.user_id)
                    .bind(&code.session_id)
                    .bind(&code.scope)
                    .bind(code.authenticated_at)
                    .bind(code.expires_at)
                    .execute(&mut *transaction)
                    .await?;
                Ok(transaction.commit().await?)
            }

            async fn spend_code(
                &self,
                secret: &Secret,
                refresh: &RefreshToken,
                ends: Timestamp,
                now: Timestamp,
            ) -> Result<Spent, StoreError> {
                let mut transaction = self.pool.begin().await?;
                let spent: Option<Code> = sqlx::query_as(SPEND_CODE)
                    .bind(refresh.grant.hash())
                    .bind(secret.hash())
                    .bind(now)
                    // To the end, though there is one row at most: only then SQLite has finished the statement.
                    .fetch_all(&mut *transaction)
                    .await?
                    .pop();
                let Some(code) = spent else {
                    transaction.rollback().await?;
                    return self.end_grant_of_code(&secret.hash()).await;
                };
                Self::insert_grant(&mut transaction, refresh, &code.grant(ends)).await?;
                transaction.commit().await?;
                Ok(Spent::Fresh(code))
            }

            async fn begin_grant(
                &self,
                refresh: &RefreshToken,
                grant: &Grant,
            ) -> Result<(), StoreError> {
                let mut transaction = self.pool.begin().await?;
                Self::insert_grant(&mut transaction, refresh, grant).await?;
                Ok(transaction.commit().await?)
            }

            async fn current_grant(
                &self,
                refresh: &RefreshToken,
                client_id: &str,
                now: Timestamp,
            ) -> Result<Option<Grant>, StoreError> {
                Ok(sqlx::query_as(CURRENT_GRANT)
                    .bind(refresh.grant.hash())
                    .bind(refresh.current.hash())
                    .bind(client_id)
                    .bind(now)
                    .fetch_optional(&self.pool)
                    .await?)
            }

            async fn rotate(
                &self,
                refresh: &RefreshToken,
                next: &RefreshToken,
                client_id: &str,
            ) -> Result<Rotated, StoreError> {
                let changed = sqlx::query(ROTATE)
                    .bind(next.current.hash())
                    .bind(refresh.grant.hash())
                    .bind(refresh.current.hash())
                    .bind(client_id)
                    .execute(&self.pool)
                    .await?;
                if changed.rows_affected() > 0 {
                    return Ok(Rotated::Done);
                }
                self.end_reused(refresh, client_id).await
            }

            async fn end_reused(
                &self,
                refresh: &RefreshToken,
                client_id: &str,
            ) -> Result<Rotated, StoreError> {
                let ended = sqlx::query(END_REUSED)
                    .bind(refresh.grant.hash())
                    .bind(refresh.current.hash())
                    .bind(client_id)
                    .execute(&self.pool)
                    .await?;
                Ok(if ended.rows_affected() > 0 { Rotated::Reused } else { Rotated::Unknown })
            }

            async fn end_grant(&self, id: &SecretHash) -> Result<(), StoreError> {
                sqlx::query(END_GRANT).bind(id).execute(&self.pool).await?;
                Ok(())
            }

            async fn attempt(
                &self,
                account: &SecretHash,
                limit: LoginLimit,
                now: Timestamp,
            ) -> Result<Attempt, StoreError> {
                let LoginLimit { attempts, one_more_every } = limit;
                let full_at = now.after(one_more_every * attempts.saturating_sub(1));
                let counted = sqlx::query(ATTEMPT)
                    .bind(account)
                    .bind(now)
                    .bind(seconds(one_more_every))
                    .bind(full_at)
                    .execute(&self.pool)
                    .await?;
                if counted.rows_affected() > 0 {
                    return Ok(Attempt::Allowed);
                }
                let free_at: Option<Timestamp> =
                    sqlx::query_scalar(FREE_AT).bind(account).fetch_optional(&self.pool).await?;
                // Gone in between: somebody has just logged in.
                let free_at = free_at.unwrap_or(full_at);
                Ok(Attempt::Wait(free_at.since(full_at).max(Duration::from_secs(1))))
            }

            async fn forgive(&self, account: &SecretHash) -> Result<(), StoreError> {
                sqlx::query(FORGIVE).bind(account).execute(&self.pool).await?;
                Ok(())
            }

            async fn check(&self) -> Result<(), StoreError> {
                sqlx::query("SELECT 1").execute(&self.pool).await?;
                Ok(())
            }

            async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
                for (table, ends, before) in [
                    ("sessions", "expires_at", now),
                    // Spent codes are remembered for a while, to notice that one comes again.
                    ("codes", "expires_at", now.before(REMEMBERED_FOR)),
                    ("grants", "expires_at", now),
                    ("login_attempts", "free_at", now),
                ] {
                    let expired = format!("DELETE FROM {table} WHERE {ends} <= $1");
                    sqlx::query(&expired).bind(before).execute(&self.pool).await?;
                    let too_many = format!(
                        "DELETE FROM {table} WHERE {ends} <= \
                         (SELECT {ends} FROM {table} ORDER BY {ends} DESC LIMIT 1 OFFSET $1)"
                    );
                    sqlx::query(&too_many).bind(ROWS_MAX).execute(&self.pool).await?;
                }
                Ok(())
            }

            async fn close(&self) {
                self.pool.close().await;
            }
        }
    };
}

store!(
    /// The store in one SQLite file.
    SqliteStore over SqlitePool, Sqlite
);
store!(
    /// The store in a PostgreSQL database.
    PostgresStore over PgPool, Postgres
);

const KEYS: &str = "SELECT generation, algorithm, private_key, signs_from FROM signing_keys \
     ORDER BY generation";
const ADD_KEY: &str = "INSERT INTO signing_keys (generation, algorithm, private_key, signs_from) \
     VALUES ($1, $2, $3, $4) ON CONFLICT (generation) DO NOTHING";
const REMOVE_KEYS: &str = "DELETE FROM signing_keys WHERE generation < $1";

const ROOM_FOR_SESSION: &str = "DELETE FROM sessions WHERE user_id = $1 AND number NOT IN \
     (SELECT number FROM sessions WHERE user_id = $1 ORDER BY number DESC LIMIT $2)";
const ADD_SESSION: &str = "INSERT INTO sessions (id, user_id, authenticated_at, expires_at) \
     VALUES ($1, $2, $3, $4)";
const SESSION: &str = "SELECT id, user_id, authenticated_at, expires_at FROM sessions \
     WHERE id = $1 AND expires_at > $2";
const END_SESSION: [&str; 3] = [
    "DELETE FROM sessions WHERE id = $1",
    "DELETE FROM codes WHERE session_id = $1",
    "DELETE FROM grants WHERE session_id = $1",
];

const ROOM_FOR_CODE: &str = "DELETE FROM codes WHERE user_id = $1 AND number NOT IN \
     (SELECT number FROM codes WHERE user_id = $1 ORDER BY number DESC LIMIT $2)";
const ADD_CODE: &str = "INSERT INTO codes (code, client_id, redirect_uri, challenge, nonce, \
     user_id, session_id, scope, authenticated_at, expires_at, grant_id) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '')";
const SPEND_CODE: &str = "UPDATE codes SET grant_id = $1 \
     WHERE code = $2 AND grant_id = '' AND expires_at > $3 \
     RETURNING client_id, redirect_uri, challenge, nonce, user_id, session_id, scope, \
     authenticated_at, expires_at";
const GRANT_OF_CODE: &str = "SELECT grant_id FROM codes WHERE code = $1 AND grant_id <> ''";

const ROOM_FOR_GRANT: &str = "DELETE FROM grants WHERE user_id = $1 AND number NOT IN \
     (SELECT number FROM grants WHERE user_id = $1 ORDER BY number DESC LIMIT $2)";
const ADD_GRANT: &str = "INSERT INTO grants (id, refresh_hash, client_id, user_id, session_id, \
     scope, authenticated_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const CURRENT_GRANT: &str = "SELECT client_id, user_id, session_id, scope, authenticated_at, \
     expires_at FROM grants \
     WHERE id = $1 AND refresh_hash = $2 AND client_id = $3 AND expires_at > $4";
const ROTATE: &str = "UPDATE grants SET refresh_hash = $1 \
     WHERE id = $2 AND refresh_hash = $3 AND client_id = $4";
const END_REUSED: &str =
    "DELETE FROM grants WHERE id = $1 AND (refresh_hash <> $2 OR client_id <> $3)";
const END_GRANT: &str = "DELETE FROM grants WHERE id = $1";

/// The count is a time: each attempt moves `free_at` on by the time after which there is one more, and an account whose
/// `free_at` is too far ahead has none left.
const ATTEMPT: &str = "INSERT INTO login_attempts (account, free_at) VALUES ($1, $2 + $3) \
     ON CONFLICT (account) DO UPDATE SET free_at = $3 + CASE \
     WHEN login_attempts.free_at > $2 THEN login_attempts.free_at ELSE $2 END \
     WHERE login_attempts.free_at <= $4";
const FREE_AT: &str = "SELECT free_at FROM login_attempts WHERE account = $1";
const FORGIVE: &str = "DELETE FROM login_attempts WHERE account = $1";
