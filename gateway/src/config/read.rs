//! Turns TOML values into file types and notices every fault on the way, with its place.
//!
//! toml's own deserializer turns each fault into a sentence of serde's at once; this one keeps what happened, so that
//! [`super::fault`] can say it in the words of the config. It also reads on after a fault: what was wrong is passed
//! over in the next round, until a round is clean.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::at::{AT, At};
use super::error::Problem;
use super::fault::Fault;
use super::source::Place;

/// A TOML value with its span.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// So many are enough for one go.
const PROBLEMS_MAX: usize = 100;

/// Reads a value of a file that starts at `base` in the sources; adds what is wrong to `problems`. `passed_over` says
/// which entries and elements are known to be faulty, by where their key or value starts in the file.
/// `None` when what is left without the faulty parts makes no `T`.
pub(super) fn read<T: DeserializeOwned>(
    value: &Value<'_>,
    base: usize,
    passed_over: HashSet<usize>,
    problems: &mut Vec<Problem>,
) -> Option<Read<T>> {
    let mut reading = Reading { base, passed_over, ..Reading::default() };
    loop {
        reading.gaps.set(0);
        reading.lost.take();
        let fault = match At::deserialize(Node { value, key: "", reading: &reading }) {
            Ok(value) => return Some(Read { value, lost: reading.lost.take() }),
            Err(fault) => fault,
        };
        let pass_over = fault.pass_over;
        problems.extend(fault.into_problem());
        // Each fault costs one more round.
        if problems.len() >= PROBLEMS_MAX {
            problems.push(Problem::nowhere(format!("only the first {PROBLEMS_MAX} are told")));
            return None;
        }
        if !pass_over.is_some_and(|start| reading.passed_over.insert(start)) {
            return None;
        }
    }
}

/// What was read of a file.
pub(super) struct Read<T> {
    /// What is left without the faulty parts.
    pub(super) value: At<T>,
    /// The names of the faulty parts.
    pub(super) lost: HashSet<String>,
}

/// One round of reading.
#[derive(Default)]
struct Reading {
    /// Where the file starts in the sources.
    base: usize,
    /// Entries and elements that were wrong in an earlier round, by the start of their key or value.
    passed_over: HashSet<usize>,
    /// How many were met in this round.
    gaps: Cell<usize>,
    /// The keys of those that are entries.
    lost: RefCell<HashSet<String>>,
}

impl Reading {
    fn place<T>(&self, spanned: &Spanned<T>) -> Place {
        let span = spanned.span();
        Place::new(&(span.start + self.base..span.end + self.base))
    }

    fn passes_over<T>(&self, spanned: &Spanned<T>) -> bool {
        let passed = self.passed_over.contains(&spanned.span().start);
        self.gaps.set(self.gaps.get() + usize::from(passed));
        passed
    }
}

/// A value under a key.
#[derive(Clone, Copy)]
struct Node<'a> {
    value: &'a Value<'a>,
    /// The nearest key above it; empty at the top.
    key: &'a str,
    reading: &'a Reading,
}

impl<'a> Node<'a> {
    fn visit_table<V: Visitor<'a>>(
        self,
        table: &'a DeTable<'a>,
        visit: impl FnOnce(&mut Entries<'a>) -> Result<V::Value, Fault>,
    ) -> Result<V::Value, Fault> {
        let mut entries = Entries { rest: table.iter(), node: self, current: None, gap: false };
        let result = visit(&mut entries).and_then(|value| match entries.next() {
            None => Ok(value),
            Some((key, _)) => {
                let place = self.reading.place(key);
                Err(Fault::second_key(key.get_ref()).at(place, self.key))
            }
        });
        result.map_err(|fault| if entries.gap { fault.consequence() } else { fault })
    }

    fn place(&self) -> Place {
        self.reading.place(self.value)
    }
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value.get_ref() {
            DeValue::String(text) => visitor.visit_borrowed_str(text),
            DeValue::Integer(integer) => visit_integer(integer, visitor),
            DeValue::Float(float) => match float.as_str().parse() {
                Ok(float) => visitor.visit_f64(float),
                Err(_) => {
                    Err(de::Error::invalid_value(Unexpected::Other(float.as_str()), &visitor))
                }
            },
            DeValue::Boolean(boolean) => visitor.visit_bool(*boolean),
            DeValue::Datetime(datetime) => visitor.visit_string(datetime.to_string()),
            DeValue::Array(array) => visitor.visit_seq(Elements { rest: array, node: self }),
            DeValue::Table(table) => {
                self.visit_table::<V>(table, |entries| visitor.visit_map(entries))
            }
        }
        .map_err(|fault| fault.at(self.place(), self.key))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name != AT {
            return self.deserialize_any(visitor);
        }
        let (place, gaps) = (self.place(), self.reading.gaps.get());
        visitor.visit_seq(AtParts { place, gaps, reading: self.reading, part: 0, value: self })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.value.get_ref() {
            DeValue::String(text) => visitor
                .visit_enum(text.as_ref().into_deserializer())
                .map_err(|fault: Fault| fault.of_word(text)),
            DeValue::Table(table) if table.is_empty() => {
                Err(Fault::not_a_choice("empty table", variants))
            }
            DeValue::Table(table) => self.visit_table::<V>(table, |entries| {
                visitor.visit_enum(MapAccessDeserializer::new(entries))
            }),
            other => Err(Fault::not_a_choice(other.type_str(), variants)),
        }
        .map_err(|fault| fault.at(self.place(), self.key))
        // A secret that was written where its source belongs must not end up in a log.
        .map_err(|fault| if name == "Secret" { fault.secret(variants) } else { fault })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple map struct identifier ignored_any
    }
}

fn visit_integer<'a, V: Visitor<'a>>(
    integer: &DeInteger<'_>,
    visitor: V,
) -> Result<V::Value, Fault> {
    let (digits, radix) = (integer.as_str(), integer.radix());
    if let Ok(signed) = i64::from_str_radix(digits, radix) {
        visitor.visit_i64(signed)
    } else if let Ok(unsigned) = u64::from_str_radix(digits, radix) {
        visitor.visit_u64(unsigned)
    } else {
        Err(de::Error::invalid_value(Unexpected::Other(digits), &visitor))
    }
}

/// The entries of a table that are not passed over.
struct Entries<'a> {
    rest: toml::map::Iter<'a, Spanned<Cow<'a, str>>, Value<'a>>,
    node: Node<'a>,
    current: Option<(&'a Spanned<Cow<'a, str>>, &'a Value<'a>)>,
    /// One was passed over.
    gap: bool,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a Spanned<Cow<'a, str>>, &'a Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        for (key, value) in self.rest.by_ref() {
            if !self.node.reading.passes_over(key) {
                return Some((key, value));
            }
            self.gap = true;
            self.node.reading.lost.borrow_mut().insert(key.get_ref().to_string());
        }
        None
    }
}

impl<'a> MapAccess<'a> for Entries<'a> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.current = self.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        let reading = self.node.reading;
        seed.deserialize(KeyNode { key, reading }).map(Some).map_err(|fault| {
            fault.of_key().at(reading.place(key), self.node.key).pass_over(key.span().start)
        })
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, value)) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(Node { value, key: key.get_ref(), reading: self.node.reading })
            .map_err(|fault| fault.pass_over(key.span().start))
    }
}

/// The elements of an array that are not passed over.
struct Elements<'a> {
    rest: &'a [Value<'a>],
    node: Node<'a>,
}

impl<'a> SeqAccess<'a> for Elements<'a> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        while let Some((value, rest)) = self.rest.split_first() {
            self.rest = rest;
            if !self.node.reading.passes_over(value) {
                return seed
                    .deserialize(Node { value, ..self.node })
                    .map(Some)
                    .map_err(|fault| fault.pass_over(value.span().start));
            }
        }
        Ok(None)
    }
}

/// A key of a table.
#[derive(Clone, Copy)]
struct KeyNode<'a> {
    key: &'a Spanned<Cow<'a, str>>,
    reading: &'a Reading,
}

impl<'de> Deserializer<'de> for KeyNode<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(self.key.get_ref())
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let (place, gaps) = (self.reading.place(self.key), self.reading.gaps.get());
        visitor.visit_seq(AtParts { place, gaps, reading: self.reading, part: 0, value: self })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct option enum seq tuple map struct identifier ignored_any
    }
}

/// What [`At`] is made of: start, end, value, and whether it is whole.
struct AtParts<'a, D> {
    place: Place,
    gaps: usize,
    reading: &'a Reading,
    part: u8,
    value: D,
}

impl<'a, D: Deserializer<'a, Error = Fault> + Copy> SeqAccess<'a> for AtParts<'a, D> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        self.part += 1;
        match self.part {
            1 => seed.deserialize(self.place.start().into_deserializer()),
            2 => seed.deserialize(self.place.end().into_deserializer()),
            3 => seed.deserialize(self.value),
            4 => {
                let whole = self.reading.gaps.get() == self.gaps;
                seed.deserialize(whole.into_deserializer())
            }
            _ => return Ok(None),
        }
        .map(Some)
    }
}
