//! One fault of a TOML value, and how we say it: in the words of the config, never in Rust's or serde's.

use std::fmt::Display;

use serde::de::{self, Expected, Unexpected};

use super::error::Problem;
use super::source::Place;

/// Why a value cannot be read.
#[derive(Debug)]
pub(super) struct Fault {
    what: What,
    place: Option<Place>,
    /// The key it is about or under.
    key: String,
    /// What to leave out to read on: the start of a key or an element.
    pub(super) pass_over: Option<usize>,
    /// It is only there because something was passed over.
    consequence: bool,
}

#[derive(Debug)]
enum What {
    Value { found: String, expected: String },
    Choice { found: String, known: &'static [&'static str] },
    NotAChoice { found: &'static str, known: &'static [&'static str] },
    UnknownKey { found: String, known: &'static [&'static str] },
    SecondKey { found: String },
    MissingKey(&'static str),
    SecretInPlace { known: &'static [&'static str] },
    Said(String),
}

impl Fault {
    /// A table that is to have one key has this one, too.
    pub(super) fn second_key(found: &str) -> Self {
        What::SecondKey { found: found.to_owned() }.into()
    }

    /// Neither a word nor a table where one of several is to be chosen.
    pub(super) fn not_a_choice(found: &'static str, known: &'static [&'static str]) -> Self {
        What::NotAChoice { found, known }.into()
    }

    /// Where it is and under which key, unless that was said nearer to it.
    pub(super) fn at(mut self, place: Place, key: &str) -> Self {
        if self.place.is_none() {
            self.place = Some(place);
            key.clone_into(&mut self.key);
        }
        self
    }

    /// A word stands where it is the one key of a table.
    pub(super) fn of_word(mut self, word: &str) -> Self {
        if let What::Value { found, expected } = &mut self.what
            && *found == A_WORD
        {
            *found = quoted(word);
            *expected = format!("a table such as {{ {word} = {{ … }} }}");
        }
        self
    }

    /// What to leave out to read on, unless that was said nearer to it.
    pub(super) fn pass_over(mut self, start: usize) -> Self {
        self.pass_over.get_or_insert(start);
        self
    }

    /// A fault of a whole table of which a part was passed over follows from that.
    pub(super) fn consequence(mut self) -> Self {
        self.consequence |= self.place.is_none();
        self
    }

    /// A word that is a key was not expected.
    pub(super) fn of_key(mut self) -> Self {
        if let What::Choice { found, known } = self.what {
            self.what = What::UnknownKey { found, known };
        }
        self
    }

    /// The value must not be repeated.
    pub(super) fn secret(mut self, known: &'static [&'static str]) -> Self {
        if !matches!(self.what, What::UnknownKey { .. } | What::SecondKey { .. }) {
            self.what = What::SecretInPlace { known };
        }
        self
    }

    /// What we say of it; nothing if it only follows from another fault.
    pub(super) fn into_problem(self) -> Option<Problem> {
        let Self { what, place, key, pass_over: _, consequence } = self;
        if consequence {
            return None;
        }
        let (what, help) = what.said(&key);
        Some(Problem { place, what, help })
    }
}

impl What {
    fn said(self, key: &str) -> (String, Option<String>) {
        let within = if key.is_empty() { "at the top".to_owned() } else { format!("in `{key}`") };
        match self {
            Self::Value { found, expected } => {
                let help = (expected == A_LIST && found.starts_with('"'))
                    .then(|| format!("write [{found}]"));
                (format!("`{key}` must be {expected}, not {found}"), help)
            }
            Self::Choice { found, known } => (
                format!("`{key}` cannot be {}", quoted(&found)),
                Some(suggestion(&found, known, "it takes")),
            ),
            Self::NotAChoice { found, known } => (
                format!("`{key}` must be one of {}, not {}", known.join(", "), article(found)),
                None,
            ),
            Self::UnknownKey { found, known } => (
                format!("unknown key `{found}` {within}"),
                Some(suggestion(&found, known, "keys are")),
            ),
            Self::SecondKey { found } => (
                format!("`{found}` is a second key {within}, which takes one"),
                (key == "plugins")
                    .then(|| "write each in braces of its own: [{ … }, { … }]".to_owned()),
            ),
            Self::MissingKey(missing) => (format!("missing key `{missing}` {within}"), None),
            Self::SecretInPlace { known } => (
                format!("`{key}` must say where the secret is, as a table with one key"),
                Some(format!("keys are {}; for example {{ env = \"NAME\" }}", known.join(", "))),
            ),
            Self::Said(text) if text.starts_with('`') => (text, None),
            Self::Said(text) => (format!("`{key}`: {text}"), None),
        }
    }
}

impl From<What> for Fault {
    fn from(what: What) -> Self {
        Self { what, place: None, key: String::new(), pass_over: None, consequence: false }
    }
}

impl de::Error for Fault {
    fn custom<T: Display>(text: T) -> Self {
        What::Said(text.to_string()).into()
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_value(found, expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let is_beyond = match found {
            Unexpected::Unsigned(found) => found > u32::MAX.into(),
            Unexpected::Signed(found) => found > u32::MAX.into(),
            _ => false,
        };
        let expected = match expected_words(&expected.to_string()) {
            words if is_beyond && WHOLE_NUMBERS.contains(&words.as_str()) => {
                format!("a whole number up to {}", u32::MAX)
            }
            words => words,
        };
        What::Value { found: found_words(found), expected }.into()
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let expected = expected_words(&expected.to_string());
        What::Value { found: format!("{length} values"), expected }.into()
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        What::Choice { found: found.to_owned(), known }.into()
    }

    fn unknown_field(found: &str, known: &'static [&'static str]) -> Self {
        What::UnknownKey { found: found.to_owned(), known }.into()
    }

    fn missing_field(key: &'static str) -> Self {
        What::MissingKey(key).into()
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Fault {}

/// What is there, as the config's reader would say it.
fn found_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Char(value) => quoted(&value.to_string()),
        Unexpected::Str(text) | Unexpected::Other(text) => quoted(text),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        Unexpected::UnitVariant => A_WORD.to_owned(),
        Unexpected::Bytes(_)
        | Unexpected::Unit
        | Unexpected::Option
        | Unexpected::NewtypeStruct
        | Unexpected::Enum
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant => "something else".to_owned(),
    }
}

const A_LIST: &str = "a list";
const A_WORD: &str = "a word alone";

/// Numbers whose kind says no upper bound.
const WHOLE_NUMBERS: [&str; 3] =
    ["a whole number, 0 or more", "a whole number, 1 or more", "a whole number"];

/// What serde expects, without Rust's names of types.
fn expected_words(expected: &str) -> String {
    let words = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "a nonzero u16" => "a whole number from 1 to 65535",
        "a nonzero u8" | "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => {
            "a whole number, 1 or more"
        }
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "path string" | "a borrowed string" => "a text in quotes",
        "a sequence" => A_LIST,
        "a map" | "newtype variant" => "a table",
        "unit" => "written as a word alone",
        other if other.starts_with("struct ") || other.starts_with("tuple ") => "a table",
        other if other == "enum" || other.starts_with("enum ") => "a table with one key",
        other => other,
    };
    words.to_owned()
}

fn article(kind: &str) -> String {
    match kind {
        "array" => "a list".to_owned(),
        "integer" => "a number".to_owned(),
        vowel if vowel.starts_with(['a', 'e', 'i', 'o', 'u']) => format!("an {vowel}"),
        other => format!("a {other}"),
    }
}

/// A text of the config in a message: short, and with control characters escaped.
pub(super) fn quoted(text: &str) -> String {
    const LENGTH_MAX: usize = 60;
    if text.chars().count() <= LENGTH_MAX {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(LENGTH_MAX).collect();
    format!("{:?}", start + "…")
}

/// `did you mean …? keys are …`.
pub(super) fn suggestion<S: AsRef<str>>(found: &str, known: &[S], list: &str) -> String {
    const LISTED_MAX: usize = 30;
    let mut all = known.iter().take(LISTED_MAX).map(S::as_ref).collect::<Vec<_>>().join(", ");
    if known.len() > LISTED_MAX {
        all.push_str(", …");
    }
    match nearest(found, known) {
        Some(near) => format!("did you mean `{near}`? {list} {all}"),
        None => format!("{list} {all}"),
    }
}

/// The nearest spelling, if one is near enough to be meant.
pub(super) fn nearest<'k, S: AsRef<str>>(found: &str, known: &'k [S]) -> Option<&'k str> {
    let distance = |known: &str| strsim::osa_distance(&found.to_lowercase(), &known.to_lowercase());
    let bound = (found.chars().count() / 3).clamp(1, 3);
    known
        .iter()
        .map(|known| (distance(known.as_ref()), known.as_ref()))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, known)| known)
}
