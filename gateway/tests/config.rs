//! Config messages as files: a config, a line of dashes, what we say of it. `UPDATE=1` rewrites the lower half.
#![allow(clippy::unwrap_used, reason = "a test file")]

use std::fs;
use std::path::{Path, PathBuf};

use gateway::config;
use proptest::{prop_assert, proptest};

/// What stands between the config and what we say of it.
const DASHES: &str = "\n----------\n";

/// `good` for a config that is taken, else every problem.
fn said(text: &str) -> String {
    match config::from_text("config.toml", text) {
        Ok(_) => "good\n".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

#[test]
fn every_case_says_what_its_file_expects() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut paths = fs::read_dir(here())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect::<Vec<_>>();
    paths.sort();
    assert!(paths.len() >= 40, "only {} cases", paths.len());
    let mut wrong = Vec::new();
    for path in &paths {
        let case = fs::read_to_string(path).unwrap();
        let (text, expected) = case.split_once(DASHES).unwrap_or((case.trim_end(), ""));
        let found = said(text);
        if update {
            fs::write(path, format!("{text}{DASHES}{found}")).unwrap();
        } else if found != expected {
            wrong.push(format!("{}\nexpected:\n{expected}found:\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE=1 rewrites them", wrong.join("\n"));
}

#[test]
fn the_example_that_runs_is_good() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config.toml");
    let config = config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    let names = config.upstreams.iter().map(|upstream| upstream.name.as_str());
    let portal = ["auth", "famous-news", "politics-news", "recommendation", "sports-news", "users"];
    assert_eq!(names.collect::<Vec<_>>(), portal);
    assert!(config.tests.len() >= 5);
}

#[test]
fn a_directory_is_one_clear_line() {
    let problems = config::load(&here()).unwrap_err();
    let expected =
        format!("{} is a directory; name the file in it, such as config.toml\n", here().display());
    assert_eq!(problems.to_string(), expected);
}

#[test]
fn a_file_that_is_not_there_is_one_clear_line() {
    let problems = config::load(Path::new("no/such/config.toml")).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "no/such/config.toml is not there; name a file with --config\n"
    );
}

const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:8080\"\n";

#[test]
fn included_files_are_laid_together_and_keep_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    let main = write("config.toml", &format!("include = [\"routes/*.toml\"]\n{LISTENER}"));
    write("routes/a.toml", "[upstreams.users]\nservers = [\"127.0.0.1:1\"]\n");
    let b = write("routes/b.toml", "[[routes]]\npath = \"/b\"\nupstream = \"users\"\n");
    let config = config::load(&main).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((config.upstreams.len(), config.routes.len()), (1, 1));
    assert_eq!(
        config.sources.at(config.routes[0].place).to_string(),
        format!("{}:1:1", b.display())
    );

    let b = write("routes/b.toml", "\n[upstreams.users]\nservers = [\"127.0.0.1:1\"]\n[limits]\n");
    let problems = config::load(&main).unwrap_err().to_string();
    let a = folder.path().join("routes/a.toml");
    let expected = format!(
        "{b}:2:1: the upstream `users` is there already; it is at {a}:1:1\n{b}:4:2: unknown key `limits` at the top; \
         keys are upstreams, plugins, routes, tests\n",
        b = b.display(),
        a = a.display()
    );
    assert_eq!(problems, expected);
}

#[test]
fn defaults_come_before_what_a_route_says_itself() {
    let text = format!(
        "{LISTENER}[limits]\nbody = \"1MiB\"\n[defaults]\nserver-timing = true\n\
         plugins = [{{ ip = {{ deny = [\"10.0.0.1\"] }} }}]\n\
         [[routes]]\npath = \"/a\"\nrespond = {{}}\n\
         [[routes]]\npath = \"/b\"\nrespond = {{}}\nbody-limit = \"none\"\nserver-timing = false\n\
         plugins = [{{ correlation-id = {{}} }}]\n"
    );
    let config =
        config::from_text("config.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let [a, b] = &config.routes[..] else { panic!("two routes") };
    let plugins = |route: &config::Route| {
        route.plugins.iter().map(|used| used.settings.name()).collect::<Vec<_>>()
    };
    assert_eq!((plugins(a), plugins(b)), (vec!["ip"], vec!["ip", "correlation-id"]));
    assert_eq!((a.body_bytes, b.body_bytes), (Some(1 << 20), None));
    assert_eq!((a.server_timing, b.server_timing), (true, false));
}

#[test]
fn routes_without_a_name_are_called_by_what_tells_them_apart() {
    let text = format!(
        "{LISTENER}\
         [[routes]]\npath = \"/a\"\nrespond = {{}}\n\
         [[routes]]\npath = \"/b\"\nmethods = [\"GET\", \"PUT\"]\nrespond = {{}}\n\
         [[routes]]\npath = \"/b\"\nmethods = [\"DELETE\"]\nhost = \"*.example.com\"\nrespond = {{}}\n\
         [[routes]]\npath = \"/c\"\nwhen = \"true\"\nrespond = {{}}\n\
         [[routes]]\npath = \"/c\"\nrespond = {{}}\n"
    );
    let config =
        config::from_text("config.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let names = config.routes.iter().map(|route| route.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["/a", "GET,PUT /b", "DELETE *.example.com/b", "/c", "/c #2"]);
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pair = |name: &str| {
        let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
        let [cert, key] = ["pem", "key"].map(|end| folder.path().join(format!("{name}.{end}")));
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        [cert, key]
    };
    let ([cert, key], [_, other]) = (pair("a"), pair("b"));
    let text = |key: &Path| {
        format!("{LISTENER}tls = {{ certificates = [{{ cert = {cert:?}, key = {key:?} }}] }}\n")
    };
    assert_eq!(said(&text(&key)), "good\n");
    let refused = said(&text(&other));
    assert!(refused.contains("the key does not belong to the certificate"), "{refused}");
}

#[test]
fn no_message_repeats_a_secret() {
    for token in ["\"hush\"", "{ text = 7654321 }", "{ hush = 1 }", "[\"hush\"]"] {
        let refused =
            said(&format!("{LISTENER}[admin]\naddress = \"127.0.0.1:1\"\ntoken = {token}\n"));
        assert_ne!(refused, "good\n");
        assert!(!refused.contains("7654321") && !refused.contains("\"hush"), "{refused}");
    }
}

#[test]
fn the_schema_knows_every_table_and_describes_every_key() {
    let schema = config::schema::schema();
    let properties = |schema: &serde_json::Value| schema["properties"].as_object().unwrap().clone();
    let top = properties(&schema);
    for table in ["listeners", "upstreams", "routes", "limits", "tests", "plugins", "defaults"] {
        assert!(top.contains_key(table), "{table}");
    }
    for (name, table) in schema["$defs"].as_object().unwrap() {
        let keys = table["properties"].as_object().cloned().unwrap_or_default();
        for (key, value) in keys {
            assert!(value["description"].is_string(), "{name}.{key} has no description");
        }
    }
}

#[test]
fn a_file_full_of_faults_is_told_in_part_and_at_once() {
    let text: String = (0..5_000).map(|index| format!("[[routes]]\npth{index} = 1\n")).collect();
    let refused = said(&format!("{LISTENER}{text}"));
    assert!(refused.starts_with("only the first 100 are told\n"), "{refused}");
    assert_eq!(refused.lines().count(), 101);
}

proptest! {
    /// Whatever stands in a file, it is taken or refused with places that are in it.
    #[test]
    fn no_text_stops_the_program(
        cut in 0_usize..4_000,
        length in 0_usize..40,
        put in "[\\[\\]{}=\"'$,.a-z0-9é\n -]{0,12}",
    ) {
        let case = fs::read_to_string(here().join("good-everything.txt")).unwrap();
        let text = case.split_once(DASHES).unwrap().0;
        let start = text.floor_char_boundary(cut % text.len());
        let end = text.floor_char_boundary((start + length).min(text.len()));
        let changed = [&text[..start], &put, &text[end..]].concat();
        if let Err(problems) = config::from_text("config.toml", &changed) {
            let lines = changed.lines().count() + 1;
            for place in problems.list.iter().filter_map(|problem| problem.place) {
                prop_assert!(problems.sources.at(place).line <= lines);
            }
            prop_assert!(!problems.list.is_empty());
        }
    }
}
