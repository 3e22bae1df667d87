//! The list of plugins: the one place that names them all.

use schemars::JsonSchema;
use serde::Deserialize;
use thiserror::Error;

use crate::hooks::Plugin;
use crate::secret::SecretError;

/// Why a plugin cannot be built from its settings.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A secret it needs cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Writes the settings enum, the names and the constructor from one list: `name Variant module`.
macro_rules! plugins {
    ($($name:literal $variant:ident $module:ident)*) => {
        /// The settings of one plugin: in TOML `{ name = { … } }`.
        #[derive(Clone, Debug, Deserialize, JsonSchema)]
        pub enum PluginSettings {
            $(
                #[doc = concat!("The plugin `", $name, "`.")]
                #[serde(rename = $name)]
                $variant(crate::$module::Settings),
            )*
        }

        impl PluginSettings {
            /// All names, for messages and documentation.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The plugin's name as written in the config.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// Makes the plugin. Files are read, patterns compiled and secrets fetched here.
            pub fn build(&self) -> Result<Box<dyn Plugin>, BuildError> {
                match self { $(Self::$variant(settings) => settings.build().map(|plugin| Box::new(plugin) as _),)* }
            }
        }
    };
}

plugins! {
    "correlation-id" CorrelationId correlation_id
    "headers" Headers headers
    "ip" Ip ip
    "redirect" Redirect redirect
}
