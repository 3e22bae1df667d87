//! The tokens we sign: access tokens (RFC 9068) and id tokens (OpenID Connect), and how we check our own.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clients::Registry;
use crate::clock::Clock;
use crate::keys::{ALGORITHM, Keys};
use crate::scope::Scope;
use crate::settings::Issuer;
use crate::store::Grant;

/// The type that tells an access token from an id token (RFC 9068, 2.1).
const ACCESS_TYPE: &str = "at+jwt";
const ID_TYPE: &str = "JWT";

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessClaims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) aud: String,
    pub(crate) client_id: String,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) auth_time: i64,
    pub(crate) jti: String,
    pub(crate) scope: String,
    pub(crate) roles: Vec<String>,
}

/// What an id token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdClaims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) aud: String,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<String>,
    pub(crate) at_hash: String,
    pub(crate) sid: String,
}

/// Signs tokens, and knows them again.
pub(crate) struct Mint {
    pub(crate) keys: Arc<Keys>,
    pub(crate) issuer: Issuer,
    pub(crate) audience: String,
    pub(crate) registry: Arc<Registry>,
    pub(crate) lifetime: Duration,
    pub(crate) clock: Clock,
}

impl Mint {
    /// An access token for what was granted, or for less of it.
    pub(crate) fn access_token(&self, grant: &Grant, scope: &Scope) -> Result<String, MintError> {
        let now = self.clock.now();
        let claims = AccessClaims {
            iss: self.issuer.as_str().to_owned(),
            sub: grant.user_id.clone(),
            aud: self.audience.clone(),
            client_id: grant.client_id.clone(),
            exp: now.after(self.lifetime).0,
            iat: now.0,
            auth_time: grant.authenticated_at,
            jti: uuid::Uuid::new_v4().to_string(),
            scope: scope.as_str().to_owned(),
            roles: self.registry.roles_of(&grant.user_id),
        };
        self.sign(ACCESS_TYPE, &claims)
    }

    /// An id token that belongs to this access token.
    pub(crate) fn id_token(
        &self,
        grant: &Grant,
        nonce: Option<String>,
        access_token: &str,
    ) -> Result<String, MintError> {
        let now = self.clock.now();
        let claims = IdClaims {
            iss: self.issuer.as_str().to_owned(),
            sub: grant.user_id.clone(),
            aud: grant.client_id.clone(),
            exp: now.after(self.lifetime).0,
            iat: now.0,
            auth_time: grant.authenticated_at,
            nonce,
            at_hash: half_hash(access_token),
            sid: grant.session_id.clone(),
        };
        self.sign(ID_TYPE, &claims)
    }

    fn sign(&self, kind: &str, claims: &impl Serialize) -> Result<String, MintError> {
        let ring = self.keys.ring();
        let key = ring.signing(self.clock.now());
        let mut header = Header::new(ALGORITHM);
        header.typ = Some(kind.to_owned());
        header.kid = Some(key.id.clone());
        jsonwebtoken::encode(&header, claims, &key.signs).map_err(MintError)
    }

    /// What an access token of ours says, while it is good.
    pub(crate) fn check_access(&self, token: &str) -> Result<AccessClaims, TokenRefused> {
        let claims: AccessClaims = self.check(ACCESS_TYPE, token)?;
        if claims.aud != self.audience {
            return Err(TokenRefused::Audience);
        }
        if claims.exp <= self.clock.now().0 {
            return Err(TokenRefused::Expired);
        }
        Ok(claims)
    }

    /// What an id token of ours says, also after its end: it only tells whose logout this is.
    pub(crate) fn check_id_hint(&self, token: &str) -> Result<IdClaims, TokenRefused> {
        self.check(ID_TYPE, token)
    }

    fn check<Claims: DeserializeOwned>(
        &self,
        kind: &str,
        token: &str,
    ) -> Result<Claims, TokenRefused> {
        let header = jsonwebtoken::decode_header(token).map_err(TokenRefused::Form)?;
        if header.typ.as_deref() != Some(kind) {
            return Err(TokenRefused::Kind);
        }
        let ring = self.keys.ring();
        let key = header.kid.and_then(|id| ring.find(&id)).ok_or(TokenRefused::Key)?;
        // Only our algorithm, whatever the token says. Time and audience are checked by who knows which.
        let mut validation = Validation::new(ALGORITHM);
        validation.set_issuer(&[self.issuer.as_str()]);
        validation.set_required_spec_claims(&["iss", "exp", "sub", "aud"]);
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode(token, &key.verifies, &validation);
        Ok(decoded.map_err(TokenRefused::Signature)?.claims)
    }
}

/// The left half of a token's hash, which ties an id token to it (OpenID Connect Core, 3.1.3.6).
fn half_hash(token: &str) -> String {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    let half = hash.as_ref().len() / 2;
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..half])
}

/// A token could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("a token cannot be signed: {0}")]
pub(crate) struct MintError(#[source] jsonwebtoken::errors::Error);

/// Why a token is not one of ours, or not good any more. Clients are told only that.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenRefused {
    #[error("the token is not a signed token: {0}")]
    Form(#[source] jsonwebtoken::errors::Error),
    #[error("the token is of another kind")]
    Kind,
    #[error("the token names no key of ours")]
    Key,
    #[error("the token is not ours: {0}")]
    Signature(#[source] jsonwebtoken::errors::Error),
    #[error("the token is for somebody else")]
    Audience,
    #[error("the token has expired")]
    Expired,
}
