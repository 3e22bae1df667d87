//! Gets what a bare Debian machine with a Rust toolchain and a C compiler lacks: by apt-get when it may, else it says what
//! to type.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program that has to be on the PATH, or where daemons are.
pub(crate) struct Tool {
    program: &'static str,
    /// The Debian package that brings it.
    package: &'static str,
}

/// What building the workspace takes beside cargo and a C compiler.
pub(crate) const TO_BUILD: &[Tool] = &[
    Tool { program: "cmake", package: "cmake" }, // pingora's zlib-ng
    Tool { program: "make", package: "make" },   // what cmake writes its recipes for
];

/// What the tests take besides.
pub(crate) const TO_TEST: &[Tool] = &[
    Tool { program: "pg_ctlcluster", package: "postgresql" }, // the services' tests on real stores
    Tool { program: "redis-server", package: "redis-server" },
    Tool { program: "rabbitmq-server", package: "rabbitmq-server" },
    Tool { program: "nginx", package: "nginx-light" }, // the comparison: its origin, and who we are compared with
    Tool { program: "valgrind", package: "valgrind" }, // counts our instructions
];

/// Installs what is missing, or says what is and how to get it.
pub(crate) fn provide<'a>(tools: impl IntoIterator<Item = &'a Tool>) -> Result<(), String> {
    let missing: Vec<&Tool> = tools.into_iter().filter(|tool| !is_there(tool.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let packages = packages.join(" ");
    let Some(prefix) = privilege() else {
        return Err(format!(
            "missing: {packages}. Type this, then try again:\n\
             sudo apt-get update && sudo apt-get install -y {packages}"
        ));
    };
    crate::say(&format!("installing {packages}"));
    for apt_get in [
        "apt-get -q update".to_owned(),
        format!("apt-get -q install -y --no-install-recommends {packages}"),
    ] {
        shell(&format!("{prefix}{apt_get}"))?;
    }
    Ok(())
}

/// Adds the parts of the Rust toolchain that a minimal installation leaves out.
pub(crate) fn provide_toolchain_parts() -> Result<(), String> {
    let works = |part: &str| quiet(cargo().args([part, "--version"]));
    if works("fmt") && works("clippy") {
        return Ok(());
    }
    if !is_there("rustup") {
        return Err("cargo fmt or cargo clippy is missing: install rustfmt and clippy".to_owned());
    }
    shell("rustup component add rustfmt clippy")
}

/// The cargo that runs us, in the workspace's root. Incremental builds cost a fresh clone disk and time.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).env("CARGO_INCREMENTAL", "0");
    command
}

/// The workspace's root: where this crate lies, less its own folder.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// What has to stand before apt-get; `None` if we may not.
fn privilege() -> Option<&'static str> {
    if !is_there("apt-get") {
        return None;
    }
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if is_root {
        return Some("DEBIAN_FRONTEND=noninteractive ");
    }
    let sudo = is_there("sudo") && quiet(Command::new("sudo").args(["-n", "true"]));
    sudo.then_some("sudo -n env DEBIAN_FRONTEND=noninteractive ")
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // The PATH of those who are not root often lacks it.
    is_in(program, std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]))
}

fn is_in(program: &str, mut folders: impl Iterator<Item = PathBuf>) -> bool {
    folders.any(|folder| folder.join(program).is_file())
}

fn quiet(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|it| it.success())
}

fn shell(line: &str) -> Result<(), String> {
    let status = Command::new("sh")
        .args(["-c", line])
        .status()
        .map_err(|error| format!("cannot run sh: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` failed: {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_on_the_path_and_nowhere_else() {
        let folders = || [PathBuf::from("/nowhere"), root().join("xtask/src")].into_iter();
        assert!(is_in("setup.rs", folders()));
        assert!(!is_in("setup", folders()));
        assert!(!is_in("compare", folders()), "a folder is no program");
    }
}
