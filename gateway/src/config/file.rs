//! The shape of config.toml: what may be written, with each default beside its key.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::at::At;

mod numbers;
mod process;
mod resilience;
mod route;
mod upstream;
mod values;

pub(super) use numbers::PointOrTime;
pub(super) use process::*;
pub(super) use resilience::*;
pub(super) use route::*;
pub(super) use upstream::*;
pub(super) use values::OneOrMany;

/// Writes a table whose keys may all be left out, each with its default beside it.
macro_rules! table {
    (
        $(#[$table_doc:meta])*
        $name:ident {
            $( $(#[$key_doc:meta])* $key:ident: $type:ty = $default:expr, )*
        }
    ) => {
        $(#[$table_doc])*
        #[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub(in crate::config) struct $name {
            $( $(#[$key_doc])* pub(in crate::config) $key: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }
    };
}
use table;

/// Tables by their names, each at its place.
pub(super) type Named<T> = BTreeMap<String, At<T>>;

/// The configuration of the gateway.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct File {
    /// More files, as patterns relative to this file: `["routes/*.toml"]`. They may hold `upstreams`, `plugins`,
    /// `routes` and `tests`; a pattern that matches no file is an error. Default: none.
    pub(super) include: Vec<At<String>>,
    /// Networks of the proxies in front of this one, as `"10.0.0.0/8"` or `"10.1.2.3"`. Only they are believed when
    /// they say who the client is (`X-Forwarded-For`, `Forwarded`, PROXY protocol). Default: none, so that nobody can
    /// pass for somebody else.
    pub(super) trusted_proxies: Vec<At<String>>,
    /// The process: threads, how it ends, how it is replaced.
    pub(super) server: Server,
    /// What every client is held to.
    pub(super) limits: Limits,
    /// When the process itself is near its end.
    pub(super) overload: Overload,
    /// The endpoint for people and monitoring. Default: none.
    pub(super) admin: Option<Admin>,
    /// One JSON line a request. Default: none.
    pub(super) access_log: Option<At<AccessLog>>,
    /// What holds for every route that does not say otherwise.
    pub(super) defaults: Defaults,
    /// Where requests arrive; at least one.
    pub(super) listeners: Option<At<Vec<At<Listener>>>>,
    /// Groups of servers, by name.
    pub(super) upstreams: Option<At<Named<Upstream>>>,
    /// Plugins with their settings under a name, for routes to refer to.
    pub(super) plugins: Option<At<Named<PluginTable>>>,
    /// Which requests go where.
    pub(super) routes: Option<At<Vec<At<Route>>>>,
    /// Requests and where they must end, checked by `gateway check` and before every reload.
    pub(super) tests: Vec<At<Test>>,
}

/// What a file that is included may hold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct Included {
    /// Groups of servers, by name.
    pub(super) upstreams: Option<At<Named<Upstream>>>,
    /// Plugins with their settings under a name, for routes to refer to.
    pub(super) plugins: Option<At<Named<PluginTable>>>,
    /// Which requests go where.
    pub(super) routes: Option<At<Vec<At<Route>>>>,
    /// Requests and where they must end, checked by `gateway check` and before every reload.
    pub(super) tests: Vec<At<Test>>,
}
