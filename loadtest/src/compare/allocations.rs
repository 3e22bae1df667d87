//! Calls of the allocator in what callgrind wrote: glibc's, mimalloc's, tcmalloc's.

use std::collections::{HashMap, HashSet};

/// Calls that hand out memory, counted where they enter the allocator: what it calls inside itself is its own affair.
pub(super) fn calls(text: &str) -> u64 {
    let mut names = Names::default();
    let (mut within, mut entered) = (false, false);
    let mut sum = 0;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            within = names.is_allocator(name);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            entered = names.hands_out(name);
        } else if let Some(rest) = line.strip_prefix("calls=")
            && entered
            && !within
        {
            sum += rest.split_whitespace().next().and_then(|count| count.parse().ok()).unwrap_or(0);
        }
    }
    sum
}

/// callgrind writes `(12) name` once and `(12)` from then on.
#[derive(Default)]
struct Names<'a> {
    allocator: HashSet<&'a str>,
    hands_out: HashSet<&'a str>,
    known: HashMap<&'a str, &'a str>,
}

impl<'a> Names<'a> {
    fn is_allocator(&mut self, name: &'a str) -> bool {
        let id = self.learn(name);
        self.allocator.contains(id)
    }

    fn hands_out(&mut self, name: &'a str) -> bool {
        let id = self.learn(name);
        self.hands_out.contains(id)
    }

    fn learn(&mut self, text: &'a str) -> &'a str {
        let Some((id, name)) = text.split_once(' ') else { return text };
        if self.known.insert(id, name).is_none() {
            // A function that calls itself is written as name'2, one of a library as name@@VERSION.
            let name = name.split(['\'', '@']).next().unwrap_or(name);
            if is_allocator(name) {
                self.allocator.insert(id);
            }
            if hands_out(name) {
                self.hands_out.insert(id);
            }
        }
        id
    }
}

const GLIBC: [&str; 7] =
    ["malloc", "calloc", "realloc", "memalign", "posix_memalign", "aligned_alloc", "reallocarray"];

fn hands_out(name: &str) -> bool {
    let mimalloc = name.strip_prefix("mi_").is_some_and(|rest| {
        ["malloc", "zalloc", "calloc", "realloc", "new", "heap_malloc", "heap_zalloc", "rezalloc"]
            .iter()
            .any(|form| rest.starts_with(form))
    });
    mimalloc || GLIBC.contains(&name) || is_operator_new(name)
}

fn is_operator_new(name: &str) -> bool {
    name.starts_with("operator new") || name.starts_with("_Znw") || name.starts_with("_Zna")
}

fn is_allocator(name: &str) -> bool {
    hands_out(name) || name.starts_with("mi_") || name.starts_with("_mi_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
fn=(1) gateway::answer
cfn=(2) mi_malloc_aligned
calls=10 0
4 500
cfn=(3) mi_free
calls=10 0
4 100
fn=(2)
cfn=(4) mi_heap_malloc
calls=10 0
4 300
fn=(5) other
cfn=(6) malloc
calls=3 0
4 300
cfn=(2)
calls=2 0
4 80
cfn=(7) mallopt
calls=9 0
4 80
";

    #[test]
    fn only_what_enters_the_allocator_counts() {
        assert_eq!(calls(TEXT), 15);
        assert_eq!(calls(""), 0);
    }

    #[test]
    fn all_forms_are_known() {
        for name in ["calloc", "posix_memalign", "mi_zalloc_aligned", "mi_realloc", "_Znwm"] {
            assert!(hands_out(name), "{name}");
        }
        for name in ["free", "mi_free", "mallopt", "ngx_palloc", "mi_usable_size"] {
            assert!(!hands_out(name), "{name}");
        }
    }
}
