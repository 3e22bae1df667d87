//! A password login: is there an attempt left, is the password right, and nothing that tells more than that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::metrics::{LoginOutcome, Metrics};
use crate::password::Credentials;
use crate::settings::LoginLimit;
use crate::store::{Attempt, Store, StoreError};
use crate::users::{User, Users, UsersError};

/// Logins that may wait for the users service; the next is told to come later. With the time one takes this also
/// bounds how fast failed logins can fill their table.
const AT_ONCE_MAX: usize = 128;

/// What a password login needs.
pub(crate) struct Authentication {
    pub(crate) users: Users,
    store: Arc<dyn Store>,
    limit: LoginLimit,
    clock: Clock,
    places: Semaphore,
}

impl Authentication {
    pub(crate) fn new(
        users: Users,
        store: Arc<dyn Store>,
        limit: LoginLimit,
        clock: Clock,
    ) -> Self {
        Self { users, store, limit, clock, places: Semaphore::new(AT_ONCE_MAX) }
    }

    /// Whose these credentials are.
    pub(crate) async fn log_in(
        &self,
        credentials: &Credentials,
        metrics: &Metrics,
    ) -> Result<User, LoginRefused> {
        let outcome = self.try_once(credentials).await;
        metrics.count_login(match &outcome {
            Ok(_) => LoginOutcome::Success,
            Err(LoginRefused::Wrong) => LoginOutcome::Wrong,
            Err(LoginRefused::TooMany { .. }) => LoginOutcome::Throttled,
            Err(LoginRefused::Busy | LoginRefused::Users(_) | LoginRefused::Store(_)) => {
                LoginOutcome::Failed
            }
        });
        outcome
    }

    async fn try_once(&self, credentials: &Credentials) -> Result<User, LoginRefused> {
        let _place = self.places.try_acquire().map_err(|_| LoginRefused::Busy)?;
        let account = credentials.account();
        // Counted before the password is looked at: many guesses at once are many.
        match self.store.attempt(&account, self.limit, self.clock.now()).await? {
            Attempt::Allowed => {}
            Attempt::Wait(wait) => return Err(LoginRefused::TooMany { wait }),
        }
        let user = self.users.verify(credentials).await?.ok_or(LoginRefused::Wrong)?;
        self.store.forgive(&account).await?;
        Ok(user)
    }
}

/// Why nobody was logged in. The first three texts go to the user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginRefused {
    #[error("email or password is wrong")]
    Wrong,
    #[error("too many failed logins; try again in {} s", wait.as_secs())]
    TooMany { wait: Duration },
    #[error("too many logins at once; try again")]
    Busy,
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
