//! The statements, which are the same for every database, and the one place where they are run.

/// Makes a [`Store`](crate::store::Store) of a pool. sqlx checks types by the database, so that the same code is
/// compiled once for each; as a generic it would be mostly where-clauses, as twins it would drift apart.
macro_rules! store {
    ($(#[$about:meta])* $name:ident over $pool:ty) => {
        $(#[$about])*
        pub(crate) struct $name {
            pool: $pool,
        }

        #[async_trait::async_trait]
        impl $crate::store::Store for $name {
            async fn count(
                &self,
                event: &$crate::viewed::Viewed,
                reader: &$crate::users::Reader,
            ) -> Result<$crate::store::Counted, StoreError> {
                use $crate::store::Counted;
                // The first statement writes, so that SQLite takes its one lock at once and never has to give up a read.
                let mut transaction = self.pool.begin().await?;
                let remembered = sqlx::query(sql::REMEMBER)
                    .bind(&event.id)
                    .bind(jiff::Timestamp::now().as_microsecond())
                    .execute(&mut *transaction)
                    .await?;
                let counted = if remembered.rows_affected() == 0 { Counted::Before } else { Counted::Now };
                if counted == Counted::Now {
                    sqlx::query(sql::NAME)
                        .bind(&reader.id)
                        .bind(&reader.name)
                        .execute(&mut *transaction)
                        .await?;
                    for label in &event.labels {
                        sqlx::query(sql::COUNT)
                            .bind(&reader.id)
                            .bind(label)
                            .execute(&mut *transaction)
                            .await?;
                    }
                }
                sqlx::query(sql::TAKE_OUT).bind(&event.id).execute(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(counted)
            }

            async fn labels(
                &self,
                user_id: &str,
                page: $crate::store::Page,
            ) -> Result<Vec<$crate::store::LabelCount>, StoreError> {
                let $crate::store::Page { start, count } = page;
                Ok(sqlx::query_as(sql::LABELS)
                    .bind(user_id)
                    .bind(i64::from(count))
                    .bind(i64::from(start))
                    .fetch_all(&self.pool)
                    .await?)
            }

            async fn readers(
                &self,
                label: &str,
                page: $crate::store::Page,
            ) -> Result<Vec<$crate::store::ReaderCount>, StoreError> {
                let $crate::store::Page { start, count } = page;
                Ok(sqlx::query_as(sql::READERS)
                    .bind(label)
                    .bind(i64::from(count))
                    .bind(i64::from(start))
                    .fetch_all(&self.pool)
                    .await?)
            }

            async fn keep(&self, letter: &$crate::store::Letter) -> Result<(), StoreError> {
                let $crate::store::Letter { id, event, correlation_id, due_at } = letter;
                sqlx::query(sql::KEEP)
                    .bind(id)
                    .bind(event)
                    .bind(correlation_id)
                    .bind(due_at.as_microsecond())
                    .execute(&self.pool)
                    .await?;
                Ok(())
            }

            async fn due(
                &self,
                now: jiff::Timestamp,
                count: u32,
            ) -> Result<Vec<$crate::store::Waiting>, StoreError> {
                Ok(sqlx::query_as(sql::DUE)
                    .bind(now.as_microsecond())
                    .bind(i64::from(count))
                    .fetch_all(&self.pool)
                    .await?)
            }

            async fn postpone(
                &self,
                id: &str,
                until: jiff::Timestamp,
                reason: &str,
            ) -> Result<(), StoreError> {
                sqlx::query(sql::POSTPONE)
                    .bind(id)
                    .bind(until.as_microsecond())
                    .bind(reason)
                    .execute(&self.pool)
                    .await?;
                Ok(())
            }

            async fn bury(
                &self,
                id: &str,
                now: jiff::Timestamp,
                reason: &str,
            ) -> Result<(), StoreError> {
                sqlx::query(sql::BURY)
                    .bind(id)
                    .bind(now.as_microsecond())
                    .bind(reason)
                    .execute(&self.pool)
                    .await?;
                Ok(())
            }

            async fn dead(&self, count: u32) -> Result<Vec<$crate::store::DeadLetter>, StoreError> {
                Ok(sqlx::query_as(sql::DEAD).bind(i64::from(count)).fetch_all(&self.pool).await?)
            }

            async fn revive(&self, now: jiff::Timestamp) -> Result<u64, StoreError> {
                let revived = sqlx::query(sql::REVIVE).bind(now.as_microsecond());
                Ok(revived.execute(&self.pool).await?.rows_affected())
            }

            async fn forget(&self, before: jiff::Timestamp) -> Result<u64, StoreError> {
                let forgotten = sqlx::query(sql::FORGET).bind(before.as_microsecond());
                Ok(forgotten.execute(&self.pool).await?.rows_affected())
            }

            async fn inbox_size(&self) -> Result<$crate::store::InboxSize, StoreError> {
                Ok(sqlx::query_as(sql::INBOX_SIZE).fetch_one(&self.pool).await?)
            }

            async fn close(&self) {
                self.pool.close().await;
            }
        }
    };
}

pub(crate) use store;

pub(crate) const REMEMBER: &str =
    "INSERT INTO counted_events (id, counted_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
pub(crate) const NAME: &str = "INSERT INTO readers (id, name) VALUES ($1, $2) \
     ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE readers.name <> excluded.name";
pub(crate) const COUNT: &str = "INSERT INTO reads (user_id, label, count) VALUES ($1, $2, 1) \
     ON CONFLICT (user_id, label) DO UPDATE SET count = reads.count + 1";
pub(crate) const TAKE_OUT: &str = "DELETE FROM inbox WHERE id = $1";
pub(crate) const LABELS: &str = "SELECT label, count FROM reads WHERE user_id = $1 \
     ORDER BY count DESC, label LIMIT $2 OFFSET $3";
pub(crate) const READERS: &str = "SELECT reads.user_id AS id, readers.name, reads.count FROM reads \
     JOIN readers ON readers.id = reads.user_id WHERE reads.label = $1 \
     ORDER BY reads.count DESC, reads.user_id LIMIT $2 OFFSET $3";
pub(crate) const KEEP: &str = "INSERT INTO inbox (id, event, correlation_id, due_at) \
     VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING";
pub(crate) const DUE: &str = "SELECT id, event, correlation_id, attempts FROM inbox \
     WHERE dead_at IS NULL AND due_at <= $1 ORDER BY due_at LIMIT $2";
pub(crate) const POSTPONE: &str =
    "UPDATE inbox SET attempts = attempts + 1, due_at = $2, reason = $3 WHERE id = $1";
pub(crate) const BURY: &str = "UPDATE inbox SET dead_at = $2, reason = $3 WHERE id = $1";
pub(crate) const DEAD: &str = "SELECT event, reason FROM inbox WHERE dead_at IS NOT NULL \
     ORDER BY dead_at DESC LIMIT $1";
pub(crate) const REVIVE: &str =
    "UPDATE inbox SET dead_at = NULL, attempts = 0, due_at = $1 WHERE dead_at IS NOT NULL";
pub(crate) const FORGET: &str = "DELETE FROM counted_events WHERE counted_at < $1";
pub(crate) const INBOX_SIZE: &str = "SELECT (SELECT count(*) FROM inbox WHERE dead_at IS NULL) AS waiting, \
     (SELECT count(*) FROM inbox WHERE dead_at IS NOT NULL) AS dead";
