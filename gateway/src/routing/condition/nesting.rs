//! How deep a condition nests before it is parsed: the parser of the `cel` crate takes up to 170 kB of stack for each
//! bracket within another (in a build without optimisation), and its own limit counts something else.

/// Brackets within each other, and question marks, that are parsed with the two megabytes of stack a thread has.
pub(super) const LEVELS_MAX: usize = 8;

/// The deepest nesting of brackets outside of quotes, plus the question marks, since each `a ? b : c` may stand within
/// another without brackets.
pub(super) fn levels(text: &str) -> usize {
    let (mut depth, mut deepest, mut questions) = (0_usize, 0, 0);
    let mut rest = text;
    let mut before = None;
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        match next {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '?' => questions += 1,
            '"' | '\'' => rest = after_quoted(rest, next, matches!(before, Some('r' | 'R'))),
            _ => {}
        }
        deepest = deepest.max(depth);
        before = Some(next);
    }
    deepest + questions
}

/// What follows a quoted text whose first quote was just read.
fn after_quoted(text: &str, quote: char, raw: bool) -> &str {
    let triple = String::from_iter([quote; 3]);
    let end = if text.starts_with(&triple[1..]) { &*triple } else { &triple[..1] };
    let mut rest = if end.len() == 3 { &text[2..] } else { text };
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(end) {
            return after;
        }
        let mut characters = rest.chars();
        if characters.next() == Some('\\') && !raw {
            characters.next();
        }
        rest = characters.as_str();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_within_each_other_and_not_in_quotes() {
        for (text, expected) in [
            ("", 0),
            ("a(b) && c(d)", 1),
            ("a(b[c(d)])", 3),
            ("a ? b : c ? d : e", 2),
            ("matches(a, '((((')", 1),
            (r#"f("\"(((") && (a)"#, 1),
            (r"f(r'\') && ((a))", 2),
            ("f('''it's ((( ''') && ((a))", 2),
            ("f('', \"\") && (((a)))", 3),
            ("'((( without an end", 0),
            ("))) (a)", 1),
        ] {
            assert_eq!(levels(text), expected, "{text}");
        }
    }
}
