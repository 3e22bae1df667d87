//! Refresh tokens: each is good once, and one that comes again ends all that came of the same login (RFC 9700, 4.14.2).

use crate::metrics::{Issued, Reused};
use crate::routes::Auth;
use crate::scope::Scope;
use crate::secret::RefreshToken;
use crate::store::{Grant, Rotated, StoreError};
use crate::tokens::MintError;
use crate::users::UsersError;

/// What a refresh token was exchanged for.
pub(crate) struct Refreshed {
    pub(crate) grant: Grant,
    pub(crate) scope: Scope,
    pub(crate) next: RefreshToken,
    pub(crate) access_token: String,
}

/// Exchanges a refresh token of this client for the next and an access token, of the whole scope or of less. Nothing is
/// spent until it is known that the user is still there: who gets no answer about that may come again with the same.
pub(crate) async fn refresh(
    auth: &Auth,
    token: &str,
    client_id: &str,
    narrower: Option<&str>,
) -> Result<Refreshed, RefreshRefused> {
    let token = RefreshToken::parse(token).ok_or(RefreshRefused::NotGood)?;
    let Some(grant) = auth.store.current_grant(&token, client_id, auth.clock.now()).await? else {
        let ended = auth.store.end_reused(&token, client_id).await?;
        return Err(refused(auth, &ended));
    };
    let scope = Scope::stored(grant.scope.clone());
    let scope = match narrower {
        Some(narrower) => scope.narrowed(narrower).ok_or(RefreshRefused::Scope)?,
        None => scope,
    };
    if auth.authentication.users.find(&grant.user_id).await?.is_none() {
        auth.store.end_grant(&token.grant.hash()).await?;
        return Err(RefreshRefused::NotGood);
    }
    let next = token.successor();
    match auth.store.rotate(&token, &next, client_id).await? {
        Rotated::Done => {}
        ended @ (Rotated::Reused | Rotated::Unknown) => return Err(refused(auth, &ended)),
    }
    let access_token = auth.mint.access_token(&grant, &scope)?;
    auth.metrics.count_issued(Issued::Refresh);
    Ok(Refreshed { grant, scope, next, access_token })
}

fn refused(auth: &Auth, ended: &Rotated) -> RefreshRefused {
    match ended {
        Rotated::Reused => auth.metrics.count_reused(Reused::RefreshToken),
        Rotated::Done | Rotated::Unknown => {}
    }
    RefreshRefused::NotGood
}

/// Why a refresh token was not exchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefreshRefused {
    #[error("the refresh token is not good, or not any more: log in again")]
    NotGood,
    #[error("the scope is more than was granted")]
    Scope,
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mint(#[from] MintError),
}
