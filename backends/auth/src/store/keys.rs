//! The table of signing keys.

use super::{Store, StoreError};

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

impl Store {
    /// All keys, the oldest first.
    pub(crate) async fn keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        let query = "SELECT generation, algorithm, private_key, signs_from FROM signing_keys \
                     ORDER BY generation";
        Ok(sqlx::query_as(query).fetch_all(&self.pool).await?)
    }

    /// Adds a key, unless another instance has added this generation.
    pub(crate) async fn add_key(&self, key: StoredKey) -> Result<(), StoreError> {
        let StoredKey { generation, algorithm, private_key, signs_from } = key;
        let query = "INSERT INTO signing_keys (generation, algorithm, private_key, signs_from) \
                     VALUES ($1, $2, $3, $4) ON CONFLICT (generation) DO NOTHING";
        sqlx::query(query)
            .bind(generation)
            .bind(algorithm)
            .bind(private_key)
            .bind(signs_from)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Forgets the keys before this generation.
    pub(crate) async fn remove_keys_before(&self, generation: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM signing_keys WHERE generation < $1")
            .bind(generation)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
