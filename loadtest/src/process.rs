//! Other processes: their memory from /proc, signals to them, and how many files we may open.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::failure::Failure;

/// Resident memory of `pid` in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, Failure> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let text = std::fs::read_to_string(&path)
        .map_err(|source| Failure::File { path: path.clone(), source })?;
    parse_resident(&text).ok_or(Failure::Unreadable { path })
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A zombie has ended too.
pub(crate) fn is_alive(pid: u32) -> bool {
    let path = format!("/proc/{pid}/stat");
    let Ok(text) = std::fs::read_to_string(Path::new(&path)) else { return false };
    state(&text).is_some_and(|state| state != 'Z')
}

/// The state stands behind the command, which may itself hold brackets.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

pub(crate) fn send(pid: u32, signal: Signal) -> Result<(), Failure> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(Failure::Setting { option: "pid", reason: "not a process id" })?;
    Ok(kill_process(pid, signal)?)
}

/// Raises our own limit of open files, as far as the system lets us; children inherit it.
pub(crate) fn allow_files(count: u64) -> Result<(), Failure> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    let maximum = maximum.map(|maximum| maximum.max(count));
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(parse_resident("VmHWM:\t 9 kB\nVmRSS:\t  12 kB\nThreads: 1\n"), Some(12 * 1024));
        assert_eq!(parse_resident("VmHWM:\t 9 kB\n"), None);
        assert!(resident_bytes(std::process::id()).expect("our own") > 100 * 1024);
    }

    #[test]
    fn a_zombie_is_not_alive() {
        assert_eq!(state("7 (a) b) Z 1 2"), Some('Z'));
        assert_eq!(state("7 (gateway) S 1 2"), Some('S'));
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(u32::MAX));
    }
}
