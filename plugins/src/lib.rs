//! The plugin contract, the list of plugins, and the plugins that come with the gateway.
//!
//! A plugin is one file: a settings struct (its table in config.toml), a [`Plugin`] that is built from it once per
//! use, and its page of documentation at the top. Its life:
//!
//! 1. `config.toml` is read; the plugin's table becomes its settings, unknown keys and bad values refused with their line.
//! 2. [`registry::PluginSettings::build`] makes the plugin; what can be opened, compiled or hashed is done here.
//! 3. For each request the chain calls [`Plugin::request`] on the way down and, in reverse order, [`Plugin::response`]
//!    on the way up. Which hooks exist is asked once ([`Plugin::hooks`]); a hook that is not used costs nothing.
//!
//! A plugin never sees a socket, the configuration or the gateway; it sees an [`Exchange`].

pub mod exchange;
pub mod header_name;
pub mod hooks;
pub mod password_hash;
pub mod registry;
pub mod secret;
pub mod template;
mod text;
pub mod units;
pub mod verified;

pub mod basic_auth;
pub mod correlation_id;
pub mod fault;
pub mod headers;
pub mod ip;
pub mod redirect;

pub use exchange::{Client, Exchange, Flow, Origin, Refusal, Scheme};
pub use hooks::{Body, Ending, Hooks, Outcome, Plugin, Step, Transform};
