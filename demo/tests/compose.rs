//! `deploy/compose.yaml` starts what `demo --real` looks for: the same servers on the same ports, each with a health
//! check and a volume that is declared. Read by its indentation, which is all the YAML that it has.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The flag that names each server to the demo.
const FLAGS: [(&str, &str); 3] =
    [("postgresql", "--postgres"), ("redis", "--redis"), ("rabbitmq", "--rabbitmq")];

/// The text of each entry under a key of the first level, by name.
fn entries(file: &str, key: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut name = None;
    let section = file.lines().skip_while(|line| *line != format!("{key}:")).skip(1);
    for line in section.take_while(|line| line.is_empty() || line.starts_with(' ')) {
        let entry = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
        if let Some((entry, rest)) = entry.and_then(|entry| entry.split_once(':')) {
            name = Some(entry.to_owned());
            found.insert(entry.to_owned(), rest.to_owned());
        } else if let Some(text) = name.as_ref().and_then(|name| found.get_mut(name)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    found
}

/// What stands behind `key:` in an entry.
fn value<'a>(entry: &'a str, key: &str) -> Option<&'a str> {
    let key = format!("{key}:");
    entry.lines().find_map(|line| line.trim().strip_prefix(&key)).map(str::trim)
}

/// The port in the default of a flag, as `demo --help` tells it.
fn default_port(help: &str, flag: &str) -> String {
    let (_, after) = help.split_once(&format!("{flag} <URL>")).unwrap();
    let (_, url) = after.split_once("[default: ").unwrap();
    let (url, _) = url.split_once(']').unwrap();
    let (_, address) = url.rsplit_once("127.0.0.1:").unwrap();
    address.chars().take_while(char::is_ascii_digit).collect()
}

#[test]
fn compose_starts_what_the_demo_looks_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let file = std::fs::read_to_string(root.join("deploy/compose.yaml")).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_demo")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (services, volumes) = (entries(&file, "services"), entries(&file, "volumes"));
    let mut named: Vec<&str> = FLAGS.iter().map(|(service, _)| *service).collect();
    named.sort_unstable();
    assert_eq!(services.keys().collect::<Vec<_>>(), named);
    for (name, flag) in FLAGS {
        let service = &services[name];
        let port = default_port(&help, flag);
        let published = format!("[\"127.0.0.1:{port}:{port}\"]");
        assert_eq!(value(service, "ports"), Some(&*published), "{name}: {flag} looks there");
        assert!(
            value(service, "image").is_some_and(|image| image.contains(':')),
            "{name}: a version"
        );
        let (_, check) = service.split_once("    healthcheck:\n").unwrap();
        assert!(value(check, "test").is_some_and(|test| test.starts_with("[\"CMD\"")), "{name}");
        assert!(value(check, "interval").is_some(), "{name}");
        let volume = value(service, "volumes").unwrap().trim_start_matches("[\"");
        let (volume, _) = volume.split_once(':').unwrap();
        assert!(volumes.contains_key(volume), "{name}: volume {volume} is not declared");
    }
}
