//! `cargo xtask …`: what developers and CI run. Rests on the standard library alone, so that it builds in seconds.

use std::env::Args;
use std::process::ExitCode;

mod compare;
mod demo;
mod setup;
mod test;

const HELP: &str = "\
cargo xtask demo       set up what the build needs, build, and run the whole portal behind the gateway
cargo xtask test       set up what the tests need, then format check, clippy, docs, all tests, instructions
cargo xtask compare    the gateway beside nginx and others: the same work, ratios (compare --help)
cargo xtask help       this

What follows `demo` goes to the demo program: cargo xtask demo --help
";

fn main() -> ExitCode {
    match run(std::env::args()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: Args) -> Result<(), String> {
    let task = args.nth(1);
    let rest: Vec<String> = args.collect();
    match task.as_deref() {
        Some("demo") => demo::run(&rest),
        Some("test") => test::run(&rest),
        Some("compare") => compare::run(&rest),
        None | Some("help" | "-h" | "--help") => {
            say(HELP);
            Ok(())
        }
        Some(unknown) => Err(format!("no task `{unknown}`; tasks are demo, test, compare, help")),
    }
}

#[expect(clippy::print_stdout, reason = "a program for the terminal")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "a program for the terminal")]
fn complain(text: &str) {
    eprintln!("{text}");
}
