//! The gateway: forwarded headers and metrics are always on, the access log is asked for.

use super::{Places, Route, Scenario, routes};

pub(super) fn config(scenario: Scenario, places: &Places<'_>) -> String {
    let Places { folder, port, admin_port, origin_port } = places;
    let mut text = format!(
        r#"[[listeners]]
address = "127.0.0.1:{port}"

[server]
threads = 1

[admin]
address = "127.0.0.1:{admin_port}"

[upstreams.origin]
servers = ["127.0.0.1:{origin_port}"]

"#
    );
    if scenario == Scenario::Plain {
        let log = format!("[access-log]\nfile = \"{}/access.log\"\n\n", folder.display());
        text.push_str(&log);
    }
    match scenario {
        Scenario::Plain => routes().for_each(|route| add_route(&mut text, &route)),
        Scenario::Bare => add_route(&mut text, &Route::Prefix("/".to_owned())),
    }
    text
}

fn add_route(text: &mut String, route: &Route) {
    let path = match route {
        Route::Exact(path) => path.clone(),
        Route::Prefix(path) => format!("{path}{{*rest}}"),
    };
    text.push_str(&format!("[[routes]]\npath = \"{path}\"\nupstream = \"origin\"\n\n"));
}
