//! The store in a PostgreSQL database, which several instances may share.

use sqlx::postgres::PgPoolOptions;
use url::Url;

use crate::store::sql::PostgresStore;
use crate::store::{StoreError, WAIT_MAX};

/// An instance's share of the server.
const CONNECTIONS_MAX: u32 = 8;

impl PostgresStore {
    /// Connects and brings the schema up to date.
    pub(super) async fn open(url: &Url) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(WAIT_MAX)
            .connect(url.as_str())
            .await?;
        sqlx::migrate!("migrations/postgres").run(&pool).await?;
        Ok(Self { pool })
    }
}
