//! The variables of a condition, taken from the request: only those it refers to.

use std::borrow::Cow;
use std::collections::HashMap;

use cel::common::types::{CelMap, CelMapKey, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;

use super::Condition;
use super::analyse::{LITERAL, Uses, Wanted};
use super::functions::Literal;
use crate::routing::parameters::Parameters;
use crate::routing::router::Asked;

/// A condition that loops over the query or the cookies sees so many of them; what follows is not there for it.
pub const ENTRIES_MAX: usize = 256;

/// The variables that are texts.
pub(super) const TEXTS: [&str; 5] = ["method", "scheme", "host", "path", "client"];
/// The variables that are maps.
pub(super) const MAPS: [&str; 4] = ["header", "query", "cookie", "params"];

/// The variables of one condition in one request.
#[derive(Debug)]
pub(super) struct Values<'a> {
    texts: [Cow<'a, str>; TEXTS.len()],
    maps: [CelMap<'a>; MAPS.len()],
    literals: &'a [Literal],
}

impl<'a> Values<'a> {
    pub(super) fn new(
        asked: &Asked<'a>,
        parameters: &Parameters,
        condition: &'a Condition,
    ) -> Self {
        let Condition { uses, literals, parameters: names, .. } = condition;
        let client =
            if uses.texts[4] { asked.client.to_canonical().to_string() } else { String::new() };
        let texts = [asked.method.as_str(), asked.scheme, asked.host, asked.path];
        let [method, scheme, host, path] = texts.map(Cow::Borrowed);
        let params = names.iter().enumerate().map(|(index, name)| {
            (Cow::Borrowed(name.as_str()), decoded(parameters.get(asked.path, index), Plus::Stays))
        });
        Self {
            texts: [method, scheme, host, path, Cow::Owned(client)],
            maps: [
                headers(asked, &uses.maps[0]),
                uses.maps[1].first(pairs(asked.query)),
                uses.maps[2].first(cookies(asked)),
                uses.maps[3].first(params),
            ],
            literals,
        }
    }

    /// Maps in which each of these keys is there, to try a condition on.
    pub(super) fn sample(texts: &'a [String], literals: &'a [Literal]) -> Self {
        let sample = ["GET", "https", "www.example.com", "/1", "192.0.2.1"].map(Cow::Borrowed);
        let map = || {
            let keys = texts.iter().map(|key| (Cow::Borrowed(key.as_str()), Cow::Borrowed("1")));
            Wanted::All.first(keys.chain([(Cow::Borrowed("1"), Cow::Borrowed("1"))]))
        };
        Self { texts: sample, maps: std::array::from_fn(|_| map()), literals }
    }

    /// What the condition refers to, as it is written, with its value.
    pub(super) fn looked_at(&self, uses: &Uses) -> Vec<(String, Option<String>)> {
        let mut seen = Vec::new();
        for (index, name) in TEXTS.iter().enumerate() {
            if uses.texts[index] {
                seen.push(((*name).to_owned(), Some(self.texts[index].to_string())));
            }
        }
        for (index, name) in MAPS.iter().enumerate() {
            let map = &self.maps[index];
            match &uses.maps[index] {
                Wanted::Keys(keys) => {
                    seen.extend(
                        keys.iter().map(|key| (format!("{name}[{key:?}]"), text(map, key))),
                    );
                }
                Wanted::All => seen.push((format!("size({name})"), Some(map.len().to_string()))),
            }
        }
        seen
    }
}

impl VariableResolver for Values<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(index) = variable.strip_prefix(LITERAL) {
            let literal = self.literals.get(index.parse::<usize>().ok()?)?;
            return Some(CowVal::Borrowed(literal));
        }
        if let Some(index) = TEXTS.iter().position(|name| *name == variable) {
            return Some(CowVal::owned(CelString::from(&*self.texts[index])));
        }
        let index = MAPS.iter().position(|name| *name == variable)?;
        Some(CowVal::Borrowed(&self.maps[index]))
    }
}

impl Wanted {
    /// A map of the first value of each wanted key.
    fn first<'a>(&self, pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> CelMap<'a> {
        let mut map: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> = HashMap::new();
        if matches!(self, Self::Keys(keys) if keys.is_empty()) {
            return CelMap::from(map);
        }
        for (name, value) in pairs {
            let wanted = match self {
                Self::Keys(keys) => keys.iter().any(|key| *key == name),
                Self::All => map.len() < ENTRIES_MAX,
            };
            if wanted {
                let key = CelMapKey::String(CelString::from(name));
                map.entry(key).or_insert_with(|| Box::new(CelString::from(value)));
            }
        }
        CelMap::from(map)
    }
}

fn headers<'a>(asked: &Asked<'a>, wanted: &'a Wanted) -> CelMap<'a> {
    let headers = asked.headers;
    let joined = |name: &str| {
        let mut values =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let first = values.next().unwrap_or_default();
        values.fold(first, |joined, value| Cow::Owned(format!("{joined}, {value}")))
    };
    match wanted {
        Wanted::Keys(keys) => {
            let here = keys.iter().filter(|key| headers.contains_key(key.as_str()));
            wanted.first(here.map(|key| (Cow::Borrowed(key.as_str()), joined(key))))
        }
        Wanted::All => wanted.first(
            headers.keys().map(|name| (Cow::Borrowed(name.as_str()), joined(name.as_str()))),
        ),
    }
}

/// The first value of this name in a query, both decoded.
pub(crate) fn first_of_query<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    pairs(query).find(|(known, _)| known == name).map(|(_, value)| value)
}

/// The pairs of a query.
fn pairs<'a>(query: Option<&'a str>) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name, Plus::IsSpace), decoded(value, Plus::IsSpace))
    })
}

fn cookies<'a>(asked: &Asked<'a>) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
    let lines = asked.headers.get_all(http::header::COOKIE).iter();
    let lines = lines.filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((Cow::Borrowed(name.trim()), Cow::Borrowed(value.trim())))
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    IsSpace,
    Stays,
}

/// Percent-decodes a text; what is not UTF-8 then becomes U+FFFD, and a broken escape stays as it is.
fn decoded(text: &str, plus: Plus) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, digit(after.first()), digit(after.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            (b'+', ..) if plus == Plus::IsSpace => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn text(map: &CelMap<'_>, key: &str) -> Option<String> {
    let value = map.inner().get(&CelMapKey::from(key))?;
    value.downcast_ref::<CelString<'_>>().map(|text| text.inner().to_owned())
}
