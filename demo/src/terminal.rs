//! What the demo says: where everything is, and what to try.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what this file is for")]

use std::net::SocketAddr;

use crate::Launch;
use crate::failure::Failure;

/// One line.
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Why it ends.
pub(crate) fn complain(failure: &Failure) {
    eprintln!("demo: {failure}");
}

/// Everything is ready: where, and five commands to try.
pub(crate) fn introduce(launch: &Launch, services: &[(&str, SocketAddr)]) {
    let Launch { program, config, data, addresses } = launch;
    println!("ready");
    println!("  gateway        http://{}", addresses.gateway);
    println!("  admin          http://{}  (/readyz, /metrics)", addresses.admin);
    for (name, address) in services {
        println!("  {name:<14} http://{address}  (behind the gateway)");
    }
    println!("  data and logs  {}  (stays; delete it to start afresh)", data.display());
    println!("\ntry, in another terminal:\n");
    for (what, command) in commands(addresses.gateway) {
        println!("  # {what}\n  {command}\n");
    }
    println!("  # see which route a request takes, and why");
    println!(
        "  {} explain --config {} GET http://{}/users/v1/users\n",
        program.display(),
        config.display(),
        addresses.gateway
    );
    println!("Ctrl-C ends it");
}

fn commands(gateway: SocketAddr) -> [(&'static str, String); 4] {
    // The data stays from run to run, and an email belongs to one user.
    let email = format!("ann-{:08x}@example.org", uuid::Uuid::new_v4().as_fields().0);
    let json = "curl -s -H 'content-type: application/json'";
    let sports = format!("http://{gateway}/news/v1/sports");
    [
        (
            "create a user",
            format!(
                r#"{json} -d '{{"name":"Ann","email":"{email}","password":"correct horse"}}' http://{gateway}/users/v1/user"#
            ),
        ),
        (
            "post an article",
            format!(
                r#"{json} -d '{{"title":"Late goal","content":"It was one all.","author":"Ann","tags":["football"]}}' {sports}"#
            ),
        ),
        ("read the newest articles, a page of ten", format!("curl -s {sports}/1/10")),
        (
            "read the newest by its id",
            format!(
                r#"curl -s {sports}/$(curl -s {sports}/1/1 | grep -o '"id":"[^"]*"' | cut -d'"' -f4)"#
            ),
        ),
    ]
}
