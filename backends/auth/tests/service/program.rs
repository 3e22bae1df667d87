//! The program itself: its flags, its exit codes, and that a signal ends it.

use rustix::process::Signal;

use crate::process::{Program, program};
use crate::users_stub::UsersStub;

#[test]
fn help_and_mistakes_have_their_exit_codes() {
    let help = program().arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).unwrap();
    for flag in ["--listen", "DATABASE", "ISSUER", "--clients", "--access-lifetime", "Exit codes"] {
        assert!(help.contains(flag), "{flag} is not in {help}");
    }
    for (flags, said) in [
        (["--issuer", "portal.example"], "an issuer looks like https://host/path"),
        (["--users", "https://users"], "give http://HOST:PORT"),
        (["--database", "mysql:x"], "give sqlite:FILE or postgres://"),
        (["--clients", "no-such-file.toml"], "cannot read no-such-file.toml"),
        (["--access-lifetime", "5"], "a whole number with its unit"),
    ] {
        let refused = program().args(flags).output().unwrap();
        assert_eq!(refused.status.code(), Some(1), "{flags:?}");
        let message = String::from_utf8(refused.stderr).unwrap();
        assert!(message.contains(said), "{said:?} is not in {message:?}");
    }
    let secret = "postgres://auth:s3cret@127.0.0.1/auth";
    let help = program().arg("--help").env("DATABASE", secret).output().unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("s3cret"));
}

#[tokio::test]
async fn a_signal_ends_it_well() {
    let folder = tempfile::tempdir().unwrap();
    let users = UsersStub::start().await;
    let mut running = Program::start(folder.path(), "sqlite:auth.sqlite", users.address);
    assert_eq!(running.end(Signal::TERM).code(), Some(0));
}
