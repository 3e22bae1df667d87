//! For those who run the service: health, metrics, the documents, and errors nobody asked for.

use hyper::{Request, header};
use serde_json::Value;

use crate::browser::{Browser, usual};
use crate::rig::{ISSUER, Rig};

scenarios![
    health_tells_the_state_and_latency_of_each_component,
    metrics_count_what_happens,
    every_path_is_in_the_document,
    discovery_leads_to_public_addresses,
    what_is_not_there_is_said_in_json,
    the_correlation_id_comes_back_and_goes_on,
];

async fn health_tells_the_state_and_latency_of_each_component(rig: Rig) {
    let health = rig.get("/health").await;
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (200, &"ok".into()));
    for component in ["database", "users"] {
        let component = &health.json()["components"][component];
        assert_eq!(component["status"], "ok");
        assert!(component["latency_ms"].as_f64().unwrap() > 0.0);
    }
    rig.users.change(|known| known.answers = false);
    let health = rig.get("/health").await;
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (503, &"failing".into()));
    assert_eq!(health.json()["components"]["users"]["status"], "failing");
    assert_eq!(health.json()["components"]["database"]["status"], "ok");
}

async fn metrics_count_what_happens(rig: Rig) {
    rig.log_in().await;
    rig.try_password("wrong").await;
    rig.get("/nothing/here").await;
    Browser::new(&rig).code(&usual()).await;
    let metrics = rig.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    for line in [
        "auth_logins_total{outcome=\"success\"} 2",
        "auth_logins_total{outcome=\"wrong\"} 1",
        "auth_tokens_issued_total{grant=\"password\"} 1",
        "auth_request_duration_seconds_count{method=\"POST\",route=\"/login\",status=\"401\"} 1",
        "auth_request_duration_seconds_count{method=\"GET\",route=\"none\",status=\"404\"} 1",
    ] {
        assert!(metrics.text.contains(line), "{line} is not in {}", metrics.text);
    }
}

async fn every_path_is_in_the_document(rig: Rig) {
    let document = rig.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for (path, methods) in [
        ("/login", &["post"][..]),
        ("/refresh", &["post"]),
        ("/logout", &["post"]),
        ("/.well-known/openid-configuration", &["get"]),
        ("/.well-known/jwks.json", &["get"]),
        ("/jwks", &["get"]),
        ("/authorize", &["get", "post"]),
        ("/authorize/login", &["post"]),
        ("/token", &["post"]),
        ("/userinfo", &["get", "post"]),
        ("/end_session", &["get", "post"]),
        ("/end_session/confirm", &["post"]),
        ("/health", &["get"]),
        ("/metrics", &["get"]),
        ("/openapi.json", &["get"]),
    ] {
        for method in methods {
            let operation = &paths[path][method];
            assert!(operation.is_object(), "{method} {path}");
            assert!(operation["responses"].get("408").is_some(), "any may be too slow");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} names two operations");
        }
    }
    let schemas = document.to_string();
    assert!(!schemas.contains("\"schema\":{}"), "something is not described");
    let reply = &document["components"]["schemas"]["TokenReply"]["properties"];
    for name in ["access_token", "refresh_token", "token_type", "expires_in"] {
        assert!(reply.get(name).is_some(), "{name}");
    }
}

async fn discovery_leads_to_public_addresses(rig: Rig) {
    let answer = rig.get("/.well-known/openid-configuration").await;
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let document = answer.json();
    assert_eq!(document["issuer"], ISSUER);
    for name in [
        "authorization_endpoint",
        "token_endpoint",
        "userinfo_endpoint",
        "end_session_endpoint",
        "jwks_uri",
    ] {
        let link = document[name].as_str().unwrap();
        let path = link.strip_prefix(ISSUER).unwrap();
        let answer = rig.get(path).await;
        assert_ne!(answer.status, 404, "{name} leads to {path}");
    }
    assert_eq!(document["code_challenge_methods_supported"], serde_json::json!(["S256"]));
    assert_eq!(document["authorization_response_iss_parameter_supported"], true);
}

async fn what_is_not_there_is_said_in_json(rig: Rig) {
    for (method, path, status) in
        [("GET", "/nothing", 404), ("GET", "/login", 405), ("DELETE", "/token", 405)]
    {
        let request = Request::builder().method(method).uri(path);
        let answer = rig.send(request.body(http_body_util::Full::default()).unwrap()).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.json()["error"].is_string(), "{method} {path}: {}", answer.text);
        assert_eq!(answer.headers.contains_key(header::ALLOW), status == 405);
    }
}

async fn the_correlation_id_comes_back_and_goes_on(rig: Rig) {
    for (sent, kept) in [(Some("abc-123"), true), (Some("not one word"), false), (None, false)] {
        let body = serde_json::json!({ "email": "ann@example.org", "password": "wrong" });
        let mut request = crate::rig::json_request("/login", &body);
        if let Some(id) = sent {
            request.headers_mut().insert("x-correlation-id", id.parse().unwrap());
        }
        let answer = rig.send(request).await;
        let id = answer.header("x-correlation-id").to_owned();
        assert_eq!(sent == Some(&*id), kept, "{sent:?} became {id}");
        let seen = rig.users.change(|known| known.correlation_ids.last().cloned());
        assert_eq!(seen, Some(id), "users sees the same");
    }
    let text: Value = rig.get("/health").await.json();
    assert!(text["components"].is_object());
}
