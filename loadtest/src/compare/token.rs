//! The token of the scenario `jwt`: HS256, with a key that every proxy is told.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Thirty-two bytes, as HS256 wants; known to everybody, since nothing is behind it.
pub(super) const KEY: &str = "a-key-for-measuring-only-32bytes";

pub(super) const ISSUER: &str = "compare";

/// Expires in the year 2100.
pub(super) fn token() -> String {
    let header = r#"{"alg":"HS256","typ":"JWT"}"#;
    let claims = format!(r#"{{"iss":"{ISSUER}","sub":"user-7","exp":4102444800}}"#);
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    let signature = encode(hmac::sign(&key, signed.as_bytes()).as_ref());
    format!("{signed}.{signature}")
}

/// The key as a JWK.
pub(super) fn key_set() -> String {
    let key = encode(KEY.as_bytes());
    format!(r#"{{"keys":[{{"kty":"oct","alg":"HS256","k":"{key}"}}]}}"#)
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_first_two_parts() {
        let token = token();
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        assert!(hmac::verify(&key, signed.as_bytes(), &signature).is_ok());
        assert_eq!(KEY.len(), 32);
    }
}
