//! Which tries a host leads to: its own, then those of its wildcards from the longest, then that of any host.

use std::ops::ControlFlow;

use super::literals::{Literals, Pieces};
use crate::config::HostPattern;

/// Hosts of the configuration, each with the number of its trie.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: Literals,
    /// Suffixes with their first dot.
    wildcards: Literals,
    /// Bytes in the longest suffix: what is longer need not be looked up, however many dots a client sends.
    wildcard_longest: usize,
    any: Option<u32>,
}

impl Hosts {
    /// The trie of a host pattern (`None`: any host), which is `fresh()` when there is none.
    pub(super) fn find_or_insert(
        &mut self,
        pattern: Option<&HostPattern>,
        fresh: impl FnOnce() -> u32,
    ) -> u32 {
        match pattern {
            Some(HostPattern::Exact(host)) => {
                self.exact.find_or_insert(Pieces::whole(host.as_bytes()), fresh)
            }
            Some(HostPattern::Wildcard(suffix)) => {
                self.wildcard_longest = self.wildcard_longest.max(suffix.len());
                self.wildcards.find_or_insert(Pieces::whole(suffix.as_bytes()), fresh)
            }
            None => *self.any.get_or_insert_with(fresh),
        }
    }

    /// Visits the tries of a host until one breaks.
    pub(super) fn each(
        &self,
        host: &str,
        mut visit: impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !self.exact.is_empty()
            && let Some(trie) = self.exact.find(Pieces::whole(host.as_bytes()), &mut 0)
        {
            visit(trie)?;
        }
        // At least one byte stands before the suffix of a wildcard.
        let first = host.len().saturating_sub(self.wildcard_longest).max(1);
        let tail = host.as_bytes().get(first..).filter(|_| !self.wildcards.is_empty());
        let tail = tail.unwrap_or_default();
        let suffixes = memchr::memchr_iter(b'.', tail).map(|dot| Pieces::whole(&tail[dot..]));
        for trie in suffixes.filter_map(|suffix| self.wildcards.find(suffix, &mut 0)) {
            visit(trie)?;
        }
        self.any.map_or(ControlFlow::Continue(()), visit)
    }

    /// All tries in the order of their hosts: exact ones, wildcards from the longest, any.
    pub(super) fn in_order(&self) -> Vec<u32> {
        let mut wildcards = self.wildcards.sorted();
        wildcards.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        let exact = self.exact.sorted();
        exact.into_iter().chain(wildcards).map(|(_, trie)| trie).chain(self.any).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(patterns: &[HostPattern], host: &str) -> Vec<u32> {
        let mut hosts = Hosts::default();
        for (number, pattern) in patterns.iter().enumerate() {
            hosts.find_or_insert(Some(pattern), || number as u32);
        }
        hosts.find_or_insert(None, || 99);
        let mut visited = Vec::new();
        let end = hosts.each(host, |trie| {
            visited.push(trie);
            ControlFlow::Continue(())
        });
        assert!(end.is_continue());
        visited
    }

    #[test]
    fn the_exact_host_goes_before_the_longest_wildcard() {
        let patterns = [
            HostPattern::Wildcard(".example.com".to_owned()),
            HostPattern::Wildcard(".api.example.com".to_owned()),
            HostPattern::Exact("v1.api.example.com".to_owned()),
        ];
        assert_eq!(visited(&patterns, "v1.api.example.com"), [2, 1, 0, 99]);
        assert_eq!(visited(&patterns, "v2.api.example.com"), [1, 0, 99]);
        assert_eq!(visited(&patterns, "a.b.example.com"), [0, 99]);
    }

    #[test]
    fn a_wildcard_wants_something_before_its_suffix() {
        let patterns = [HostPattern::Wildcard(".example.com".to_owned())];
        for host in ["example.com", ".example.com", "", ".", "badexample.com"] {
            assert_eq!(visited(&patterns, host), [99], "{host}");
        }
    }
}
