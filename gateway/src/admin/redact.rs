//! A configuration's text without its secrets.
//!
//! Rather too much is hidden than too little: every string under a key that sounds like a secret, every
//! `{ text = "…" }`, credentials in values, and comments that hold such an assignment. Names of variables and files
//! (`env`, `file`) stay, they are not the secret.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What stands in a secret's place.
const HIDDEN: &str = "\"***\"";
const HIDDEN_COMMENT: &str = "# ***";

/// Parts of a key's name that make its value a secret.
const SECRET_NAMES: [&str; 10] = [
    "secret",
    "token",
    "password",
    "passwd",
    "credential",
    "users",
    "authorization",
    "api-key",
    "apikey",
    "cookie",
];

/// The text with secrets replaced; a text that cannot be read as TOML is hidden altogether.
pub(super) fn hide_secrets(text: &str) -> String {
    let Ok(document) = DeTable::parse(text) else {
        return HIDDEN_COMMENT.to_owned();
    };
    let mut found = Found::default();
    found.table(document.get_ref(), Name::Plain);
    found.comments(text);
    found.hidden.sort_by_key(|(range, _)| range.start);
    let mut shown = String::with_capacity(text.len());
    let mut end = 0;
    for (range, replacement) in found.hidden {
        shown.push_str(&text[end..range.start]);
        shown.push_str(replacement);
        end = range.end;
    }
    shown.push_str(&text[end..]);
    shown
}

/// How the key above a value sounds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Plain,
    Secret,
}

/// What was found in a text.
#[derive(Default)]
struct Found {
    /// What to replace, and by what.
    hidden: Vec<(Range<usize>, &'static str)>,
    /// Keys and strings: a `#` inside one begins no comment.
    texts: Vec<Range<usize>>,
}

impl Found {
    fn table(&mut self, table: &DeTable<'_>, above: Name) {
        for (key, value) in table {
            self.texts.push(key.span());
            let key = key.get_ref();
            let is_only_text = key == "text" && table.len() == 1;
            let name = match &**key {
                "env" | "file" => Name::Plain,
                key if is_only_text || sounds_secret(key) => Name::Secret,
                _ => above,
            };
            self.value(value, name);
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, name: Name) {
        match value.get_ref() {
            DeValue::String(text) => {
                self.texts.push(value.span());
                if name == Name::Secret || holds_credentials(text) {
                    self.hidden.push((value.span(), HIDDEN));
                }
            }
            DeValue::Array(array) => array.iter().for_each(|value| self.value(value, name)),
            DeValue::Table(table) => self.table(table, name),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {}
            DeValue::Datetime(_) => {}
        }
    }

    /// Hides comments in which something secret was once assigned.
    fn comments(&mut self, text: &str) {
        self.texts.sort_by_key(|range| range.start);
        let mut at = 0;
        while let Some(start) = text[at..].find('#').map(|offset| at + offset) {
            let behind = self.texts.partition_point(|range| range.start <= start);
            let inside = behind.checked_sub(1).map(|index| &self.texts[index]);
            if let Some(range) = inside.filter(|range| range.end > start) {
                at = range.end;
                continue;
            }
            let end = text[start..].find('\n').map_or(text.len(), |offset| start + offset);
            let comment = &text[start..end];
            if comment.contains('=') && sounds_secret(comment) || holds_credentials(comment) {
                self.hidden.push((start..end, HIDDEN_COMMENT));
            }
            at = end;
        }
    }
}

fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

/// `https://user:password@host`, `Bearer …`, `Basic …`.
fn holds_credentials(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let in_url = lower.split_once("://").is_some_and(|(_, rest)| {
        rest.split(['/', '?', '#', ' ']).next().is_some_and(|authority| authority.contains('@'))
    });
    in_url || lower.contains("bearer ") || lower.contains("basic ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_stays() {
        for (text, expected) in [
            ("token = \"abc\"", "token = \"***\""),
            ("token = { text = \"abc\" } # why", "token = { text = \"***\" } # why"),
            ("token = { env = \"NAME\" }", "token = { env = \"NAME\" }"),
            ("key = { text = 'abc' }", "key = { text = \"***\" }"),
            ("token = { file = \"a\" }", "token = { file = \"a\" }"),
            ("[admin]\naddress = \"[::1]:1\"\n", "[admin]\naddress = \"[::1]:1\"\n"),
            ("[x.users]\nanna = \"\"\"a\nb\"\"\"\nn = 1", "[x.users]\nanna = \"***\"\nn = 1"),
            ("set = { X-Api-Key = \"k\", b = \"c\" }", "set = { X-Api-Key = \"***\", b = \"c\" }"),
            ("a = [\"https://u:p@host/x\", \"https://h/@\"]", "a = [\"***\", \"https://h/@\"]"),
            ("a = [\"authorization: Bearer abc\"]", "a = [\"***\"]"),
            ("#token = \"old\"\na = \"#b\" # c", "# ***\na = \"#b\" # c"),
            ("a = \"#\" # my_secret = 1\nb = 2", "a = \"#\" # ***\nb = 2"),
            ("passwords = [\"a\", \"b\"]", "passwords = [\"***\", \"***\"]"),
            ("not toml: s3cret", "# ***"),
        ] {
            assert_eq!(hide_secrets(text), expected, "{text}");
        }
    }
}
