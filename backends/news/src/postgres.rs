//! How a store comes to its PostgreSQL database: connects, and creates it if it is not there.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::migrate::MigrateDatabase;
use sqlx::postgres::{PgPool, PgPoolOptions, Postgres};

use crate::settings::PostgresUrl;

const CONNECTIONS_MAX: u32 = 8;
/// How long a request waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// PostgreSQL's words for a database that is not there, and for one that another instance has just created.
const NO_SUCH_DATABASE: &str = "3D000";
const CREATED_MEANWHILE: [&str; 2] = ["42P04", "23505"];

pub(crate) async fn open(url: &PostgresUrl) -> Result<PgPool, sqlx::Error> {
    match connect(url).await {
        Err(error) if code(&error).is_some_and(|code| code == NO_SUCH_DATABASE) => {
            create(url).await?;
            connect(url).await
        }
        connected => connected,
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

fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code)
}
