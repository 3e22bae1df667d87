//! The list of plugins: the one place that names them all.

use schemars::JsonSchema;
use serde::Deserialize;
use thiserror::Error;

use crate::basic_auth::UsersError;
use crate::hooks::Plugin;
use crate::secret::SecretError;

/// Why a plugin cannot be built from its settings.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A secret it needs cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The users of `basic-auth` cannot be had.
    #[error(transparent)]
    Users(#[from] UsersError),
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

        /// Each plugin's name and the text of its file.
        #[cfg(test)]
        const FILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!(stringify!($module), ".rs")))),*];
    };
}

plugins! {
    "basic-auth" BasicAuth basic_auth
    "correlation-id" CorrelationId correlation_id
    "fault" Fault fault
    "headers" Headers headers
    "ip" Ip ip
    "redirect" Redirect redirect
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Route {
        plugins: Vec<PluginSettings>,
    }

    /// The toml blocks of a file's first comment.
    fn examples(file: &str) -> Vec<String> {
        let page = file.lines().map_while(|line| line.strip_prefix("//!"));
        let page =
            page.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n");
        let blocks = page.split("```toml\n").skip(1);
        blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_examples_of_every_page_are_settings_of_that_plugin() {
        for (name, file) in FILES {
            let examples = examples(file);
            assert!(!examples.is_empty(), "the page of `{name}` has an example");
            for example in examples {
                let route: Route =
                    toml::from_str(&example).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(route.plugins.iter().all(|settings| settings.name() == *name), "{example}");
                let schema = schemars::schema_for!(PluginSettings);
                assert!(schema.to_value().to_string().contains(&format!("\"{name}\"")));
            }
        }
    }

    #[test]
    fn every_page_opens_with_the_name_and_tells_what_the_client_sees() {
        for (name, file) in FILES {
            assert!(file.starts_with(&format!("//! `{name}`: ")), "{name}");
            for part in ["//! 1. ", "//! What the client sees: ", "//! Caveat: "] {
                assert!(file.contains(part), "the page of `{name}` has {part:?}");
            }
        }
    }

    #[test]
    fn names_are_sorted_and_build_what_they_name() {
        assert!(PluginSettings::NAMES.is_sorted());
        let settings: Route =
            toml::from_str("plugins = [{ ip = { deny = ['10.0.0.1'] } }]").unwrap();
        assert!(settings.plugins[0].build().unwrap().hooks().request);
        let unknown =
            toml::from_str::<Route>("plugins = [{ ipp = {} }]").err().unwrap().to_string();
        assert!(unknown.contains("unknown variant `ipp`"), "{unknown}");
    }
}
