//! The dead letters, which are answered writes that the database refused: seen, tried again, given up.

use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::{Accounts, AccountsError};
use crate::intake::{Change, JOBS_MAX, Letter, LetterId, Outcome, Write};
use crate::user::{Account, User, UserId};

/// A write that the database refused. Its password is not shown, not even as a hash.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadLetter {
    /// What names it when it is given up.
    id: String,
    /// What it would do.
    write: Kind,
    /// Whom it is about, unless it is unreadable.
    #[schema(value_type = Option<String>, format = "uuid")]
    user_id: Option<UserId>,
    /// What the user would be, if the user is to be kept.
    user: Option<User>,
    /// What the database said.
    reason: String,
    /// Of the request that was answered.
    correlation_id: String,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Register or change the user.
    Keep,
    /// Forget the user.
    Remove,
    /// Written by another version of this program, or by hand.
    Unreadable,
}

impl From<Letter> for DeadLetter {
    fn from(letter: Letter) -> Self {
        let Letter { id: LetterId(id), correlation_id, reason, change } = letter;
        let (write, user_id, user) = match change {
            Ok(Change::Keep(Account { user, hash: _ })) => (Kind::Keep, Some(user.id), Some(user)),
            Ok(Change::Remove(id)) => (Kind::Remove, Some(id), None),
            Err(_) => (Kind::Unreadable, None, None),
        };
        Self { id, write, user_id, user, reason, correlation_id }
    }
}

/// What became of the dead letters.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Retried {
    /// How many are in the queue again. What the database still refuses comes back.
    retried: u64,
    /// How many stay: their email is somebody else's by now, or nobody can read them.
    kept: u64,
}

impl Accounts {
    /// At most `count` dead letters, the latest first.
    pub(crate) async fn dead_letters(
        &self,
        count: usize,
    ) -> Result<Vec<DeadLetter>, AccountsError> {
        let letters = self.worker.intake.letters(count).await?;
        Ok(letters.into_iter().map(DeadLetter::from).collect())
    }

    /// Puts all dead letters back into the queue, each as a new write to what its user is now. Should this be broken
    /// off, those that were not reached stay.
    pub(crate) async fn retry(&self) -> Result<Retried, AccountsError> {
        let mut sums = Retried::default();
        for letter in self.worker.intake.letters(JOBS_MAX).await? {
            match self.retry_one(letter).await? {
                Some(Outcome::Queued) => sums.retried += 1,
                Some(Outcome::EmailTaken | Outcome::Outdated) | None => sums.kept += 1,
            }
        }
        self.worker.metrics.letters_retried(sums.retried);
        Ok(sums)
    }

    /// None if nobody can read it.
    async fn retry_one(&self, letter: Letter) -> Result<Option<Outcome>, AccountsError> {
        let Letter { id, correlation_id, reason: _, change } = letter;
        let Ok(change) = change else { return Ok(None) };
        let from = match self.find(change.user_id()).await {
            Ok(found) => Some(found.version),
            Err(AccountsError::UnknownId) => None,
            Err(error) => return Err(error),
        };
        Ok(Some(self.take(Write { change, from, correlation_id, letter: Some(id) }).await?))
    }

    /// Gives a dead letter up for good.
    pub(crate) async fn discard(&self, letter: &LetterId) -> Result<(), AccountsError> {
        if self.worker.intake.discard(letter).await? {
            return Ok(());
        }
        Err(AccountsError::UnknownLetter)
    }
}
