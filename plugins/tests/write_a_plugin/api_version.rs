//! `api-version`: takes only requests that say a version of the API which is still served.
//!
//! 1. The request header `x-api-version` is a number. Without it, `assume` counts.
//! 2. A version before `oldest` is refused.
//! 3. The response says which version was meant.
//!
//! What the client sees: `410` with the reason `api-version-gone`, or `400` with `api-version-bad`.
//!
//! Caveat: the upstream sees what the client said; it has to understand every version from `oldest` on.
//!
//! ```toml
//! plugins = [{ api-version = { oldest = 2, assume = 3 } }]
//! ```

use http::{HeaderName, HeaderValue, StatusCode, response};
use plugins::registry::BuildError;
use plugins::{Exchange, Flow, Hooks, Plugin, Refusal, Step};
use schemars::JsonSchema;
use serde::Deserialize;

static HEADER: HeaderName = HeaderName::from_static("x-api-version");

/// Settings of `api-version`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The oldest version that is served.
    oldest: u32,
    /// The version of a request that says none. Default: 1, what clients meant before there was a header.
    #[serde(default = "default_assume")]
    assume: u32,
}

fn default_assume() -> u32 {
    1
}

impl Settings {
    /// Makes the plugin.
    pub fn build(&self) -> Result<ApiVersion, BuildError> {
        Ok(ApiVersion { settings: self.clone() })
    }
}

/// See the module.
pub struct ApiVersion {
    settings: Settings,
}

/// The version of this request, kept for the way up.
#[derive(Clone, Copy)]
struct Version(u32);

impl Plugin for ApiVersion {
    fn hooks(&self) -> Hooks {
        Hooks::BOTH
    }

    fn request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a, Flow> {
        let version = match exchange.request.headers.get(&HEADER) {
            None => Some(self.settings.assume),
            Some(said) => said.to_str().ok().and_then(|said| said.parse().ok()),
        };
        let Some(version) = version else {
            let detail = "x-api-version is a number";
            return Step::Done(
                Refusal::new(StatusCode::BAD_REQUEST, "api-version-bad", detail).into(),
            );
        };
        if version < self.settings.oldest {
            let detail = format!("version {version} has ended; use {}", self.settings.oldest);
            return Step::Done(Refusal::new(StatusCode::GONE, "api-version-gone", detail).into());
        }
        exchange.state.insert(Version(version));
        Step::Done(Flow::Continue)
    }

    fn response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut response::Parts,
    ) -> Step<'a, ()> {
        if let Some(Version(version)) = exchange.state.get() {
            response.headers.insert(&HEADER, HeaderValue::from(*version));
        }
        Step::Done(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use plugins::{Client, Scheme};

    use super::*;

    fn asking(version: Option<&str>) -> Exchange {
        let mut request = http::Request::get("/news/v1/7");
        if let Some(version) = version {
            request = request.header(&HEADER, version);
        }
        let (request, ()) = request.body(()).unwrap().into_parts();
        Exchange::new(request, Client::at(IpAddr::from([192, 0, 2, 7])), Scheme::Https, "news")
    }

    #[test]
    fn served_versions_pass_and_others_are_refused() {
        let plugin = toml::from_str::<Settings>("oldest = 2").unwrap().build().unwrap();
        for (version, refused) in [
            (Some("2"), None),
            (Some("3"), None),
            (Some("1"), Some((410, "api-version-gone"))),
            (None, Some((410, "api-version-gone"))),
            (Some("two"), Some((400, "api-version-bad"))),
        ] {
            let flow = plugin.request(&mut asking(version)).now().unwrap();
            let found = match flow {
                Flow::Refuse(refusal) => Some((refusal.status.as_u16(), refusal.reason)),
                Flow::Continue | Flow::Respond(_) => None,
            };
            assert_eq!(found, refused, "{version:?}");
        }
    }

    #[test]
    fn the_response_says_which_version_was_meant() {
        let settings = toml::from_str::<Settings>("oldest = 2\nassume = 3").unwrap();
        let plugin = settings.build().unwrap();
        let mut exchange = asking(None);
        plugin.request(&mut exchange).now().unwrap();
        let (mut response, ()) = http::Response::new(()).into_parts();
        plugin.response(&mut exchange, &mut response).now().unwrap();
        assert_eq!(response.headers[&HEADER], "3");
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let error = toml::from_str::<Settings>("oldest = 2\nasume = 3").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("unknown field `asume`"), "{error}");
    }
}
