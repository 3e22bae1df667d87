//! Cache and queue in Redis, for any number of instances: each operation is one Lua script, which Redis runs alone.
//!
//! | key | is |
//! |---|---|
//! | `{users}:queue` | a stream of jobs; a job leaves it when the database has it |
//! | `{users}:dead` | a stream of jobs the database refused |
//! | `{users}:letters` | a hash: the entry of `dead` that has the last word on each user |
//! | `{users}:user:ID` | a hash: the user, `version`, `job` while one is in the queue, or `gone` |
//! | `{users}:emails` | a hash of all emails: whose each is; about 100 bytes a user |
//! | `{users}:ready` | is there once `emails` is complete |
//! | `{users}:lease:ID`, `{users}:indexing` | who is filling the cache, the index |
//!
//! Answered writes are as safe as Redis is: `appendonly yes`, `appendfsync always`, `maxmemory-policy noeviction`.
//! What Redis says of these three is in the log at the start when it is something else.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use fred::interfaces::{ClientLike, StreamsInterface};
use fred::prelude::{Builder, Client, Config, FromValue, ReconnectPolicy};
use fred::types::scripts::Script;
use fred::types::{ClusterHash, CustomCommand};
use uuid::Uuid;

use crate::database::Registered;
use crate::intake::{
    Backlog, Begun, CACHED_FOR, Change, Intake, IntakeError, JOBS_MAX, Job, Lease, Letter,
    LetterId, Outcome, Recalled, Sequence, StoredJob, Unreadable, Versioned, Write, account,
};
use crate::user::{Email, UserId};

const QUEUE: &str = "{users}:queue";
const DEAD: &str = "{users}:dead";
const LETTERS: &str = "{users}:letters";
const EMAILS: &str = "{users}:emails";
const READY: &str = "{users}:ready";
const INDEXING: &str = "{users}:indexing";

/// How long Redis may take, also to come back: later the answer is of no use.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
/// Between two tries to reach it, in milliseconds.
const RECONNECT_PAUSE_MS: u32 = 100;
/// Longer than any request takes, so that a lease is not lost to time.
const LEASE_TIME: Duration = Duration::from_secs(60);
/// An instance that fills the index adds a page of emails at least this often, or another takes over.
const INDEXING_PAUSE_MAX: Duration = Duration::from_secs(10);
/// What has to be set in Redis for answered writes to be safe.
const SAFE_SETTINGS: [(&str, &str); 3] =
    [("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction")];

fn user_key(id: UserId) -> String {
    format!("{{users}}:user:{id}")
}

fn lease_key(id: UserId) -> String {
    format!("{{users}}:lease:{id}")
}

/// See the file's own words.
pub(super) struct RedisIntake {
    client: Client,
    take: Script,
    recall: Script,
    remember: Script,
    owner: Script,
    settle: Script,
    bury: Script,
    discard: Script,
    begin_index: Script,
    extend_index: Script,
    finish_index: Script,
    backlog: Script,
}

impl RedisIntake {
    /// Connects, and goes on connecting whenever the connection is lost.
    pub(super) async fn open(url: &str) -> Result<Self, IntakeError> {
        let client = Builder::from_config(Config::from_url(url)?)
            .with_connection_config(|it| {
                it.connection_timeout = ANSWER_TIME_MAX;
                it.internal_command_timeout = ANSWER_TIME_MAX;
                // Whether a write was taken cannot be known when the connection breaks: the client decides.
                it.max_command_attempts = 1;
            })
            .with_performance_config(|it| it.default_command_timeout = ANSWER_TIME_MAX)
            .set_policy(ReconnectPolicy::new_constant(0, RECONNECT_PAUSE_MS))
            .build()?;
        client.init().await?;
        warn_of_unsafe_settings(&client).await;
        Ok(Self {
            client,
            take: Script::from_lua(include_str!("redis/take.lua")),
            recall: Script::from_lua(include_str!("redis/recall.lua")),
            remember: Script::from_lua(include_str!("redis/remember.lua")),
            owner: Script::from_lua(include_str!("redis/owner.lua")),
            settle: Script::from_lua(include_str!("redis/settle.lua")),
            bury: Script::from_lua(include_str!("redis/bury.lua")),
            discard: Script::from_lua(include_str!("redis/discard.lua")),
            begin_index: Script::from_lua(include_str!("redis/begin_index.lua")),
            extend_index: Script::from_lua(include_str!("redis/extend_index.lua")),
            finish_index: Script::from_lua(include_str!("redis/finish_index.lua")),
            backlog: Script::from_lua(include_str!("redis/backlog.lua")),
        })
    }

    async fn run<R: FromValue>(
        &self,
        script: &Script,
        keys: Vec<String>,
        args: Vec<String>,
    ) -> Result<R, IntakeError> {
        // A server that was started again no longer knows the script and is told it.
        Ok(script.evalsha_with_reload(&self.client, keys, args).await?)
    }
}

/// A server that does not let itself be asked, as some hosted ones, is taken at its operator's word.
async fn warn_of_unsafe_settings(client: &Client) {
    for (setting, wanted) in SAFE_SETTINGS {
        let command = CustomCommand::new_static("CONFIG", ClusterHash::FirstKey, false);
        let asked: Result<Vec<String>, _> = client.custom(command, vec!["GET", setting]).await;
        if let Ok([_, value]) = asked.as_deref()
            && value != wanted
        {
            tracing::warn!(setting, value, wanted, "Redis may lose writes that were answered");
        }
    }
}

fn seconds(time: Duration) -> String {
    time.as_secs().to_string()
}

fn unexpected(answer: &str) -> IntakeError {
    let kind = fred::error::ErrorKind::Protocol;
    fred::error::Error::new(kind, format!("unexpected answer of a script: {answer}")).into()
}

#[async_trait]
impl Intake for RedisIntake {
    async fn take(&self, write: Write) -> Result<Outcome, IntakeError> {
        let Write { change, from, correlation_id, letter } = write;
        let email_key = match &change {
            Change::Keep(account) => account.user.email.key(),
            Change::Remove(_) => String::new(),
        };
        let id = change.user_id();
        let StoredJob { kind, user_id, name, email, password_hash } = (&change).into();
        let from = from.map(Sequence::to_stream_id).unwrap_or_default();
        let letter = letter.map(|LetterId(id)| id).unwrap_or_default();
        let keys = [READY, QUEUE, DEAD, LETTERS, EMAILS].map(str::to_owned).into_iter();
        let keys = keys.chain([user_key(id), lease_key(id)]).collect();
        let args = vec![
            JOBS_MAX.to_string(),
            from,
            kind,
            user_id,
            name,
            email,
            email_key,
            password_hash,
            correlation_id,
            letter,
        ];
        let taken: String = self.run(&self.take, keys, args).await?;
        match taken.as_str() {
            "queued" => Ok(Outcome::Queued),
            "email taken" => Ok(Outcome::EmailTaken),
            "outdated" => Ok(Outcome::Outdated),
            "full" => Err(IntakeError::Full),
            "not ready" => Err(IntakeError::NotReady),
            other => Err(unexpected(other)),
        }
    }

    async fn recall(&self, id: UserId) -> Result<Recalled, IntakeError> {
        let lease = Lease(Uuid::new_v4());
        let keys = vec![user_key(id), lease_key(id)];
        let args = vec![lease.0.to_string(), seconds(LEASE_TIME)];
        let entry: Vec<String> = self.run(&self.recall, keys, args).await?;
        match entry.as_slice() {
            [word] if word == "gone" => Ok(Recalled::Gone),
            [word] if word == "unknown" => Ok(Recalled::Unknown(lease)),
            [_, name, email, hash, version] => {
                let account = account(id, name.clone(), email.clone(), hash.clone());
                match (account, Sequence::from_stream_id(version)) {
                    (Ok(account), Some(version)) => {
                        Ok(Recalled::Known(Versioned { account, version }))
                    }
                    _ => Err(IntakeError::Damaged { id: id.to_string() }),
                }
            }
            other => Err(unexpected(&other.concat())),
        }
    }

    async fn remember(&self, found: &Versioned, lease: Lease) -> Result<(), IntakeError> {
        let Versioned { account, version } = found;
        let user = &account.user;
        let keys = vec![user_key(user.id), lease_key(user.id)];
        let args = vec![
            lease.0.to_string(),
            seconds(CACHED_FOR),
            user.name.as_str().to_owned(),
            user.email.as_str().to_owned(),
            user.email.key(),
            account.hash.as_str().to_owned(),
            version.to_stream_id(),
        ];
        self.run(&self.remember, keys, args).await
    }

    async fn owner(&self, email: &Email) -> Result<Option<UserId>, IntakeError> {
        let keys = vec![READY.to_owned(), EMAILS.to_owned()];
        let answer: Vec<String> = self.run(&self.owner, keys, vec![email.key()]).await?;
        match answer.as_slice() {
            [word] if word == "not ready" => Err(IntakeError::NotReady),
            [_, nobody] if nobody.is_empty() => Ok(None),
            [_, id] => id.parse().map(Some).map_err(|_| IntakeError::Damaged { id: id.clone() }),
            other => Err(unexpected(&other.concat())),
        }
    }

    async fn jobs(&self, count: usize) -> Result<Vec<Job>, IntakeError> {
        let entries: Vec<(String, Vec<String>)> =
            self.client.xrange(QUEUE, "-", "+", Some(count as u64)).await?;
        entries.into_iter().map(|(id, fields)| job(&id, fields)).collect()
    }

    async fn settle(&self, jobs: &[(Sequence, UserId)]) -> Result<(), IntakeError> {
        let users = jobs.iter().map(|(_, id)| user_key(*id));
        let keys = std::iter::once(QUEUE.to_owned()).chain(users).collect();
        let sequences = jobs.iter().map(|(sequence, _)| sequence.to_stream_id());
        let args = std::iter::once(seconds(CACHED_FOR)).chain(sequences).collect();
        self.run(&self.settle, keys, args).await
    }

    async fn bury(
        &self,
        job: &Job,
        reason: &str,
        found: Option<&Versioned>,
    ) -> Result<(), IntakeError> {
        let id = job.change.as_ref().ok().map(Change::user_id);
        let user = id.map(user_key).unwrap_or_else(|| "{users}:user:".to_owned());
        let keys = [QUEUE, DEAD, LETTERS, EMAILS].map(str::to_owned).into_iter();
        let keys = keys.chain([user]).collect();
        let args = vec![
            job.sequence.to_stream_id(),
            reason.to_owned(),
            id.map(|it| it.to_string()).unwrap_or_default(),
            found.map(|it| it.account.user.email.key()).unwrap_or_default(),
        ];
        self.run(&self.bury, keys, args).await
    }

    async fn letters(&self, count: usize) -> Result<Vec<Letter>, IntakeError> {
        let entries: Vec<(String, Vec<String>)> =
            self.client.xrevrange(DEAD, "+", "-", Some(count as u64)).await?;
        Ok(entries.into_iter().map(letter).collect())
    }

    async fn discard(&self, letter: &LetterId) -> Result<bool, IntakeError> {
        let LetterId(id) = letter;
        // Redis takes what is no id of an entry for an error.
        if Sequence::from_stream_id(id).is_none() {
            return Ok(false);
        }
        let keys = vec![DEAD.to_owned(), LETTERS.to_owned()];
        let discarded: i64 = self.run(&self.discard, keys, vec![id.clone()]).await?;
        Ok(discarded == 1)
    }

    async fn begin_index(&self, token: Uuid) -> Result<Begun, IntakeError> {
        let keys = [READY, QUEUE, EMAILS, INDEXING].map(str::to_owned).to_vec();
        let args = vec![token.to_string(), seconds(INDEXING_PAUSE_MAX)];
        let begun: String = self.run(&self.begin_index, keys, args).await?;
        match begun.as_str() {
            "complete" => Ok(Begun::Complete),
            "empty" => Ok(Begun::Empty),
            "queue not empty" => Ok(Begun::QueueNotEmpty),
            "somebody else" => Ok(Begun::SomebodyElse),
            other => Err(unexpected(other)),
        }
    }

    async fn extend_index(&self, token: Uuid, emails: &[Registered]) -> Result<(), IntakeError> {
        let pairs = emails.iter().flat_map(|it| [it.email.key(), it.id.to_string()]);
        let args = [token.to_string(), seconds(INDEXING_PAUSE_MAX)].into_iter().chain(pairs);
        let keys = vec![EMAILS.to_owned(), INDEXING.to_owned()];
        still_ours(self.run(&self.extend_index, keys, args.collect()).await?)
    }

    async fn finish_index(&self, token: Uuid, floor: Sequence) -> Result<(), IntakeError> {
        let keys = [READY, QUEUE, INDEXING].map(str::to_owned).to_vec();
        let args = vec![token.to_string(), floor.to_stream_id()];
        still_ours(self.run(&self.finish_index, keys, args).await?)
    }

    async fn backlog(&self) -> Result<Backlog, IntakeError> {
        let keys = vec![QUEUE.to_owned(), DEAD.to_owned()];
        let backlog: Vec<String> = self.run(&self.backlog, keys, Vec::new()).await?;
        let [jobs, dead_letters, first, last] = backlog.as_slice() else {
            return Err(unexpected(&backlog.concat()));
        };
        let (Ok(jobs), Ok(dead_letters)) = (jobs.parse(), dead_letters.parse()) else {
            return Err(unexpected(&backlog.concat()));
        };
        let span = Sequence::from_stream_id(first).zip(Sequence::from_stream_id(last));
        Ok(Backlog { jobs, dead_letters, span })
    }

    async fn close(&self) {
        // There is nothing to lose: every script was answered.
        drop(self.client.quit().await);
    }
}

fn still_ours(answer: i64) -> Result<(), IntakeError> {
    if answer == 1 { Ok(()) } else { Err(IntakeError::Superseded) }
}

fn job(id: &str, fields: Vec<String>) -> Result<Job, IntakeError> {
    let sequence = Sequence::from_stream_id(id).ok_or_else(|| unexpected(id))?;
    let mut values: Values = pairs(fields).collect();
    let correlation_id = values.remove("correlation_id").unwrap_or_default();
    Ok(Job { sequence, correlation_id, change: change(values) })
}

fn letter((id, fields): (String, Vec<String>)) -> Letter {
    let mut values: Values = pairs(fields).collect();
    let correlation_id = values.remove("correlation_id").unwrap_or_default();
    let reason = values.remove("reason").unwrap_or_default();
    Letter { id: LetterId(id), correlation_id, reason, change: change(values) }
}

type Values = HashMap<String, String>;

fn change(mut values: Values) -> Result<Change, Unreadable> {
    let mut value = |field: &str| values.remove(field).ok_or(Unreadable);
    let stored = StoredJob {
        kind: value("kind")?,
        user_id: value("user_id")?,
        name: value("name")?,
        email: value("email")?,
        password_hash: value("password_hash")?,
    };
    stored.try_into()
}

/// Names and values in turn.
fn pairs(fields: Vec<String>) -> impl Iterator<Item = (String, String)> {
    let mut fields = fields.into_iter();
    std::iter::from_fn(move || Some((fields.next()?, fields.next()?)))
}

#[cfg(test)]
mod tests {
    use servers::Redis;

    use super::*;
    use crate::user::Account;

    async fn intake(redis: &Redis) -> RedisIntake {
        let intake = RedisIntake::open(&redis.url()).await.unwrap();
        let token = Uuid::new_v4();
        assert_eq!(intake.begin_index(token).await.unwrap(), Begun::Empty);
        intake.finish_index(token, Sequence(0)).await.unwrap();
        intake
    }

    fn ann(name: &str, id: UserId) -> Account {
        account(id, name.to_owned(), "ann@example.org".to_owned(), "hash".to_owned()).unwrap()
    }

    fn keep(account: &Account, from: Option<Sequence>) -> Write {
        let change = Change::Keep(account.clone());
        Write { change, from, correlation_id: String::new(), letter: None }
    }

    /// Lets the cache forget a user as time does.
    async fn forget(intake: &RedisIntake, id: UserId) {
        for job in intake.jobs(100).await.unwrap() {
            intake.settle(&[(job.sequence, id)]).await.unwrap();
        }
        let command = CustomCommand::new_static("DEL", ClusterHash::FirstKey, false);
        let _: i64 = intake.client.custom(command, vec![user_key(id)]).await.unwrap();
    }

    async fn known(intake: &RedisIntake, id: UserId) -> Option<Versioned> {
        match intake.recall(id).await.unwrap() {
            Recalled::Known(found) => Some(found),
            Recalled::Gone | Recalled::Unknown(_) => None,
        }
    }

    #[tokio::test]
    async fn what_the_database_said_before_a_write_is_not_kept() {
        let redis = Redis::start().await.unwrap();
        let intake = intake(&redis).await;
        let id = Uuid::new_v4().to_string().parse().unwrap();
        let old = ann("old", id);
        assert_eq!(intake.take(keep(&old, None)).await.unwrap(), Outcome::Queued);
        let old = known(&intake, id).await.unwrap();
        forget(&intake, id).await;
        let Recalled::Unknown(slow) = intake.recall(id).await.unwrap() else { panic!() };
        let Recalled::Unknown(quick) = intake.recall(id).await.unwrap() else { panic!() };
        intake.remember(&old, quick).await.unwrap();
        assert_eq!(known(&intake, id).await.as_ref(), Some(&old));

        let written = intake.take(keep(&ann("new", id), Some(old.version))).await.unwrap();
        assert_eq!(written, Outcome::Queued);
        intake.remember(&old, quick).await.unwrap();
        let new = known(&intake, id).await.unwrap();
        assert_eq!(new.account.user.name.as_str(), "new");
        forget(&intake, id).await;
        intake.remember(&old, slow).await.unwrap();
        assert_eq!(known(&intake, id).await, None, "not even when the new state is forgotten");
    }

    #[tokio::test]
    async fn a_write_that_arrives_late_or_twice_changes_nothing() {
        let redis = Redis::start().await.unwrap();
        let intake = intake(&redis).await;
        let id = Uuid::new_v4().to_string().parse().unwrap();
        let first = keep(&ann("first", id), None);
        assert_eq!(intake.take(first.clone()).await.unwrap(), Outcome::Queued);
        assert_eq!(intake.take(first).await.unwrap(), Outcome::Outdated);
        let version = known(&intake, id).await.unwrap().version;
        let late = keep(&ann("late", id), Some(version));
        let second = keep(&ann("second", id), Some(version));
        assert_eq!(intake.take(second).await.unwrap(), Outcome::Queued);
        assert_eq!(intake.take(late).await.unwrap(), Outcome::Outdated);
        assert_eq!(intake.jobs(100).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_user_stays_as_the_last_job_says_until_it_is_in_the_database() {
        let redis = Redis::start().await.unwrap();
        let intake = intake(&redis).await;
        let id = Uuid::new_v4().to_string().parse().unwrap();
        intake.take(keep(&ann("ann", id), None)).await.unwrap();
        let from = known(&intake, id).await.map(|it| it.version);
        let change = Change::Remove(id);
        let leave = Write { change, from, correlation_id: String::new(), letter: None };
        assert_eq!(intake.take(leave).await.unwrap(), Outcome::Queued);
        let jobs = intake.jobs(100).await.unwrap();
        for (job, left) in jobs.iter().zip([1, 0]) {
            assert!(matches!(intake.recall(id).await.unwrap(), Recalled::Gone), "{left}");
            intake.settle(&[(job.sequence, id)]).await.unwrap();
            assert_eq!(intake.backlog().await.unwrap().jobs, left);
        }
        assert!(
            matches!(intake.recall(id).await.unwrap(), Recalled::Unknown(_)),
            "ask the database"
        );
    }

    #[tokio::test]
    async fn only_one_instance_at_a_time_fills_the_index() {
        let redis = Redis::start().await.unwrap();
        let intake = RedisIntake::open(&redis.url()).await.unwrap();
        let (ours, theirs) = (Uuid::new_v4(), Uuid::new_v4());
        let id = Uuid::new_v4().to_string().parse().unwrap();
        let refused = intake.take(keep(&ann("ann", id), None)).await;
        assert!(matches!(refused, Err(IntakeError::NotReady)), "{refused:?}");
        assert_eq!(intake.begin_index(ours).await.unwrap(), Begun::Empty);
        assert_eq!(intake.begin_index(theirs).await.unwrap(), Begun::SomebodyElse);
        let superseded = intake.extend_index(theirs, &[]).await;
        assert!(matches!(superseded, Err(IntakeError::Superseded)), "{superseded:?}");
        let floor = Sequence(Sequence::now().0 << 1);
        intake.finish_index(ours, floor).await.unwrap();
        assert_eq!(intake.begin_index(theirs).await.unwrap(), Begun::Complete);
        assert_eq!(intake.take(keep(&ann("ann", id), None)).await.unwrap(), Outcome::Queued);
        let jobs = intake.jobs(100).await.unwrap();
        assert!(jobs.len() == 1 && jobs[0].sequence > floor, "{jobs:?}");
    }
}
