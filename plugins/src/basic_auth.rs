//! `basic-auth`: asks for a user name and a password (RFC 7617).
//!
//! 1. Users come from `users` and from the file `htpasswd`, which is read when the configuration is. A name may stand
//!    once. Passwords are kept as argon2id (PHC strings) or bcrypt (`htpasswd -nB -C 12 NAME`); plain text and weak
//!    hashes are refused.
//! 2. A request with the right credentials passes; its identity is the user's name.
//! 3. The upstream does not see `Authorization`, unless `forward = true`: it need not know the passwords.
//! 4. Any other request is refused: no credentials, unreadable ones, an unknown name, a wrong password.
//! 5. Checking a password is dear on purpose. It is done beside the workers, for half of the cores at once; 256 more may
//!    wait. What was right is remembered for `remember` (as a keyed hash, 4,096 of them, also over a reload), so that
//!    ordinary requests cost little. `remember = "0s"` checks each time.
//!
//! What the client sees: `401` with `WWW-Authenticate: Basic realm="…", charset="UTF-8"`, the same and in the same time
//! whether name or password is wrong; `503` with `Retry-After` and the reason `basic-auth-busy` when too many wait.
//!
//! Caveat: the password is in every request as good as readable: use it over HTTPS only. A user that is removed is out
//! with the next reload. Guessing is slow but possible: put a rate limit before it.
//!
//! ```toml
//! plugins = [
//!   { basic-auth = { realm = "staging", htpasswd = "staging.htpasswd", remember = "10m" } },
//!   { basic-auth = { forward = true, users = { alice = "$argon2id$v=19$m=7168,t=5,p=1$bmV3cyBwb3J0YWwgZWRnZQ$sZc4mlDvBo0ZQ7YugPMOR0wzTXq9EYTFAzp4Ak2VK4s" } } },
//! ]
//! ```

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::Deserializer;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::exchange::{Exchange, Flow, Refusal, only_value};
use crate::hooks::{Hooks, Plugin, Step};
use crate::password_hash::{PasswordHash, PasswordHashError};
use crate::registry::BuildError;
use crate::text;
use crate::units::Time;
use crate::verified::Verified;

/// Checks that may wait for their turn; the next is refused.
const WAITING_MAX: usize = 256;
/// Encoded credentials that are longer are not read.
const ENCODED_BYTES_MAX: usize = 4096;

/// Settings of `basic-auth`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "Table")]
#[schemars(!try_from, transparent)]
pub struct Settings(Table);

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Table {
    /// Users and their password hashes.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, PasswordHash>")]
    users: BTreeMap<UserName, PasswordHash>,
    /// A file with one `name:hash` a line.
    htpasswd: Option<PathBuf>,
    /// What the browser shows when it asks. Default: `restricted`.
    #[serde(default)]
    realm: Realm,
    /// Whether the upstream sees `Authorization`. Default: false.
    #[serde(default)]
    forward: bool,
    /// How long a right password is not checked again. Default: 5 minutes.
    #[serde(default = "default_remember")]
    remember: Time,
}

fn default_remember() -> Time {
    Time(Duration::from_secs(300))
}

impl TryFrom<Table> for Settings {
    type Error = &'static str;

    fn try_from(table: Table) -> Result<Self, &'static str> {
        if table.users.is_empty() && table.htpasswd.is_none() {
            return Err("`basic-auth` knows nobody; give it `users` or the file `htpasswd`");
        }
        Ok(Self(table))
    }
}

/// A name that fits before the colon of credentials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct UserName(String);

impl FromStr for UserName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains(|c: char| c == ':' || c.is_control()) {
            return Err(format!(
                "{text:?} is no user name; it needs a character, none of them a colon"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(deserializer)
    }
}

/// A realm that needs no quoting.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(transparent)]
struct Realm(String);

impl Default for Realm {
    fn default() -> Self {
        Self("restricted".to_owned())
    }
}

impl FromStr for Realm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if !text.bytes().all(plain) {
            return Err(format!(
                "{text:?} is no realm; write ASCII without quotes and backslashes"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Realm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(deserializer)
    }
}

/// Why the users cannot be had.
#[derive(Debug, Error)]
pub enum UsersError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file named in the config.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The file has no user.
    #[error("{0} has no users; a line is name:hash, as `htpasswd -nB -C 12 NAME` prints it")]
    Empty(PathBuf),
    /// A line is not `name:hash`.
    #[error("{path}:{line}: this is no line name:hash")]
    NoUser {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A hash is not taken.
    #[error("{path}:{line}: {reason}")]
    Hash {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: PasswordHashError,
    },
    /// A name stands twice.
    #[error("{path}:{line}: the user {name} stands twice; which password is the right one?")]
    Twice {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The name.
        name: String,
    },
}

impl Settings {
    /// Makes the plugin. The file of users is read here.
    pub fn build(&self) -> Result<BasicAuth, BuildError> {
        let Table { users, htpasswd, realm: Realm(realm), forward, remember } = &self.0;
        let mut all: HashMap<Box<str>, Arc<PasswordHash>> = users
            .iter()
            .map(|(UserName(name), hash)| (name.as_str().into(), Arc::new(hash.clone())))
            .collect();
        if let Some(path) = htpasswd {
            read_htpasswd(path, &mut all)?;
        }
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let at_once = (cores / 2).max(1);
        Ok(BasicAuth {
            decoys: all.values().cloned().collect(),
            decoy_key: RandomState::new(),
            users: all,
            challenge: HeaderValue::try_from(challenge).expect("a realm is printable ASCII"),
            forward: *forward,
            remember: remember.0,
            verified: Arc::new(Verified::new()),
            running: Arc::new(Semaphore::new(at_once)),
            admitted: Arc::new(Semaphore::new(at_once + WAITING_MAX)),
        })
    }
}

fn read_htpasswd(
    path: &Path,
    users: &mut HashMap<Box<str>, Arc<PasswordHash>>,
) -> Result<(), UsersError> {
    let text = std::fs::read_to_string(path)
        .map_err(|reason| UsersError::Unreadable { path: path.to_owned(), reason })?;
    let lines = text.lines().map(str::trim).enumerate();
    let mut found = 0;
    for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let place = || (path.to_owned(), index + 1);
        let parts = line.split_once(':').and_then(|(name, hash)| Some((name.parse().ok()?, hash)));
        let Some((UserName(name), hash)) = parts else {
            let (path, line) = place();
            return Err(UsersError::NoUser { path, line });
        };
        let hash = hash.parse().map_err(|reason| {
            let (path, line) = place();
            UsersError::Hash { path, line, reason }
        })?;
        if users.insert(name.as_str().into(), Arc::new(hash)).is_some() {
            let (path, line) = place();
            return Err(UsersError::Twice { path, line, name });
        }
        found += 1;
    }
    if found == 0 { Err(UsersError::Empty(path.to_owned())) } else { Ok(()) }
}

/// See the module.
pub struct BasicAuth {
    users: HashMap<Box<str>, Arc<PasswordHash>>,
    /// The same hashes: an unknown name is checked against one of them, always the same for the same name, so that
    /// time does not tell who exists.
    decoys: Vec<Arc<PasswordHash>>,
    decoy_key: RandomState,
    challenge: HeaderValue,
    forward: bool,
    remember: Duration,
    verified: Arc<Verified>,
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

impl Plugin for BasicAuth {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    /// Fingerprints hold the stored hash, so that a changed password is not remembered as right.
    fn inherit(&mut self, predecessor: &dyn Any) {
        if let Some(old) = predecessor.downcast_ref::<Self>() {
            self.verified = Arc::clone(&old.verified);
            self.running = Arc::clone(&old.running);
            self.admitted = Arc::clone(&old.admitted);
        }
    }

    fn request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a, Flow> {
        if !exchange.request.headers.contains_key(header::AUTHORIZATION) {
            return Step::Done(
                self.refuse("basic-auth-missing", "a user name and a password are required"),
            );
        }
        let value = only_value(&exchange.request.headers, &header::AUTHORIZATION);
        let Some(credentials) = value.and_then(Credentials::read) else {
            return Step::Done(self.refuse("basic-auth-wrong", "these credentials cannot be read"));
        };
        match self.users.get(credentials.name()) {
            Some(hash) if self.remembers(hash, &credentials) => {
                Step::Done(self.admit(exchange, &credentials))
            }
            hash => Step::Later(Box::pin(self.check(exchange, credentials, hash.cloned()))),
        }
    }
}

impl BasicAuth {
    fn remembers(&self, hash: &PasswordHash, credentials: &Credentials) -> bool {
        let print = self.verified.fingerprint((hash.as_str(), &credentials.text));
        self.verified.holds(print, Instant::now(), self.remember)
    }

    /// Computes the hash beside the workers; without `hash`, for an unknown name, a decoy's.
    async fn check(
        &self,
        exchange: &mut Exchange,
        credentials: Credentials,
        hash: Option<Arc<PasswordHash>>,
    ) -> Flow {
        let Ok(admitted) = Arc::clone(&self.admitted).try_acquire_owned() else { return busy() };
        let Ok(running) = Arc::clone(&self.running).acquire_owned().await else { return busy() };
        // While this one waited, the same credentials may have been found right.
        if hash.as_ref().is_some_and(|hash| self.remembers(hash, &credentials)) {
            return self.admit(exchange, &credentials);
        }
        let against = hash.as_ref().unwrap_or_else(|| self.decoy(credentials.name())).clone();
        let checked = credentials.clone();
        let check = tokio::task::spawn_blocking(move || {
            // A check that has begun cannot be stopped: it keeps its permits even if nobody waits for it any more.
            let _permits = (admitted, running);
            against.verifies(checked.password())
        });
        match (check.await, hash) {
            (Ok(true), Some(hash)) => {
                let print = self.verified.fingerprint((hash.as_str(), &credentials.text));
                self.verified.remember(print, Instant::now());
                self.admit(exchange, &credentials)
            }
            _ => self.refuse("basic-auth-wrong", "user name or password is wrong"),
        }
    }

    fn decoy(&self, name: &str) -> &Arc<PasswordHash> {
        let pick = self.decoy_key.hash_one(name) % self.decoys.len() as u64;
        // Less than the number of decoys, so no platform loses a bit.
        &self.decoys[pick as usize]
    }

    fn admit(&self, exchange: &mut Exchange, credentials: &Credentials) -> Flow {
        if !self.forward {
            exchange.request.headers.remove(header::AUTHORIZATION);
        }
        exchange.client.identity = Some(credentials.name().into());
        Flow::Continue
    }

    fn refuse(&self, reason: &'static str, detail: &'static str) -> Flow {
        Refusal::new(StatusCode::UNAUTHORIZED, reason, detail)
            .with_header(header::WWW_AUTHENTICATE, self.challenge.clone())
            .into()
    }
}

fn busy() -> Flow {
    let detail = "too many logins at once; try again in a moment";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "basic-auth-busy", detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        .into()
}

/// What stands behind `Basic`: name, colon, password.
#[derive(Clone)]
struct Credentials {
    text: String,
    colon: usize,
}

impl Credentials {
    fn read(value: &HeaderValue) -> Option<Self> {
        /// Padding is asked for by the standard and left out by some clients.
        const ENGINE: GeneralPurpose = GeneralPurpose::new(
            &STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
        let encoded = encoded.trim_start_matches(' ');
        if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > ENCODED_BYTES_MAX {
            return None;
        }
        let text = String::from_utf8(ENGINE.decode(encoded).ok()?).ok()?;
        let colon = text.find(':')?;
        (!text.contains(char::is_control)).then_some(Self { text, colon })
    }

    fn name(&self) -> &str {
        &self.text[..self.colon]
    }

    fn password(&self) -> &str {
        &self.text[self.colon + 1..]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use base64::engine::general_purpose;
    use proptest::prelude::*;

    use super::*;
    use crate::password_hash::tests::{ARGON2ID, BCRYPT};

    fn plugin(more: &str) -> BasicAuth {
        let settings = format!("users = {{ alice = '{ARGON2ID}', bob = '{BCRYPT}' }}\n{more}");
        toml::from_str::<Settings>(&settings).unwrap().build().unwrap()
    }

    fn asking(credentials: &str) -> Exchange {
        let encoded = general_purpose::STANDARD.encode(credentials);
        Exchange::example(
            http::Request::get("/").header("authorization", format!("Basic {encoded}")),
        )
    }

    fn run<T>(step: Step<'_, T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(step.done())
    }

    fn refusal(flow: Flow) -> Refusal {
        let Flow::Refuse(refusal) = flow else { panic!("refused, not {flow:?}") };
        *refusal
    }

    #[test]
    fn the_right_password_passes_is_remembered_and_stays_here() {
        let plugin = plugin("");
        for (credentials, name) in [("alice:correct horse", "alice"), ("bob:battery", "bob")] {
            let mut first = asking(credentials);
            let step = plugin.request(&mut first);
            assert!(matches!(step, Step::Later(_)), "the first check is computed");
            assert!(matches!(run(step), Flow::Continue));
            let mut second = asking(credentials);
            assert!(matches!(plugin.request(&mut second), Step::Done(Flow::Continue)));
            for exchange in [first, second] {
                assert_eq!(exchange.client.identity.as_deref(), Some(name));
                assert!(!exchange.request.headers.contains_key("authorization"));
            }
        }
    }

    #[test]
    fn an_unknown_name_is_checked_and_refused_like_a_wrong_password() {
        let plugin = plugin("realm = 'the news'");
        for credentials in ["bob:wrong", "mallory:battery", "bob:", ":battery", "Bob:battery"] {
            for _ in 0..2 {
                let mut exchange = asking(credentials);
                let step = plugin.request(&mut exchange);
                assert!(matches!(step, Step::Later(_)), "{credentials}: computed each time");
                let refusal = refusal(run(step));
                assert_eq!((refusal.status.as_u16(), refusal.reason), (401, "basic-auth-wrong"));
                assert_eq!(refusal.detail, "user name or password is wrong");
                let challenge = r#"Basic realm="the news", charset="UTF-8""#;
                assert_eq!(refusal.headers["www-authenticate"], challenge);
                assert_eq!(exchange.client.identity, None);
            }
        }
    }

    #[test]
    fn unreadable_credentials_are_refused_at_once() {
        let plugin = plugin("");
        let long = format!("Basic {}", "YTpi".repeat(2_000));
        for value in [
            "Basic",
            "Basic ",
            "Basic !!!",
            "Bearer Ym9iOmJhdHRlcnk=",
            "Basic Ym9i",
            "Basic Ym9iOgA=",
            "Basic Ym9iOv8=",
            "Basic Ym9iOmJhdHRlcnk= x",
            long.as_str(),
        ] {
            let mut exchange =
                Exchange::example(http::Request::get("/").header("authorization", value));
            let refusal = refusal(plugin.request(&mut exchange).now().expect(value));
            assert_eq!(
                (refusal.status.as_u16(), refusal.reason),
                (401, "basic-auth-wrong"),
                "{value}"
            );
        }
        let twice = http::Request::get("/")
            .header("authorization", "Basic YTpi")
            .header("authorization", "Basic YTpi");
        assert_eq!(
            refusal(plugin.request(&mut Exchange::example(twice)).now().unwrap()).reason,
            "basic-auth-wrong"
        );
        let none = Exchange::example(http::Request::get("/"));
        assert_eq!(
            refusal(plugin.request(&mut { none }).now().unwrap()).reason,
            "basic-auth-missing"
        );
    }

    #[test]
    fn the_upstream_sees_the_password_only_when_told_so() {
        let plugin = plugin("forward = true\nremember = '0s'");
        for _ in 0..2 {
            let mut exchange = asking("bob:battery");
            let step = plugin.request(&mut exchange);
            assert!(matches!(step, Step::Later(_)), "nothing is remembered for 0s");
            assert!(matches!(run(step), Flow::Continue));
            assert!(exchange.request.headers.contains_key("authorization"));
        }
    }

    #[test]
    fn a_reload_remembers_unless_the_password_has_changed() {
        let old = plugin("");
        assert!(matches!(run(old.request(&mut asking("bob:battery"))), Flow::Continue));
        let mut same = plugin("");
        same.inherit(&old);
        assert!(matches!(same.request(&mut asking("bob:battery")), Step::Done(Flow::Continue)));
        let changed = format!("users = {{ bob = '{ARGON2ID}' }}");
        let mut changed = toml::from_str::<Settings>(&changed).unwrap().build().unwrap();
        changed.inherit(&old);
        let flow = run(changed.request(&mut asking("bob:battery")));
        assert_eq!(refusal(flow).reason, "basic-auth-wrong");
    }

    #[test]
    fn too_many_at_once_are_told_to_come_back() {
        let plugin = plugin("");
        let all = u32::try_from(plugin.admitted.available_permits()).unwrap();
        let permits = plugin.admitted.try_acquire_many(all).unwrap();
        let refused = refusal(run(plugin.request(&mut asking("bob:battery"))));
        assert_eq!((refused.status.as_u16(), refused.reason), (503, "basic-auth-busy"));
        assert_eq!(refused.headers["retry-after"], "1");
        drop(permits);
        assert!(matches!(run(plugin.request(&mut asking("bob:battery"))), Flow::Continue));
    }

    #[test]
    fn a_client_that_goes_away_gives_its_permits_back() {
        let plugin = plugin("");
        let before = (plugin.running.available_permits(), plugin.admitted.available_permits());
        let mut exchange = asking("bob:battery");
        let Step::Later(mut future) = plugin.request(&mut exchange) else {
            panic!("it is computed")
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            std::future::poll_fn(|task| {
                std::task::Poll::Ready(future.as_mut().poll(task).is_pending())
            })
            .await
        });
        drop(future);
        // Dropping the runtime waits for the check that has begun.
        drop(runtime);
        let after = (plugin.running.available_permits(), plugin.admitted.available_permits());
        assert_eq!(after, before);
    }

    #[test]
    fn an_htpasswd_file_is_read_and_its_faults_are_shown_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let build = |content: &str| {
            std::fs::File::create(&path).unwrap().write_all(content.as_bytes()).unwrap();
            let settings = format!("htpasswd = '{}'", path.display());
            toml::from_str::<Settings>(&settings).unwrap().build()
        };
        let plugin = build(&format!("# staging\n\nbob:{BCRYPT}\r\n")).unwrap();
        assert!(matches!(run(plugin.request(&mut asking("bob:battery"))), Flow::Continue));
        for (content, message) in [
            (String::new(), "has no users"),
            ("# nobody\n".to_owned(), "has no users"),
            (format!("bob:{BCRYPT}\nalice\n"), "users:2: this is no line name:hash"),
            (format!("bob:{BCRYPT}\n\nalice:secret\n"), "users:3: this is no password hash"),
            (format!("bob:{BCRYPT}\nbob:{BCRYPT}\n"), "users:2: the user bob stands twice"),
        ] {
            let error = build(&content).err().unwrap().to_string();
            assert!(error.contains(message) && !error.contains("secret"), "{content}: {error}");
        }
        drop(folder);
        let settings = format!("htpasswd = '{}'", path.display());
        let error = toml::from_str::<Settings>(&settings).unwrap().build().err().unwrap();
        assert!(error.to_string().starts_with("cannot read "), "{error}");
    }

    #[test]
    fn bad_settings_say_what_would_have_done() {
        for (settings, message) in [
            ("realm = 'x'".to_owned(), "give it `users` or the file `htpasswd`"),
            ("[users]\nalice = 'secret'".to_owned(), "line 2"),
            ("[users]\nalice = 'secret'".to_owned(), "this is no password hash"),
            (format!("[users]\n'a:b' = '{BCRYPT}'"), "is no user name"),
            (format!("[users]\n'' = '{BCRYPT}'"), "is no user name"),
            (format!("realm = 'a\"b'\nusers = {{ bob = '{BCRYPT}' }}"), "is no realm"),
            (format!("users = {{ bob = '{BCRYPT}' }}\nhtpaswd = 'x'"), "unknown field `htpaswd`"),
        ] {
            let error = toml::from_str::<Settings>(&settings).unwrap_err().to_string();
            assert!(error.contains(message), "{settings}: {error}");
        }
    }

    proptest! {
        #[test]
        fn credentials_come_out_as_they_went_in(name in "[^:\\p{Cc}]{0,20}", password in "\\P{Cc}{0,20}", padded: bool, scheme in "[Bb][Aa][Ss][Ii][Cc]") {
            let engine = if padded { general_purpose::STANDARD } else { general_purpose::STANDARD_NO_PAD };
            let encoded = engine.encode(format!("{name}:{password}"));
            let value = HeaderValue::try_from(format!("{scheme} {encoded}")).unwrap();
            let credentials = Credentials::read(&value).unwrap();
            prop_assert_eq!((credentials.name(), credentials.password()), (name.as_str(), password.as_str()));
        }

        #[test]
        fn no_header_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(read) = HeaderValue::from_bytes(&bytes).ok().and_then(|value| Credentials::read(&value)) {
                prop_assert!(!read.name().contains(':'));
            }
            let value = HeaderValue::try_from(format!("Basic {}", general_purpose::STANDARD.encode(&bytes))).unwrap();
            let read = Credentials::read(&value);
            prop_assert!(read.is_none() || bytes.contains(&b':'));
        }
    }
}
