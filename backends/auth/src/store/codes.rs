//! The table of authorization codes, spent ones among them.

use std::time::Duration;

use super::{Grant, Store, StoreError};
use crate::clock::Timestamp;
use crate::secret::{RefreshToken, Secret, SecretHash};

/// How long after its end a code is known, so that its second coming is noticed.
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(10 * 60);

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

impl Store {
    /// Keeps a new code; a user with too many loses the oldest.
    pub(crate) async fn add_code(&self, secret: &Secret, code: &Code) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        self.make_room(&mut transaction, "codes", &code.user_id).await?;
        let query = "INSERT INTO codes (code, client_id, redirect_uri, challenge, nonce, user_id, \
                     session_id, scope, authenticated_at, expires_at, grant_id) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '')";
        sqlx::query(query)
            .bind(secret.hash().as_str())
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

    /// Spends a code for a new grant, in one transaction: of two who present it, one has the grant and the other ends
    /// it. Who then finds that the code was not meant for this client ends the grant as well.
    pub(crate) async fn spend_code(
        &self,
        secret: &Secret,
        refresh: &RefreshToken,
        ends: Timestamp,
        now: Timestamp,
    ) -> Result<Spent, StoreError> {
        let grant_id = refresh.grant.hash();
        let mut transaction = self.pool.begin().await?;
        let query = "UPDATE codes SET grant_id = $1 \
                     WHERE code = $2 AND grant_id = '' AND expires_at > $3 \
                     RETURNING client_id, redirect_uri, challenge, nonce, user_id, session_id, \
                     scope, authenticated_at, expires_at";
        let spent: Vec<Code> = sqlx::query_as(query)
            .bind(grant_id.as_str())
            .bind(secret.hash().as_str())
            .bind(now.0)
            .fetch_all(&mut *transaction)
            .await?;
        let Some(code) = spent.into_iter().next() else {
            transaction.rollback().await?;
            return self.end_grant_of_code(&secret.hash()).await;
        };
        self.insert_grant(&mut transaction, refresh, &code.grant(ends)).await?;
        transaction.commit().await?;
        Ok(Spent::Fresh(code))
    }

    async fn end_grant_of_code(&self, code: &SecretHash) -> Result<Spent, StoreError> {
        let grant: Option<String> =
            sqlx::query_scalar("SELECT grant_id FROM codes WHERE code = $1 AND grant_id <> ''")
                .bind(code.as_str())
                .fetch_optional(&self.pool)
                .await?;
        let Some(grant) = grant else {
            return Ok(Spent::Unknown);
        };
        self.end_grant(&SecretHash::stored(grant)).await?;
        Ok(Spent::Again)
    }
}
