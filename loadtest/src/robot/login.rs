//! The user logs in at auth, and what is issued there is good for what it says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::robot::promise::{Broken, Expected, Robot, list, text};
use crate::robot::users::User;

/// Wrong and right password, the keys, and the tokens.
pub(crate) async fn log_in(robot: &mut Robot, user: &User) -> Result<(), Broken> {
    let login = |password: &str| json!({ "email": user.email, "password": password });
    let wrong = robot.at_gateway("POST", "/auth/v1/login").json(&login("wrong"));
    robot.expect("a wrong password is refused", &wrong, Expected::error(401)).await?;
    let right = robot.at_gateway("POST", "/auth/v1/login").json(&login(&user.password));
    let tokens = robot.expect("the right password gets tokens", &right, is_tokens()).await?;

    let access_token = text(&tokens, "/access_token").to_owned();
    let key = key_of(&access_token);
    let keys = robot.at_gateway("GET", "/auth/v1/.well-known/jwks.json");
    let published = Expected::with(200, format!("the token's key {key:?} among its keys"), {
        move |body| !key.is_empty() && list(body, "/keys").iter().any(|it| text(it, "/kid") == key)
    });
    robot.expect("the key that signed is published", &keys, published).await?;

    let asked = robot.at_gateway("GET", "/auth/v1/userinfo");
    let asked = asked.header("authorization", format!("Bearer {access_token}"));
    let (id, email) = (user.id.clone(), user.email.clone());
    let known = Expected::with(200, format!("sub {id}, email {email}"), move |body| {
        text(body, "/sub") == id && text(body, "/email") == email
    });
    robot.expect("the access token names the user", &asked, known).await?;
    refresh(robot, &tokens).await
}

/// A refresh token is good once.
async fn refresh(robot: &mut Robot, tokens: &Value) -> Result<(), Broken> {
    let spent = json!({ "refresh_token": text(tokens, "/refresh_token") });
    let question = robot.at_gateway("POST", "/auth/v1/refresh").json(&spent);
    robot.expect("a refresh token gets the next tokens", &question, is_tokens()).await?;
    robot.expect("and is spent then", &question, Expected::error(401)).await.map(drop)
}

fn is_tokens() -> Expected {
    Expected::with(200, "access_token, refresh_token, token_type Bearer, expires_in", |body| {
        !text(body, "/access_token").is_empty()
            && !text(body, "/refresh_token").is_empty()
            && text(body, "/token_type") == "Bearer"
            && body["expires_in"].as_u64().is_some_and(|seconds| seconds > 0)
    })
}

/// The id of the key that signed, from the token's head; empty if it names none.
fn key_of(token: &str) -> String {
    let head = token.split('.').next().and_then(|head| URL_SAFE_NO_PAD.decode(head).ok());
    let head: Option<Value> = head.and_then(|head| serde_json::from_slice(&head).ok());
    head.map_or_else(String::new, |head| text(&head, "/kid").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_key_or_none() {
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"k1"}"#);
        assert_eq!(key_of(&format!("{head}.e30.x")), "k1");
        for token in ["", "x.y.z", "e30.e30.x"] {
            assert_eq!(key_of(token), "", "{token}");
        }
    }
}
