//! What the queue's SQLite file is asked: one function for each statement.

use sqlx::SqliteConnection;

use crate::intake::{Backlog, IntakeError, Job, Letter, LetterId, Sequence, StoredJob, Write};
use crate::user::{Email, UserId};

/// The last of all before, or the least of this moment if that is greater: also a file that was lost and made anew
/// goes on with greater ones.
pub(super) async fn enqueue(
    connection: &mut SqliteConnection,
    write: &Write,
) -> sqlx::Result<Sequence> {
    let StoredJob { kind, user_id, name, email, password_hash } = (&write.change).into();
    let sequence: i64 = sqlx::query_scalar(
        "INSERT INTO jobs \
         SELECT max(?, 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0)), \
         ?, ?, ?, ?, ?, ? RETURNING sequence",
    )
    .bind(Sequence::now().0)
    .bind(kind)
    .bind(user_id)
    .bind(name)
    .bind(email)
    .bind(password_hash)
    .bind(&write.correlation_id)
    .fetch_one(connection)
    .await?;
    Ok(Sequence(sequence))
}

/// Unless a later job of the user is in the queue.
pub(super) const BURY: &str = "INSERT INTO dead_letters SELECT *, ? FROM jobs AS refused WHERE sequence = ? \
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE user_id = refused.user_id AND user_id <> '' \
    AND sequence > refused.sequence)";

/// The dead letter of a user, if there was one.
pub(super) async fn drop_letter_of(
    connection: &mut SqliteConnection,
    id: UserId,
) -> sqlx::Result<Option<LetterId>> {
    let sequence: Option<i64> =
        sqlx::query_scalar("DELETE FROM dead_letters WHERE user_id = ? RETURNING sequence")
            .bind(id.to_string())
            .fetch_optional(connection)
            .await?;
    Ok(sequence.map(|it| LetterId(it.to_string())))
}

pub(super) async fn drop_job(
    connection: &mut SqliteConnection,
    sequence: Sequence,
) -> sqlx::Result<()> {
    let statement = sqlx::query("DELETE FROM jobs WHERE sequence = ?").bind(sequence.0);
    statement.execute(connection).await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
pub(super) struct JobRow {
    sequence: i64,
    kind: String,
    user_id: String,
    name: String,
    email: String,
    password_hash: String,
    correlation_id: String,
}

impl From<JobRow> for Job {
    fn from(row: JobRow) -> Self {
        let JobRow { sequence, kind, user_id, name, email, password_hash, correlation_id } = row;
        let change = StoredJob { kind, user_id, name, email, password_hash }.try_into();
        Self { sequence: Sequence(sequence), correlation_id, change }
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct LetterRow {
    #[sqlx(flatten)]
    job: JobRow,
    reason: String,
}

impl From<LetterRow> for Letter {
    fn from(row: LetterRow) -> Self {
        let LetterRow { job, reason } = row;
        let Job { sequence, correlation_id, change } = job.into();
        Self { id: LetterId(sequence.0.to_string()), correlation_id, reason, change }
    }
}

pub(super) async fn queued(
    connection: &mut SqliteConnection,
    count: usize,
) -> Result<Vec<Job>, IntakeError> {
    let rows: Vec<JobRow> = sqlx::query_as("SELECT * FROM jobs ORDER BY sequence LIMIT ?")
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(Job::from).collect())
}

pub(super) async fn backlog(connection: &mut SqliteConnection) -> Result<Backlog, IntakeError> {
    let (jobs, dead_letters, first, last): (i64, i64, Option<i64>, Option<i64>) = sqlx::query_as(
        "SELECT count(*), (SELECT count(*) FROM dead_letters), min(sequence), max(sequence) FROM jobs",
    )
    .fetch_one(connection)
    .await?;
    let count = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    let span = first.zip(last).map(|(first, last)| (Sequence(first), Sequence(last)));
    Ok(Backlog { jobs: count(jobs), dead_letters: count(dead_letters), span })
}

pub(super) async fn owner(
    connection: &mut SqliteConnection,
    email: &Email,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT user_id FROM emails WHERE email = ?")
        .bind(email.key())
        .fetch_optional(connection)
        .await
}

pub(super) async fn reserve(
    connection: &mut SqliteConnection,
    email: &Email,
    id: UserId,
) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO emails VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(email.key())
        .bind(id.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn release(
    connection: &mut SqliteConnection,
    email: &Email,
    id: UserId,
) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM emails WHERE email = ? AND user_id = ?")
        .bind(email.key())
        .bind(id.to_string())
        .execute(connection)
        .await?;
    Ok(())
}
