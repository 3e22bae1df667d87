//! The store in a PostgreSQL database, which several instances may share.

use sqlx::migrate::MigrateDatabase;
use sqlx::postgres::{PgPool, PgPoolOptions, Postgres};

use crate::settings::PostgresUrl;
use crate::store::{StoreError, WAIT_MAX, sql};

const CONNECTIONS_MAX: u32 = 8;
/// PostgreSQL's words for a database that is not there, and for one that another instance has just created.
const NO_SUCH_DATABASE: &str = "3D000";
const CREATED_MEANWHILE: [&str; 2] = ["42P04", "23505"];

sql::store!(
    /// The store in a PostgreSQL database.
    PostgresStore over PgPool
);

impl PostgresStore {
    /// Connects, creating the database if it is not there, and brings its schema up to date.
    pub(crate) async fn open(url: &PostgresUrl) -> Result<Self, StoreError> {
        let pool = match connect(url).await {
            Err(error) if code(&error).is_some_and(|code| code == NO_SUCH_DATABASE) => {
                create(url).await?;
                connect(url).await?
            }
            connected => connected?,
        };
        sqlx::migrate!("./migrations/postgres").run(&pool).await?;
        Ok(Self { pool })
    }
}

async fn connect(url: &PostgresUrl) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(WAIT_MAX)
        .connect(url.dangerous_text())
        .await
}

async fn create(url: &PostgresUrl) -> Result<(), sqlx::Error> {
    match Postgres::create_database(url.dangerous_text()).await {
        Err(error) if code(&error).is_some_and(|code| CREATED_MEANWHILE.contains(&&*code)) => {
            Ok(())
        }
        created => created,
    }
}

fn code(error: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code)
}
