//! The keys that sign, and their life: published, then signing, then kept until the last token they signed has ended.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::body::Bytes;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::{Clock, Timestamp};
use crate::settings::{Lifetimes, Rotation};
use crate::store::{Store, StoreError, StoredKey};

/// How long others may keep what we publish.
pub(crate) const JWKS_AGE_MAX: Duration = Duration::from_secs(300);
/// How far the clocks of our instances and of those who check tokens may be apart.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(5 * 60);
/// How every key signs. RS256 is not offered: all clients since 2015 know ES256.
pub(crate) const ALGORITHM: Algorithm = Algorithm::ES256;
/// The same, as the table and documents name it.
pub(crate) const ALGORITHM_NAME: &str = "ES256";

/// A JSON Web Key Set (RFC 7517).
#[derive(Serialize, ToSchema)]
pub(crate) struct KeySet {
    /// Those that sign or will sign, and those whose tokens still live.
    keys: Vec<PublicKey>,
}

/// The public half of a key on the curve P-256 (RFC 7518, 6.2.1).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PublicKey {
    /// Always `EC`.
    #[schema(pattern = "^EC$")]
    kty: &'static str,
    /// Always `P-256`.
    #[schema(pattern = "^P-256$")]
    crv: &'static str,
    /// Always `ES256`.
    #[schema(pattern = "^ES256$")]
    alg: &'static str,
    /// Always `sig`: it checks signatures.
    #[serde(rename = "use")]
    #[schema(pattern = "^sig$")]
    purpose: &'static str,
    /// What tokens name the key by: its thumbprint (RFC 7638).
    #[schema(pattern = "^[A-Za-z0-9_-]{43}$")]
    kid: String,
    /// The point's first coordinate, in base64url.
    #[schema(pattern = "^[A-Za-z0-9_-]{43}$")]
    x: String,
    /// The point's second coordinate, in base64url.
    #[schema(pattern = "^[A-Za-z0-9_-]{43}$")]
    y: String,
}

/// One key.
pub(crate) struct SigningKey {
    pub(crate) id: String,
    pub(crate) signs: EncodingKey,
    pub(crate) verifies: DecodingKey,
    signs_from: Timestamp,
    public: PublicKey,
}

impl SigningKey {
    fn generate(planned: Planned) -> Result<StoredKey, KeyError> {
        let Planned { generation, signs_from } = planned;
        let made =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let private_key = made.map_err(|_| KeyError::Generate)?.as_ref().to_vec();
        let algorithm = ALGORITHM_NAME.to_owned();
        Ok(StoredKey { generation, algorithm, private_key, signs_from: signs_from.0 })
    }

    fn load(stored: &StoredKey) -> Result<Self, KeyError> {
        let StoredKey { generation, algorithm, private_key, signs_from } = stored;
        let damaged = |_| KeyError::Damaged { generation: *generation };
        if algorithm != ALGORITHM_NAME {
            return Err(KeyError::Damaged { generation: *generation });
        }
        let signs = EncodingKey::from_ec_der(private_key);
        let jwk = Jwk::from_encoding_key(&signs, ALGORITHM).map_err(damaged)?;
        let id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(damaged)?;
        let verifies = DecodingKey::from_jwk(&jwk).map_err(damaged)?;
        let AlgorithmParameters::EllipticCurve(point) = jwk.algorithm else {
            return Err(KeyError::Damaged { generation: *generation });
        };
        let public = PublicKey {
            kty: "EC",
            crv: "P-256",
            alg: ALGORITHM_NAME,
            purpose: "sig",
            kid: id.clone(),
            x: point.x,
            y: point.y,
        };
        Ok(Self { id, signs, verifies, signs_from: Timestamp(*signs_from), public })
    }
}

/// The keys at one moment, the oldest first; there is at least one.
pub(crate) struct KeyRing {
    keys: Vec<SigningKey>,
    jwks: Bytes,
}

impl KeyRing {
    fn load(stored: &[StoredKey]) -> Result<Self, KeyError> {
        if stored.is_empty() {
            return Err(KeyError::None);
        }
        let keys = stored.iter().map(SigningKey::load).collect::<Result<Vec<_>, _>>()?;
        let public = KeySet { keys: keys.iter().map(|key| key.public.clone()).collect() };
        let jwks = serde_json::to_vec(&public).map_err(KeyError::Publish)?.into();
        Ok(Self { keys, jwks })
    }

    /// The newest key whose time has come.
    pub(crate) fn signing(&self, now: Timestamp) -> &SigningKey {
        let begun = self.keys.iter().rev().find(|key| key.signs_from <= now);
        // Only when the clock went back is none of them begun; `load` took at least one.
        begun.unwrap_or(&self.keys[0])
    }

    /// The key that a token names.
    pub(crate) fn find(&self, id: &str) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// The public halves as a JSON Web Key Set.
    pub(crate) fn jwks(&self) -> Bytes {
        self.jwks.clone()
    }
}

/// The keys, as they are now and as they change.
pub(crate) struct Keys {
    ring: ArcSwap<KeyRing>,
    store: Arc<dyn Store>,
    rotation: Rotation,
    clock: Clock,
}

impl Keys {
    /// Reads the keys, and makes the first if there is none.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        rotation: Rotation,
        clock: Clock,
    ) -> Result<Self, KeyError> {
        if rotation.publish_ahead < 2 * JWKS_AGE_MAX || rotation.every < rotation.publish_ahead {
            return Err(KeyError::Rotation);
        }
        let ring = turn(&*store, rotation, clock.now()).await?;
        Ok(Self { ring: ArcSwap::from_pointee(ring), store, rotation, clock })
    }

    /// The keys of this moment.
    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    /// Makes and removes keys as it is time to, and takes over what other instances made.
    pub(crate) async fn turn(&self) -> Result<(), KeyError> {
        let ring = turn(&*self.store, self.rotation, self.clock.now()).await?;
        self.ring.store(Arc::new(ring));
        Ok(())
    }
}

async fn turn(store: &dyn Store, rotation: Rotation, now: Timestamp) -> Result<KeyRing, KeyError> {
    let stored = store.keys().await?;
    let plan = plan(&stored, rotation, now);
    if let Some(planned) = plan.next {
        let Planned { generation, signs_from } = planned;
        tracing::info!(generation, signs_from = signs_from.0, "a new signing key");
        store.add_key(SigningKey::generate(planned)?).await?;
    }
    if let Some(generation) = plan.remove_before {
        store.remove_keys_before(generation).await?;
    }
    // Another instance may have been faster, so what counts is what is stored.
    KeyRing::load(&store.keys().await?)
}

/// What to do about the keys.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    next: Option<Planned>,
    remove_before: Option<i64>,
}

/// A key to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Planned {
    generation: i64,
    signs_from: Timestamp,
}

/// A table that somebody emptied, because a key had leaked, gets a new key that signs at once.
///
/// A key signs from its time until the next key's time. The next is made early enough to be known everywhere when it
/// begins to sign; one that is over stays while a token that it signed can be alive.
fn plan(stored: &[StoredKey], rotation: Rotation, now: Timestamp) -> Plan {
    let Some(newest) = stored.last() else {
        let first = Planned { generation: 1, signs_from: now };
        return Plan { next: Some(first), remove_before: None };
    };
    let Rotation { every, publish_ahead } = rotation;
    let ends = Timestamp(newest.signs_from).after(every);
    let earliest = now.after(publish_ahead);
    let next = (ends <= earliest)
        .then(|| Planned { generation: newest.generation + 1, signs_from: ends.max(earliest) });
    let all_ended = now.before(Lifetimes::ACCESS_MAX + CLOCKS_APART_MAX);
    let successor = stored.iter().rev().find(|key| Timestamp(key.signs_from) <= all_ended);
    let has_older =
        |key: &&StoredKey| stored.first().is_some_and(|it| it.generation < key.generation);
    Plan { next, remove_before: successor.filter(has_older).map(|key| key.generation) }
}

/// Why there are no keys to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The keys cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Checkers of tokens would not have a new key in time.
    #[error(
        "keys must be published at least {} s before they sign, and sign at least that long",
        2 * JWKS_AGE_MAX.as_secs()
    )]
    Rotation,
    /// The cryptographic library failed.
    #[error("a signing key cannot be made")]
    Generate,
    /// What is stored is no key.
    #[error("the signing key of generation {generation} is damaged")]
    Damaged {
        /// Which key, counted from 1.
        generation: i64,
    },
    /// Somebody emptied the table.
    #[error("there is no signing key")]
    None,
    /// The public keys cannot be written as JSON.
    #[error("the public keys cannot be published: {0}")]
    Publish(#[source] serde_json::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 60 * 60;
    const ROTATION: Rotation = Rotation {
        every: Duration::from_secs(24 * 60 * 60),
        publish_ahead: Duration::from_secs(60 * 60),
    };

    fn stored(keys: &[(i64, i64)]) -> Vec<StoredKey> {
        let stored = |&(generation, signs_from): &(i64, i64)| StoredKey {
            generation,
            algorithm: ALGORITHM_NAME.to_owned(),
            private_key: Vec::new(),
            signs_from,
        };
        keys.iter().map(stored).collect()
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_kept_after() {
        // Each case: the keys (generation, signs from), the time, the key to make, the first key to keep.
        for (keys, now, next, remove_before) in [
            (&[][..], 7 * HOUR, Some((1, 7 * HOUR)), None),
            (&[(1, 0)], HOUR, None, None),
            (&[(1, 0)], 23 * HOUR - 1, None, None),
            (&[(1, 0)], 23 * HOUR, Some((2, 24 * HOUR)), None),
            (&[(1, 0), (2, 24 * HOUR)], 24 * HOUR, None, None),
            (&[(1, 0), (2, 24 * HOUR)], 25 * HOUR + 299, None, None),
            (&[(1, 0), (2, 24 * HOUR)], 25 * HOUR + 300, None, Some(2)),
            // Nobody was there for a week: the next key is published first all the same.
            (&[(1, 0)], 168 * HOUR, Some((2, 169 * HOUR)), None),
            (&[(7, 0), (8, 24 * HOUR)], 168 * HOUR, Some((9, 169 * HOUR)), Some(8)),
            // The clock went back: nothing to do.
            (&[(1, 100 * HOUR)], 0, None, None),
        ] {
            let next =
                next.map(|(generation, from)| Planned { generation, signs_from: Timestamp(from) });
            let planned = plan(&stored(keys), ROTATION, Timestamp(now));
            assert_eq!(planned, Plan { next, remove_before }, "{keys:?} at {now}");
        }
    }

    #[test]
    fn the_newest_key_whose_time_has_come_signs() {
        let made = |generation, signs_from| {
            let signs_from = Timestamp(signs_from);
            SigningKey::generate(Planned { generation, signs_from }).unwrap()
        };
        let ring = KeyRing::load(&[made(1, 0), made(2, 100)]).unwrap();
        let ids: Vec<&str> = ring.keys.iter().map(|key| key.id.as_str()).collect();
        for (now, signing) in [(-5, 0), (0, 0), (99, 0), (100, 1), (1000, 1)] {
            assert_eq!(ring.signing(Timestamp(now)).id, ids[signing], "at {now}");
        }
    }

    #[test]
    fn what_is_published_has_no_private_half() {
        let first = Planned { generation: 1, signs_from: Timestamp(0) };
        let ring = KeyRing::load(&[SigningKey::generate(first).unwrap()]).unwrap();
        let jwks: serde_json::Value = serde_json::from_slice(&ring.jwks()).unwrap();
        let mut names: Vec<&String> = jwks["keys"][0].as_object().unwrap().keys().collect();
        names.sort_unstable();
        assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }

    #[test]
    fn what_is_no_key_is_named() {
        let error = KeyRing::load(&stored(&[(3, 0)])).err().unwrap();
        assert!(error.to_string().contains("generation 3"), "{error}");
        assert!(matches!(KeyRing::load(&[]), Err(KeyError::None)));
    }
}
