//! CPU time and memory of a process and its children, read from /proc.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::FileError;

/// Why a process cannot be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcfsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path}: no VmRSS", path = path.display())]
    NoMemory { path: PathBuf },
    #[error("process {0} is gone")]
    Gone(u32),
}

/// CPU time (user and system, in nanoseconds) of `pid` and everything below it, thread by thread from the scheduler: a
/// clock tick would be a hundredth of a round. What a thread or child used that has ended since is lost.
pub(super) fn cpu_ns(pid: u32) -> Result<u64, ProcfsError> {
    let times = family(pid)?.into_iter().filter_map(cpu_ns_of);
    times.reduce(|all, one| all + one).ok_or(ProcfsError::Gone(pid))
}

fn cpu_ns_of(pid: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let times = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(times.sum())
}

/// Resident memory of `pid` and everything below it, in KiB; pages they share count in each. A child that has just
/// ended holds none.
pub(super) fn resident_kib(pid: u32) -> Result<u64, ProcfsError> {
    let below = family(pid)?.into_iter().filter(|&member| member != pid);
    let of_children: u64 = below.filter_map(|child| resident_of(child).ok()).sum();
    Ok(resident_of(pid)? + of_children)
}

fn resident_of(pid: u32) -> Result<u64, ProcfsError> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let text = fs::read_to_string(&path).map_err(FileError::at(&path))?;
    parse_resident(&text).ok_or(ProcfsError::NoMemory { path })
}

fn parent(pid: u32) -> Option<u32> {
    parse_parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid` and all that descend from it.
fn family(pid: u32) -> Result<Vec<u32>, ProcfsError> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .map_err(FileError::at(Path::new("/proc")))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|member| Some((member, parent(member)?)))
        .collect();
    Ok(descendants(pid, &parents))
}

fn descendants(pid: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|&&(_, of)| of == parent).map(|&(child, _)| child));
        next += 1;
    }
    found
}

/// The command stands in brackets and may itself hold brackets and spaces: the fields begin after the last one.
fn parse_parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_although_its_name_has_brackets() {
        let text = "42 (a) b (c)) S 7 42 42 0 -1 4194560 100 200 0 0 11 22 3 4 20 0 1 0 5 6 7";
        assert_eq!(parse_parent(text), Some(7));
        assert_eq!(parse_parent("42 (a) S"), None);
        assert_eq!(parse_parent(""), None);
    }

    #[test]
    fn resident_memory_is_in_kib() {
        assert_eq!(parse_resident("VmHWM:\t  99 kB\nVmRSS:\t    1234 kB\n"), Some(1234));
        assert_eq!(parse_resident("VmHWM:\t  99 kB\n"), None);
    }

    #[test]
    fn children_of_children_belong_to_the_family() {
        let parents = [(2, 1), (3, 2), (4, 3), (9, 8), (5, 1)];
        assert_eq!(descendants(1, &parents), [1, 2, 5, 3, 4]);
        assert_eq!(descendants(8, &parents), [8, 9]);
    }

    #[test]
    fn this_very_process_can_be_read() {
        let pid = std::process::id();
        assert!(resident_kib(pid).expect("own memory") > 100);
        let before = cpu_ns(pid).expect("own time");
        assert!(before > 0 && cpu_ns(u32::MAX).is_err());
    }
}
