//! The example of docs/write-a-plugin.md, compiled and run, and compared with what the page shows.
#![allow(
    unreachable_pub,
    reason = "the example is written as it would stand in the crate, where others use it"
)]
#![cfg(test)]

use std::collections::BTreeMap;

mod api_version;

const PAGE: &str = include_str!("../../../docs/write-a-plugin.md");
const EXAMPLE: &str = include_str!("api_version.rs");

#[test]
fn the_page_shows_the_example_as_it_is_compiled() {
    let shown = PAGE.split_once("```rust\n").unwrap().1.split_once("\n````").unwrap().0;
    assert_eq!(shown.trim_end(), EXAMPLE.trim_end());
}

#[test]
fn the_examples_toml_is_settings_of_the_example() {
    #[derive(serde::Deserialize)]
    struct Route {
        plugins: Vec<BTreeMap<String, api_version::Settings>>,
    }
    let page = EXAMPLE.split_once("//! ```toml\n//! ").unwrap().1;
    let toml = page.split_once("\n//! ```").unwrap().0;
    let route: Route = toml::from_str(toml).unwrap();
    assert!(route.plugins[0].contains_key("api-version"));
}

#[test]
fn the_page_names_every_hook_of_the_contract() {
    let contract = include_str!("../../src/hooks.rs");
    let (_, plugin) = contract.split_once("pub trait Plugin").unwrap();
    let (plugin, _) = plugin.split_once("\n}\n").unwrap();
    for hook in plugin.lines().filter_map(|line| line.trim_start().strip_prefix("fn ")) {
        let name: String = hook.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        assert!(PAGE.contains(&format!("`{name}`")), "the page does not name the hook `{name}`");
    }
}
