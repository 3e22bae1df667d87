//! What the figures were measured on: they carry over to no other machine, and a reader wants to know.

use std::fs;

use serde_json::{Value, json};

use super::proxies::Proxy;

/// CPU, cores, memory, kernel and distribution.
pub(crate) fn document() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    json!({
        "cpu": value(&read("/proc/cpuinfo"), "model name", ':'),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "memory_mb": value(&read("/proc/meminfo"), "MemTotal", ':')
            .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .map(|kib| kib / 1024),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "system": value(&read("/etc/os-release"), "PRETTY_NAME", '='),
    })
}

/// What was typed; where our program lies is nobody's affair.
pub(crate) fn command() -> String {
    let rest = std::env::args().skip(1);
    std::iter::once("loadtest".to_owned()).chain(rest).collect::<Vec<_>>().join(" ")
}

pub(super) fn versions(proxies: &[Proxy]) -> Value {
    proxies
        .iter()
        .map(|proxy| json!({ "name": proxy.kind.name(), "version": proxy.version }))
        .collect()
}

/// The value of the first line that begins with `name`.
fn value(text: &str, name: &str, separator: char) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let (_, value) = line.split_once(separator)?;
    Some(value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_name_is_taken() {
        let text = "processor\t: 0\nmodel name\t: A CPU\nmodel name\t: another\n";
        assert_eq!(value(text, "model name", ':').as_deref(), Some("A CPU"));
        assert_eq!(
            value("PRETTY_NAME=\"Debian\"\n", "PRETTY_NAME", '=').as_deref(),
            Some("Debian")
        );
        assert_eq!(value(text, "flags", ':'), None);
        assert!(document()["cores"].as_u64().is_some_and(|cores| cores > 0));
    }
}
