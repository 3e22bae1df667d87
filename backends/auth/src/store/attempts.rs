//! The table of failed logins.

use std::time::Duration;

use super::{Store, StoreError};
use crate::clock::{Timestamp, seconds};
use crate::secret::SecretHash;
use crate::settings::LoginLimit;

/// Whether an account may be tried now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Yes, and this attempt is counted.
    Allowed,
    /// Not before this time has passed.
    Wait(Duration),
}

impl Store {
    /// Counts an attempt before it is made, so that many at once are many.
    ///
    /// The count is a time: each attempt moves `free_at` on by the time after which there is one more, and an account
    /// whose `free_at` is too far ahead has none left.
    pub(crate) async fn attempt(
        &self,
        account: &SecretHash,
        limit: LoginLimit,
        now: Timestamp,
    ) -> Result<Attempt, StoreError> {
        let LoginLimit { attempts, one_more_every } = limit;
        let full_at = now.after(one_more_every * attempts.saturating_sub(1));
        let query = "INSERT INTO login_attempts (account, free_at) VALUES ($1, $2 + $3) \
                     ON CONFLICT (account) DO UPDATE SET free_at = $3 + CASE \
                     WHEN login_attempts.free_at > $2 THEN login_attempts.free_at ELSE $2 END \
                     WHERE login_attempts.free_at <= $4";
        let counted = sqlx::query(query)
            .bind(account.as_str())
            .bind(now.0)
            .bind(seconds(one_more_every))
            .bind(full_at.0)
            .execute(&self.pool)
            .await?;
        if counted.rows_affected() > 0 {
            return Ok(Attempt::Allowed);
        }
        let free_at: Option<i64> =
            sqlx::query_scalar("SELECT free_at FROM login_attempts WHERE account = $1")
                .bind(account.as_str())
                .fetch_optional(&self.pool)
                .await?;
        // Gone in between: somebody has just logged in.
        let free_at = free_at.map_or(full_at, Timestamp);
        Ok(Attempt::Wait(free_at.since(full_at).max(Duration::from_secs(1))))
    }

    /// Holds nothing against an account any more.
    pub(crate) async fn forgive(&self, account: &SecretHash) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM login_attempts WHERE account = $1")
            .bind(account.as_str())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
