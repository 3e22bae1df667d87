//! What an application asks when it sends a browser here: text to checked types, or a refusal that goes to the right
//! place.

use std::time::Duration;

use crate::clients::{Client, RedirectUri, Registry};
use crate::provider::parameters::Parameters;
use crate::scope::Scope;
use crate::secret::SECRET_CHARACTERS;
use crate::settings::Issuer;

/// The longest request as text: it comes back in a hidden field of the login form.
const REQUEST_BYTES_MAX: usize = 4096;
/// The longest nonce: it is stored with the code.
const NONCE_BYTES_MAX: usize = 512;

/// A request that can be answered.
#[derive(Debug)]
pub(crate) struct AuthorizationRequest<'a> {
    pub(crate) client: &'a Client,
    pub(crate) back: ReturnAddress<'a>,
    pub(crate) scope: Scope,
    /// PKCE, S256.
    pub(crate) challenge: String,
    /// Empty if there was none.
    pub(crate) nonce: String,
    pub(crate) prompt: Prompt,
    /// The longest time since the password was given.
    pub(crate) age_max: Option<Duration>,
    /// Who the application thinks it is.
    pub(crate) login_hint: String,
}

/// Whether the user may or must be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// If it is needed.
    AsNeeded,
    /// In no case.
    Never,
    /// In any case.
    Always,
}

/// Where the answer goes: an address that the client has registered, with the state it sent.
#[derive(Debug)]
pub(crate) struct ReturnAddress<'a> {
    pub(crate) redirect_uri: &'a RedirectUri,
    state: Option<String>,
}

impl ReturnAddress<'_> {
    /// The address with an answer, the state, and who answers (RFC 9207).
    pub(crate) fn with(&self, answer: &[(&str, &str)], issuer: &Issuer) -> String {
        let mut parameters = answer.to_vec();
        if let Some(state) = &self.state {
            parameters.push(("state", state));
        }
        parameters.push(("iss", issuer.as_str()));
        self.redirect_uri.with(&parameters)
    }
}

/// Why a request is not answered with a code.
#[derive(Debug)]
pub(crate) enum AuthorizationRefused<'a> {
    /// It is not sure where the answer belongs, so the user reads it here.
    Here(&'static str),
    /// The application gets to know.
    There { back: ReturnAddress<'a>, error: AuthorizationError },
}

/// What the application gets to know: a code of RFC 6749 or OpenID Connect, and a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuthorizationError {
    pub(crate) code: &'static str,
    pub(crate) description: &'static str,
}

impl AuthorizationError {
    pub(crate) const LOGIN_REQUIRED: Self = Self::new("login_required", "the user has to log in");
    pub(crate) const UNAVAILABLE: Self =
        Self::new("temporarily_unavailable", "the service cannot do this now");

    const fn new(code: &'static str, description: &'static str) -> Self {
        Self { code, description }
    }

    const fn invalid(description: &'static str) -> Self {
        Self::new("invalid_request", description)
    }
}

impl<'a> AuthorizationRequest<'a> {
    /// Takes the text of a query or a form apart.
    pub(crate) fn parse(
        text: &str,
        registry: &'a Registry,
    ) -> Result<Self, AuthorizationRefused<'a>> {
        use AuthorizationRefused::{Here, There};
        if text.len() > REQUEST_BYTES_MAX {
            return Err(Here("The request is too long."));
        }
        let mut parameters =
            Parameters::parse(text).map_err(|_| Here("The request says one thing twice."))?;
        let client = parameters.take("client_id").and_then(|id| registry.client(&id));
        let client = client.ok_or(Here("The application is not known here."))?;
        let redirect_uri = parameters.take("redirect_uri");
        let redirect_uri = redirect_uri.and_then(|text| client.redirect_uri(&text)).ok_or(Here(
            "The application wants the answer at an address that is not registered for it.",
        ))?;
        let back = ReturnAddress { redirect_uri, state: parameters.take("state") };
        match Wanted::parse(&mut parameters) {
            Ok(Wanted { scope, challenge, nonce, prompt, age_max, login_hint }) => {
                Ok(Self { client, back, scope, challenge, nonce, prompt, age_max, login_hint })
            }
            Err(error) => Err(There { back, error }),
        }
    }
}

/// What is left of a request when it is known who asks and where the answer goes.
struct Wanted {
    scope: Scope,
    challenge: String,
    nonce: String,
    prompt: Prompt,
    age_max: Option<Duration>,
    login_hint: String,
}

impl Wanted {
    fn parse(parameters: &mut Parameters) -> Result<Self, AuthorizationError> {
        refuse_what_is_not_offered(parameters)?;
        let scope = parameters.take("scope").unwrap_or_default();
        let scope = Scope::requested(&scope)
            .ok_or(AuthorizationError::new("invalid_scope", "scope must contain openid"))?;
        let nonce = parameters.take("nonce").unwrap_or_default();
        if nonce.len() > NONCE_BYTES_MAX {
            return Err(AuthorizationError::invalid("nonce is too long"));
        }
        Ok(Self {
            scope,
            challenge: challenge(parameters)?,
            nonce,
            prompt: prompt(parameters)?,
            age_max: age_max(parameters)?,
            login_hint: parameters.take("login_hint").unwrap_or_default(),
        })
    }
}

fn refuse_what_is_not_offered(parameters: &mut Parameters) -> Result<(), AuthorizationError> {
    for (name, code) in [
        ("request", "request_not_supported"),
        ("request_uri", "request_uri_not_supported"),
        ("registration", "registration_not_supported"),
    ] {
        if parameters.take(name).is_some() {
            return Err(AuthorizationError::new(code, "this parameter is not supported"));
        }
    }
    match parameters.take("response_type").as_deref() {
        Some("code") => {}
        Some(_) => {
            let description = "response_type must be code";
            return Err(AuthorizationError::new("unsupported_response_type", description));
        }
        None => return Err(AuthorizationError::invalid("response_type is missing")),
    }
    match parameters.take("response_mode").as_deref() {
        Some("query") | None => Ok(()),
        Some(_) => Err(AuthorizationError::invalid("response_mode must be query")),
    }
}

/// PKCE is required of every client, and only with S256.
fn challenge(parameters: &mut Parameters) -> Result<String, AuthorizationError> {
    let method = parameters.take("code_challenge_method");
    let challenge = parameters
        .take("code_challenge")
        .ok_or(AuthorizationError::invalid("code_challenge is missing: PKCE is required"))?;
    if method.as_deref() != Some("S256") {
        return Err(AuthorizationError::invalid("code_challenge_method must be S256"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    // SHA-256 in base64 without padding, as our own secrets.
    if challenge.len() != SECRET_CHARACTERS || !challenge.bytes().all(plain) {
        return Err(AuthorizationError::invalid("code_challenge is no SHA-256 in base64url"));
    }
    Ok(challenge)
}

fn prompt(parameters: &mut Parameters) -> Result<Prompt, AuthorizationError> {
    let text = parameters.take("prompt").unwrap_or_default();
    let mut prompt = Prompt::AsNeeded;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match word {
            "none" if text.trim() == "none" => prompt = Prompt::Never,
            "login" | "select_account" => prompt = Prompt::Always,
            // Nobody is asked for consent: the operator chose the clients.
            "consent" => {}
            _ => {
                let description = "prompt must be none, or of login, select_account, consent";
                return Err(AuthorizationError::invalid(description));
            }
        }
    }
    Ok(prompt)
}

fn age_max(parameters: &mut Parameters) -> Result<Option<Duration>, AuthorizationError> {
    let Some(text) = parameters.take("max_age") else {
        return Ok(None);
    };
    let seconds: u32 = text
        .parse()
        .map_err(|_| AuthorizationError::invalid("max_age must be a number of seconds"))?;
    Ok(Some(Duration::from_secs(seconds.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn registry() -> Registry {
        Registry::demo("http://127.0.0.1:9/callback", "http://127.0.0.1:9/").unwrap()
    }

    fn usual() -> Vec<(&'static str, &'static str)> {
        vec![
            ("client_id", "demo"),
            ("redirect_uri", "http://127.0.0.1:9/callback"),
            ("response_type", "code"),
            ("scope", "openid email"),
            ("state", "s t"),
            ("nonce", "n"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]
    }

    fn text(parameters: &[(&str, &str)]) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
    }

    #[test]
    fn a_request_is_taken_apart() {
        let registry = registry();
        let mut parameters = usual();
        parameters.extend([("prompt", "login consent"), ("max_age", "60"), ("display", "page")]);
        let request = AuthorizationRequest::parse(&text(&parameters), &registry).unwrap();
        assert_eq!(request.scope.as_str(), "openid email");
        assert_eq!((&*request.challenge, &*request.nonce), (CHALLENGE, "n"));
        assert_eq!(request.prompt, Prompt::Always);
        assert_eq!(request.age_max, Some(Duration::from_secs(60)));
        let issuer = "https://portal.example/auth".parse().unwrap();
        assert_eq!(
            request.back.with(&[("code", "c")], &issuer),
            "http://127.0.0.1:9/callback?code=c&state=s+t&iss=https%3A%2F%2Fportal.example%2Fauth"
        );
    }

    #[test]
    fn without_a_sure_address_the_user_reads_the_refusal() {
        let registry = registry();
        for (name, value) in [
            ("client_id", None),
            ("client_id", Some("other")),
            ("redirect_uri", None),
            ("redirect_uri", Some("http://127.0.0.1:9/callback/")),
            ("redirect_uri", Some("http://127.0.0.1:9/callback?x=1")),
            ("redirect_uri", Some("https://evil.example/")),
        ] {
            let mut parameters = usual();
            parameters.retain(|(key, _)| *key != name);
            parameters.extend(value.map(|value| (name, value)));
            let refused = AuthorizationRequest::parse(&text(&parameters), &registry);
            assert!(matches!(refused, Err(AuthorizationRefused::Here(_))), "{name} {value:?}");
        }
        let mut twice = usual();
        twice.push(("state", "other"));
        let long = "x".repeat(REQUEST_BYTES_MAX);
        for text in [text(&twice), text(&[("client_id", &long)])] {
            let refused = AuthorizationRequest::parse(&text, &registry);
            assert!(matches!(refused, Err(AuthorizationRefused::Here(_))), "{text}");
        }
    }

    #[test]
    fn every_other_refusal_goes_to_the_application() {
        let registry = registry();
        let long = "x".repeat(NONCE_BYTES_MAX + 1);
        for (name, value, code) in [
            ("response_type", None, "invalid_request"),
            ("response_type", Some("token"), "unsupported_response_type"),
            ("response_type", Some("code id_token"), "unsupported_response_type"),
            ("response_mode", Some("fragment"), "invalid_request"),
            ("scope", None, "invalid_scope"),
            ("scope", Some("email"), "invalid_scope"),
            ("nonce", Some(&*long), "invalid_request"),
            ("code_challenge", None, "invalid_request"),
            ("code_challenge", Some("short"), "invalid_request"),
            ("code_challenge_method", None, "invalid_request"),
            ("code_challenge_method", Some("plain"), "invalid_request"),
            ("prompt", Some("none login"), "invalid_request"),
            ("prompt", Some("create"), "invalid_request"),
            ("max_age", Some("-1"), "invalid_request"),
            ("request", Some("e30"), "request_not_supported"),
            ("request_uri", Some("https://x.example/"), "request_uri_not_supported"),
        ] {
            let mut parameters = usual();
            parameters.retain(|(key, _)| *key != name);
            parameters.extend(value.map(|value| (name, value)));
            match AuthorizationRequest::parse(&text(&parameters), &registry) {
                Err(AuthorizationRefused::There { back, error }) => {
                    assert_eq!(error.code, code, "{name} {value:?}");
                    assert_eq!(back.state.as_deref(), Some("s t"));
                }
                other => panic!("{name} {value:?} led to {other:?}"),
            }
        }
    }
}
