//! A browser as far as a login needs one: cookies, forms, and addresses to be sent to.

use std::collections::BTreeMap;

use hyper::header;
use serde_json::Value;

use crate::rig::{Answer, Rig, form, form_request};
use crate::users_stub::PASSWORD;

/// RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const CALLBACK: &str = "https://portal.test/callback";

/// What the client `web` usually asks.
pub(crate) const USUAL: [(&str, &str); 8] = [
    ("client_id", "web"),
    ("redirect_uri", CALLBACK),
    ("response_type", "code"),
    ("scope", "openid profile email"),
    ("state", "some state"),
    ("nonce", "some nonce"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
];

/// The usual request with one parameter changed, or left out if it is empty.
pub(crate) fn usual_but(name: &str, value: &str) -> String {
    let mut pairs = USUAL.to_vec();
    pairs.retain(|(key, _)| *key != name);
    pairs.push((name, value));
    pairs.retain(|(_, value)| !value.is_empty());
    format!("/authorize?{}", form(&pairs))
}

pub(crate) fn usual() -> String {
    format!("/authorize?{}", form(&USUAL))
}

/// Cookies, and the service they are for.
pub(crate) struct Browser<'a> {
    rig: &'a Rig,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(rig: &'a Rig) -> Self {
        Self { rig, cookies: BTreeMap::new() }
    }

    pub(crate) async fn open(&mut self, path: &str) -> Answer {
        let request = hyper::Request::get(path).body(http_body_util::Full::default()).unwrap();
        self.send(request).await
    }

    pub(crate) async fn post(&mut self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        self.send(form_request(path, pairs)).await
    }

    pub(crate) async fn send(
        &mut self,
        mut request: hyper::Request<http_body_util::Full<hyper::body::Bytes>>,
    ) -> Answer {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request.headers_mut().insert(header::COOKIE, cookies.join("; ").parse().unwrap());
        }
        let answer = self.rig.send(request).await;
        for set in answer.headers.get_all(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            for held in ["Path=/;", "HttpOnly", "SameSite=Lax", "Secure"] {
                assert!(set.contains(held), "{held} is not in {set}");
            }
            let (name, rest) = set.split_once('=').unwrap();
            assert!(name.starts_with("__Host-"), "{set}");
            let value = rest.split(';').next().unwrap();
            if set.contains("Max-Age=0;") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// Fills in the login form that the answer shows, and sends it.
    pub(crate) async fn fill_in(&mut self, form: &Answer, email: &str, password: &str) -> Answer {
        let csrf = hidden(form, "csrf");
        let authorization = hidden(form, "authorization");
        let pairs = [
            ("csrf", csrf.as_str()),
            ("authorization", &authorization),
            ("email", email),
            ("password", password),
        ];
        self.post("/authorize/login", &pairs).await
    }

    /// Goes through the whole login of Ann and brings back the code.
    pub(crate) async fn code(&mut self, path: &str) -> String {
        let mut answer = self.open(path).await;
        if answer.status == 200 {
            answer = self.fill_in(&answer, "ann@example.org", PASSWORD).await;
        }
        let address = answer.header("location").split('?').next().unwrap().to_owned();
        answer.answered(&address).of("code").unwrap().to_owned()
    }
}

/// A hidden field of a page.
pub(crate) fn hidden(page: &Answer, name: &str) -> String {
    let begin = format!("name=\"{name}\" value=\"");
    let (_, rest) = page.text.split_once(&begin).unwrap_or_else(|| panic!("{}", page.text));
    let value = rest.split('"').next().unwrap();
    value.replace("&quot;", "\"").replace("&lt;", "<").replace("&amp;", "&")
}

/// Exchanges a code of the client `web`.
pub(crate) async fn exchange(rig: &Rig, code: &str) -> Answer {
    exchange_with(rig, &[("code", code)]).await
}

/// The same with other parameters; one that is empty is left out.
pub(crate) async fn exchange_with(rig: &Rig, other: &[(&str, &str)]) -> Answer {
    let mut pairs = vec![
        ("grant_type", "authorization_code"),
        ("client_id", "web"),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    pairs.retain(|(key, _)| !other.iter().any(|(name, _)| name == key));
    pairs.extend(other.iter().filter(|(_, value)| !value.is_empty()));
    rig.post_form("/token", &pairs).await
}

/// Exchanges a refresh token of the client `web`.
pub(crate) async fn refresh(rig: &Rig, token: &Value) -> Answer {
    let pairs = [
        ("grant_type", "refresh_token"),
        ("client_id", "web"),
        ("refresh_token", token.as_str().unwrap()),
    ];
    rig.post_form("/token", &pairs).await
}
