//! Caching first: a write goes to cache and queue and is answered; a read asks the cache, then the database.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::database::DatabaseError;
use crate::index;
use crate::intake::{Change, IntakeError, Outcome, Recalled, Sequence, Versioned, Write};
use crate::metrics::CacheRead;
use crate::password::{HashError, Hasher, Password, Verdict};
use crate::user::{Account, Email, User, UserId};
use crate::worker::{WorkError, Worker};

/// Others may write to the same user between our look and our write so many times.
const ATTEMPTS_MAX: u32 = 20;
/// How long a page waits for the writes that were answered before it was asked for.
const PAGE_WAIT_MAX: Duration = Duration::from_secs(2);
/// Between two looks whether they are in the database, which takes a few milliseconds.
const PAGE_WAIT_STEP: Duration = Duration::from_millis(5);

/// See the file's own words.
pub(crate) struct Accounts {
    pub(crate) worker: Arc<Worker>,
    pub(crate) hasher: Hasher,
}

impl Accounts {
    /// The user with this id, as of the last answered write.
    pub(crate) async fn find(&self, id: UserId) -> Result<Versioned, AccountsError> {
        let Worker { database, intake, metrics, bell: _ } = &*self.worker;
        let lease = match intake.recall(id).await? {
            Recalled::Known(found) => {
                metrics.cache_read(CacheRead::Hit);
                return Ok(found);
            }
            Recalled::Gone => {
                metrics.cache_read(CacheRead::Hit);
                return Err(AccountsError::UnknownId);
            }
            Recalled::Unknown(lease) => lease,
        };
        metrics.cache_read(CacheRead::Miss);
        let found = database.find(id).await?.ok_or(AccountsError::UnknownId)?;
        intake.remember(&found, lease).await?;
        Ok(found)
    }

    /// Registers a user.
    pub(crate) async fn create(
        &self,
        user: User,
        password: Password,
        correlation_id: String,
    ) -> Result<User, AccountsError> {
        // Hashing is the dear part; who comes second at the same time is found out afterwards.
        if self.owner(&user.email).await?.is_some() {
            return Err(AccountsError::EmailTaken);
        }
        let hash = self.hasher.hash(password).await?;
        let change = Change::Keep(Account { user: user.clone(), hash });
        let write = Write { change, from: None, correlation_id, letter: None };
        match self.take(write).await? {
            Outcome::Queued => Ok(user),
            Outcome::EmailTaken => Err(AccountsError::EmailTaken),
            // Two random ids do not meet.
            Outcome::Outdated => Err(AccountsError::Contended),
        }
    }

    /// Changes the user with `user.id`; without a password it stays.
    pub(crate) async fn replace(
        &self,
        user: User,
        password: Option<Password>,
        correlation_id: String,
    ) -> Result<User, AccountsError> {
        self.find(user.id).await?;
        let hash = match password {
            Some(password) => Some(self.hasher.hash(password).await?),
            None => None,
        };
        for _ in 0..ATTEMPTS_MAX {
            let Versioned { account, version } = self.find(user.id).await?;
            let hash = hash.clone().unwrap_or(account.hash);
            let change = Change::Keep(Account { user: user.clone(), hash });
            let correlation_id = correlation_id.clone();
            let write = Write { change, from: Some(version), correlation_id, letter: None };
            match self.take(write).await? {
                Outcome::Queued => return Ok(user),
                Outcome::EmailTaken => return Err(AccountsError::EmailTaken),
                Outcome::Outdated => {}
            }
        }
        Err(AccountsError::Contended)
    }

    /// Forgets a user.
    pub(crate) async fn remove(
        &self,
        id: UserId,
        correlation_id: String,
    ) -> Result<(), AccountsError> {
        for _ in 0..ATTEMPTS_MAX {
            let from = Some(self.find(id).await?.version);
            let change = Change::Remove(id);
            let correlation_id = correlation_id.clone();
            let write = Write { change, from, correlation_id, letter: None };
            match self.take(write).await? {
                Outcome::Queued => return Ok(()),
                // Who leaves takes no email.
                Outcome::Outdated | Outcome::EmailTaken => {}
            }
        }
        Err(AccountsError::Contended)
    }

    /// At most `count` users in order of registration, after the first `start`. The database is asked, once it has
    /// every write that was answered before.
    pub(crate) async fn page(&self, start: u32, count: u32) -> Result<Vec<User>, AccountsError> {
        let Worker { database, intake, metrics: _, bell: _ } = &*self.worker;
        if let Some((_, last)) = intake.backlog().await?.span {
            self.wait_for(last).await?;
        }
        Ok(database.page(start, count).await?)
    }

    async fn wait_for(&self, last: Sequence) -> Result<(), AccountsError> {
        let until = Instant::now() + PAGE_WAIT_MAX;
        while Instant::now() < until {
            match self.worker.intake.backlog().await?.span {
                Some((first, _)) if first <= last => sleep(PAGE_WAIT_STEP).await,
                Some(_) | None => return Ok(()),
            }
        }
        Err(AccountsError::Behind)
    }

    /// The user with this email, if the password is theirs. Takes as long for an email that nobody has.
    pub(crate) async fn verify(
        &self,
        email: String,
        password: Password,
    ) -> Result<User, AccountsError> {
        let known = match Email::parse(email) {
            Ok(email) => self.find_by_email(&email).await?,
            Err(_) => None,
        };
        let hash = known.as_ref().map(|account| account.hash.clone());
        let verdict = self.hasher.verify(password, hash).await?;
        match (known, verdict) {
            (Some(account), Verdict::Fits) => Ok(account.user),
            (Some(_) | None, Verdict::Differs) | (None, Verdict::Fits) => {
                Err(AccountsError::WrongCredentials)
            }
        }
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<Account>, AccountsError> {
        let Some(id) = self.owner(email).await? else {
            return Ok(None);
        };
        match self.find(id).await {
            // Between the two questions the email may have become somebody else's.
            Ok(found) if found.account.user.email.key() == email.key() => Ok(Some(found.account)),
            Ok(_) | Err(AccountsError::UnknownId) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn owner(&self, email: &Email) -> Result<Option<UserId>, AccountsError> {
        let intake = &self.worker.intake;
        match intake.owner(email).await {
            Err(IntakeError::NotReady) => {
                index::complete(&self.worker).await?;
                Ok(intake.owner(email).await?)
            }
            owner => Ok(owner?),
        }
    }

    pub(crate) async fn take(&self, write: Write) -> Result<Outcome, AccountsError> {
        let intake = &self.worker.intake;
        let taken = match intake.take(write.clone()).await {
            Err(IntakeError::NotReady) => {
                index::complete(&self.worker).await?;
                intake.take(write).await?
            }
            taken => taken?,
        };
        if taken == Outcome::Queued {
            self.worker.bell.notify_one();
        }
        Ok(taken)
    }
}

/// Why something was not done with a user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountsError {
    #[error("no user has this id")]
    UnknownId,
    #[error("no dead letter has this id")]
    UnknownLetter,
    #[error("this email is taken")]
    EmailTaken,
    #[error("email or password is wrong")]
    WrongCredentials,
    #[error("too many write to this user at once")]
    Contended,
    #[error("the database is behind the queue, so that a page would miss answered writes")]
    Behind,
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error(transparent)]
    Index(#[from] WorkError),
}
