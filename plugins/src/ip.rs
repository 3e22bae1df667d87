//! `ip`: lets clients in or keeps them out by their address.

use http::StatusCode;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::exchange::{Exchange, Flow, Refusal};
use crate::hooks::{Hooks, Plugin, Step};
use crate::registry::BuildError;

/// Settings of `ip`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Only these networks may pass.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    allow: Vec<IpNet>,
    /// These networks may not pass, even if allowed above.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    deny: Vec<IpNet>,
}

impl Settings {
    /// Makes the plugin.
    pub fn build(&self) -> Result<Ip, BuildError> {
        Ok(Ip { settings: self.clone() })
    }
}

/// See the module.
pub struct Ip {
    settings: Settings,
}

impl Plugin for Ip {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a, Flow> {
        let address = exchange.client.address;
        let inside = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        let Settings { allow, deny } = &self.settings;
        let passes = !inside(deny) && (allow.is_empty() || inside(allow));
        Step::Done(if passes {
            Flow::Continue
        } else {
            Refusal::new(StatusCode::FORBIDDEN, "ip-denied", "this address may not use this route").into()
        })
    }
}
