//! `cargo xtask test`: everything that has to be green, in the order in which it is cheapest to learn that it is not.
#![expect(clippy::disallowed_types, reason = "no runtime here whose clock a test could hold")]

use std::time::{Duration, Instant};

use crate::{compare, setup};

/// What cargo is told, and what it is told besides by environment.
struct Step {
    args: &'static str,
    environment: &'static [(&'static str, &'static str)],
}

const STEPS: &[Step] = &[
    Step { args: "fmt --all --check", environment: &[] },
    Step { args: "clippy --workspace --all-targets --locked -- -D warnings", environment: &[] },
    Step {
        args: "doc --workspace --no-deps --locked",
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
    },
    Step { args: "test --workspace --locked", environment: &[] },
    // What is lock free, in every order in which threads can meet (loom).
    Step {
        args: "test --package resilience --features model --test model --test bulkhead_model --locked",
        environment: &[],
    },
];

/// Sets up and runs all steps; the error names the first that failed.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    if let Some(surplus) = args.first() {
        return Err(format!("`test` takes no arguments, but got `{surplus}`"));
    }
    setup::provide(setup::TO_BUILD.iter().chain(setup::TO_TEST))?;
    setup::provide_toolchain_parts()?;
    let begun = Instant::now();
    for step in STEPS {
        carry_out(step)?;
    }
    hold_instructions()?;
    crate::say(&format!("\n== all well, after {}", in_words(begun.elapsed())));
    Ok(())
}

fn hold_instructions() -> Result<(), String> {
    crate::say("\n== instructions per request");
    let begun = Instant::now();
    compare::hold()?;
    crate::say(&format!("== well, after {}: instructions per request", in_words(begun.elapsed())));
    Ok(())
}

fn carry_out(step: &Step) -> Result<(), String> {
    let Step { args, environment } = step;
    crate::say(&format!("\n== cargo {args}"));
    let begun = Instant::now();
    let status = setup::cargo()
        .args(args.split(' '))
        .envs(environment.iter().copied())
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    let time = in_words(begun.elapsed());
    if !status.success() {
        return Err(format!("`cargo {args}` failed after {time}: {status}"));
    }
    crate::say(&format!("== well, after {time}: cargo {args}"));
    Ok(())
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_as_people_tell_it() {
        for (milliseconds, words) in [(0, "0.0 s"), (59_940, "59.9 s"), (125_000, "2 min 5 s")] {
            assert_eq!(in_words(Duration::from_millis(milliseconds)), words);
        }
    }
}
