//! A tree of path segments: every pattern that matches a path is found, the most specific first.
//!
//! How long a search takes depends on the segments of the path and on how often patterns branch between exact text and
//! parameters on the way, not on how many patterns there are. It never visits more nodes than the patterns have
//! segments, whatever a client sends, and goes no deeper than the longest pattern.

use std::ops::ControlFlow;

use super::literals::{Literals, Pieces};
use super::parameters::Parameters;
use super::path;
use crate::config::Segment;

/// Patterns of one host; the first node is the root.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
}

/// The patterns that begin in the same way.
#[derive(Debug, Default)]
struct Node {
    /// Segments that are exactly this.
    exact: Literals,
    /// Segments with text around a parameter, the most text first.
    affixed: Vec<Affixed>,
    /// A segment that is a parameter.
    parameter: Option<u32>,
    /// The leaf of the pattern that ends here.
    end: Option<u32>,
    /// The leaf of the pattern that takes whatever follows.
    rest: Option<u32>,
}

/// All children with that much text before and after a parameter; at most one of them fits a segment.
#[derive(Debug)]
struct Affixed {
    prefix: usize,
    suffix: usize,
    literals: Literals,
}

impl Default for Trie {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Trie {
    /// The leaf of a pattern, which is `fresh()` when no pattern of this shape was there.
    pub(super) fn find_or_insert(
        &mut self,
        segments: &[Segment],
        fresh: impl FnOnce() -> u32,
    ) -> u32 {
        let mut node = 0;
        for segment in segments {
            let next = self.nodes.len() as u32;
            let parent = &mut self.nodes[node];
            let child = match segment {
                Segment::Exact(text) => {
                    let text = path::literal(text);
                    parent.exact.find_or_insert(Pieces::whole(text.as_bytes()), || next)
                }
                Segment::Parameter { prefix, suffix, .. }
                    if prefix.is_empty() && suffix.is_empty() =>
                {
                    *parent.parameter.get_or_insert(next)
                }
                Segment::Parameter { prefix, suffix, .. } => {
                    parent.affixed_child(&path::literal(prefix), &path::literal(suffix), next)
                }
                Segment::CatchAll(_) => return *parent.rest.get_or_insert_with(fresh),
            };
            if child == next {
                self.nodes.push(Node::default());
            }
            node = child as usize;
        }
        *self.nodes[node].end.get_or_insert_with(fresh)
    }

    /// Visits the leaves of the patterns that match a path, the most specific first, until one breaks. What it breaks
    /// for the visitor keeps: carried up through every level, it would be copied at each. Adds the nodes and
    /// comparisons it took to `steps`.
    pub(super) fn walk(
        &self,
        path: &str,
        steps: &mut u32,
        visit: impl FnMut(u32, &Parameters) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !path.starts_with('/') {
            return ControlFlow::Continue(());
        }
        let parameters = Parameters::default();
        let mut walk = Walk { trie: self, path: path.as_bytes(), parameters, steps, visit };
        walk.segment(0, 1)
    }

    /// All leaves in the order in which [`Trie::walk`] would visit them, siblings by their text.
    pub(super) fn in_order(&self) -> Vec<u32> {
        let mut leaves = Vec::new();
        let mut ahead = vec![Ahead::Node(0)];
        while let Some(next) = ahead.pop() {
            let node = match next {
                Ahead::Leaf(leaf) => {
                    leaves.push(leaf);
                    continue;
                }
                Ahead::Node(node) => &self.nodes[node as usize],
            };
            leaves.extend(node.end);
            // What is pushed last is looked at first.
            ahead.extend(node.rest.map(Ahead::Leaf));
            ahead.extend(node.parameter.map(Ahead::Node));
            let affixed = node.affixed.iter().rev().map(|affixed| &affixed.literals);
            for literals in affixed.chain([&node.exact]) {
                let children = literals.sorted().into_iter().rev();
                ahead.extend(children.map(|(_, child)| Ahead::Node(child)));
            }
        }
        leaves
    }
}

enum Ahead {
    Node(u32),
    Leaf(u32),
}

impl Node {
    fn affixed_child(&mut self, prefix: &str, suffix: &str, next: u32) -> u32 {
        let lengths = |prefix: usize, suffix: usize| std::cmp::Reverse((prefix + suffix, prefix));
        let wanted = lengths(prefix.len(), suffix.len());
        let place =
            self.affixed.binary_search_by_key(&wanted, |child| lengths(child.prefix, child.suffix));
        let place = place.unwrap_or_else(|free| {
            let literals = Literals::default();
            let fresh = Affixed { prefix: prefix.len(), suffix: suffix.len(), literals };
            self.affixed.insert(free, fresh);
            free
        });
        let pieces = Pieces { head: prefix.as_bytes(), tail: suffix.as_bytes() };
        self.affixed[place].literals.find_or_insert(pieces, || next)
    }
}

/// One search.
struct Walk<'a, F> {
    trie: &'a Trie,
    path: &'a [u8],
    parameters: Parameters,
    steps: &'a mut u32,
    visit: F,
}

impl<F: FnMut(u32, &Parameters) -> ControlFlow<()>> Walk<'_, F> {
    /// Goes on at a node with the segment that starts at a byte of the path; past the end there is none left.
    fn segment(&mut self, node: u32, start: usize) -> ControlFlow<()> {
        *self.steps += 1;
        let trie = self.trie;
        let node = &trie.nodes[node as usize];
        let path = self.path;
        let Some(rest) = path.get(start..) else {
            return node.end.map_or(ControlFlow::Continue(()), |leaf| self.leaf(leaf));
        };
        let end = memchr::memchr(b'/', rest).map_or(path.len(), |length| start + length);
        let segment = &path[start..end];
        if let Some(child) = node.exact.find(Pieces::whole(segment), self.steps) {
            self.segment(child, end + 1)?;
        }
        for affixed in &node.affixed {
            self.affixed(affixed, start, end)?;
        }
        if let Some(child) = node.parameter
            && !segment.is_empty()
        {
            self.with_parameter((start, end), |walk| walk.segment(child, end + 1))?;
        }
        let Some(leaf) = node.rest else { return ControlFlow::Continue(()) };
        self.with_parameter((start, path.len()), |walk| walk.leaf(leaf))
    }

    fn affixed(&mut self, affixed: &Affixed, start: usize, end: usize) -> ControlFlow<()> {
        let Affixed { prefix, suffix, literals } = affixed;
        if end - start <= prefix + suffix {
            return ControlFlow::Continue(());
        }
        let (value_start, value_end) = (start + prefix, end - suffix);
        let pieces =
            Pieces { head: &self.path[start..value_start], tail: &self.path[value_end..end] };
        match literals.find(pieces, self.steps) {
            Some(child) => {
                self.with_parameter((value_start, value_end), |walk| walk.segment(child, end + 1))
            }
            None => ControlFlow::Continue(()),
        }
    }

    fn with_parameter(
        &mut self,
        (start, end): (usize, usize),
        go_on: impl FnOnce(&mut Self) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let before = self.parameters.len();
        self.parameters.push(start, end);
        go_on(self)?;
        self.parameters.truncate(before);
        ControlFlow::Continue(())
    }

    fn leaf(&mut self, leaf: u32) -> ControlFlow<()> {
        (self.visit)(leaf, &self.parameters)
    }
}
