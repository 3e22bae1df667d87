//! What a route tells about its handling: `Server-Timing` and `Proxy-Status`.

use http::{HeaderMap, HeaderValue};

use crate::finish::Finish;

/// `Server-Timing` (W3C): what the gateway and the server took, in milliseconds.
pub(crate) fn add_server_timing(finish: &mut Finish) {
    let millis = |duration: std::time::Duration| duration.as_secs_f64() * 1_000.0;
    let mut text = format!("gateway;dur={:.3}", millis(finish.started.elapsed()));
    if let Some(time) = finish.asked.as_ref().and_then(|asked| asked.time) {
        text.push_str(&format!(", upstream;dur={:.3}", millis(time)));
    }
    if let Ok(value) = HeaderValue::try_from(text) {
        finish.head.headers.append("server-timing", value);
    }
}

/// `Proxy-Status` (RFC 9209).
pub(crate) fn add_proxy_status(headers: &mut HeaderMap, error: Option<&'static str>) {
    let text = match error {
        Some(error) => format!("gateway; error={error}"),
        None => "gateway".to_owned(),
    };
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.append("proxy-status", value);
    }
}
