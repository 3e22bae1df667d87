//! A programmable API gateway and smart proxy.

pub mod config;
pub mod admin;
pub mod observe;
pub mod routing;
