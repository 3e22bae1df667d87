//! The two cookies of a browser: the session it is logged in with, and the token that its forms must repeat.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

use crate::secret::Secret;
use crate::settings::Issuer;

/// Which of the two.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cookie {
    /// Who is logged in.
    Session,
    /// What a form must repeat, so that no other site can send it.
    Csrf,
}

impl Cookie {
    /// Over TLS the prefix keeps others from setting it: neither plain HTTP nor a sister domain can.
    fn name(self, issuer: &Issuer) -> &'static str {
        match (self, issuer.is_https()) {
            (Self::Session, true) => "__Host-auth-session",
            (Self::Session, false) => "auth-session",
            (Self::Csrf, true) => "__Host-auth-csrf",
            (Self::Csrf, false) => "auth-csrf",
        }
    }

    /// The secret in this cookie, if the browser sent one that could be ours.
    pub(crate) fn read(self, headers: &HeaderMap, issuer: &Issuer) -> Option<Secret> {
        let name = self.name(issuer);
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|it| it.split_once('='));
        let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
        Secret::parse(value.trim())
    }

    /// Sets the cookie. `Lax`: it comes along when an application sends the browser here, not when another site posts.
    pub(crate) fn set(self, secret: &Secret, issuer: &Issuer, age_max: Duration) -> HeaderValue {
        self.header(secret.reveal(), issuer, age_max)
    }

    /// Removes the cookie.
    pub(crate) fn clear(self, issuer: &Issuer) -> HeaderValue {
        self.header("", issuer, Duration::ZERO)
    }

    fn header(self, value: &str, issuer: &Issuer, age_max: Duration) -> HeaderValue {
        let name = self.name(issuer);
        // The prefix __Host- wants the path / and Secure.
        let (path, secure) =
            if issuer.is_https() { ("/", "; Secure") } else { (issuer.path(), "") };
        let seconds = age_max.as_secs();
        let text = format!(
            "{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        );
        HeaderValue::try_from(text).expect("names, base64 and the path of a URL are printable")
    }
}

/// Whether a form comes from our own page: it repeats the secret of the cookie, and the browser, if it says where the
/// form stood, names us.
pub(crate) fn form_is_ours(headers: &HeaderMap, issuer: &Issuer, repeated: Option<&str>) -> bool {
    let cookie = Cookie::Csrf.read(headers, issuer);
    let repeats = cookie.zip(repeated).is_some_and(|(cookie, repeated)| cookie.is(repeated));
    let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
    repeats && origin.is_none_or(|origin| origin == issuer.origin().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookie: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    #[test]
    fn cookies_are_held_to_tls_where_there_is_tls() {
        let https: Issuer = "https://portal.example/auth/v1".parse().unwrap();
        let http: Issuer = "http://127.0.0.1:8080/auth/v1".parse().unwrap();
        let secret = Secret::random();
        let age = Duration::from_secs(60);
        assert_eq!(
            Cookie::Session.set(&secret, &https, age).to_str().unwrap(),
            format!(
                "__Host-auth-session={}; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure",
                secret.reveal()
            )
        );
        assert_eq!(
            Cookie::Csrf.clear(&http).to_str().unwrap(),
            "auth-csrf=; Path=/auth/v1; Max-Age=0; HttpOnly; SameSite=Lax"
        );
        let line = format!("a=b; __Host-auth-session={}; c", secret.reveal());
        assert!(Cookie::Session.read(&headers(&line, None), &https).is_some());
        assert!(Cookie::Session.read(&headers(&line, None), &http).is_none());
        assert!(Cookie::Csrf.read(&headers(&line, None), &https).is_none());
        assert!(Cookie::Session.read(&headers("auth-session=x", None), &http).is_none());
    }

    #[test]
    fn a_form_of_another_site_is_not_ours() {
        let issuer: Issuer = "http://127.0.0.1:8080/auth/v1".parse().unwrap();
        let secret = Secret::random();
        let cookie = format!("auth-csrf={}", secret.reveal());
        let other = Secret::random();
        for (cookie, origin, repeated, ours) in [
            (&*cookie, None, Some(secret.reveal()), true),
            (&*cookie, Some("http://127.0.0.1:8080"), Some(secret.reveal()), true),
            (&*cookie, Some("http://127.0.0.1:8081"), Some(secret.reveal()), false),
            (&*cookie, Some("null"), Some(secret.reveal()), false),
            (&*cookie, None, Some(other.reveal()), false),
            (&*cookie, None, Some(""), false),
            (&*cookie, None, None, false),
            ("a=b", None, Some(secret.reveal()), false),
            ("auth-csrf=", None, Some(""), false),
        ] {
            let headers = headers(cookie, origin);
            assert_eq!(form_is_ours(&headers, &issuer, repeated), ours, "{cookie} {origin:?}");
        }
    }
}
