//! Who may use the API: the bearer of the config's token.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// What a request's credentials are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    Right,
    /// Missing, of another scheme, or not the token.
    Wrong,
    /// The config has no token: nobody may.
    NoToken,
}

/// Looks at `Authorization: Bearer TOKEN`.
pub(super) fn credentials(headers: &HeaderMap, token: Option<&str>) -> Credentials {
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Credentials::NoToken;
    };
    let given = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    match given {
        Some(given) if is_same(given, token.as_bytes()) => Credentials::Right,
        Some(_) | None => Credentials::Wrong,
    }
}

/// The token of the header; the scheme's letters may be of any case (RFC 9110).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Compares in a time that depends on the given text's length only, not on where it differs.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    let mut difference = given.len() ^ token.len();
    for (index, byte) in given.iter().enumerate() {
        difference |= usize::from(byte ^ token[index % token.len()]);
        // Keeps the compiler from leaving the loop at the first difference.
        difference = std::hint::black_box(difference);
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_very_token_is_right() {
        for (header, token, expected) in [
            (Some("Bearer s3cret"), Some("s3cret"), Credentials::Right),
            (Some("bearer  s3cret"), Some("s3cret"), Credentials::Right),
            (Some("Bearer s3cre"), Some("s3cret"), Credentials::Wrong),
            (Some("Bearer s3crets3cret"), Some("s3cret"), Credentials::Wrong),
            (Some("Bearer s3creT"), Some("s3cret"), Credentials::Wrong),
            (Some("Bearer "), Some("s3cret"), Credentials::Wrong),
            (Some("Basic s3cret"), Some("s3cret"), Credentials::Wrong),
            (Some("s3cret"), Some("s3cret"), Credentials::Wrong),
            (None, Some("s3cret"), Credentials::Wrong),
            (Some("Bearer s3cret"), None, Credentials::NoToken),
            (Some("Bearer "), Some(""), Credentials::NoToken),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(header.map(|value| (AUTHORIZATION, HeaderValue::from_static(value))));
            assert_eq!(credentials(&headers, token), expected, "{header:?} for {token:?}");
        }
    }
}
