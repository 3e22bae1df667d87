//! Reads a parsed condition: which variables it refers to, whether they exist, and its patterns and networks.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};
use cel::{IdedExpr, ParseErrors};
use ipnet::IpNet;
use regex::RegexBuilder;

use super::functions::{IN_NETWORK, Literal, MATCHES};
use super::values::{MAPS, TEXTS};

/// The name under which an expression refers to one of its literals, followed by an index.
pub(super) const LITERAL: &str = "@literal";

/// The compiled pattern of one `matches`, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// How deep the parts of a condition nest, chains of operators included: evaluation takes as much stack.
pub(super) const DEPTH_MAX: usize = 32;

/// Names that are CEL's own.
const OWN_NAMES: [&str; 11] =
    ["bool", "bytes", "double", "dyn", "int", "list", "map", "null_type", "string", "type", "uint"];

/// What is wrong with a condition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: Some(help.into()) }
    }
}

/// Which variables a condition refers to, by their place in [`TEXTS`] and [`MAPS`].
#[derive(Debug, Default)]
pub(super) struct Uses {
    pub(super) texts: [bool; TEXTS.len()],
    pub(super) maps: [Wanted; MAPS.len()],
}

/// Which entries of a map a condition can see.
#[derive(Debug)]
pub(super) enum Wanted {
    /// These.
    Keys(Vec<String>),
    /// It loops over them, or computes the key.
    All,
}

impl Default for Wanted {
    fn default() -> Self {
        Self::Keys(Vec::new())
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Analysis {
    pub(super) uses: Uses,
    pub(super) literals: Vec<Literal>,
    /// All fixed texts: keys that a sample request should have.
    pub(super) texts: Vec<String>,
}

/// Reads an expression, and puts references to its literals where patterns and networks were.
pub(super) fn analyse(expression: &mut IdedExpr, parameters: &[String]) -> Result<Analysis, Fault> {
    let mut reader = Reader { parameters, bound: Vec::new(), depth: 0, found: Analysis::default() };
    reader.expression(expression)?;
    Ok(reader.found)
}

/// What a parser's complaint says, on one line.
pub(super) fn unreadable(errors: &ParseErrors) -> String {
    let Some(first) = errors.errors.first() else {
        return "the condition cannot be read".to_owned();
    };
    let message = first.msg.split_whitespace().collect::<Vec<_>>().join(" ");
    let (line, column) = first.pos;
    let line = if line > 1 { format!("line {line}, ") } else { String::new() };
    format!("the condition cannot be read at its {line}character {column}: {message}")
}

/// The name in a list that is spelt most like one that is not in it.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|other| (strsim::jaro_winkler(name, other), other));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(score, _)| *score > 0.75).map(|(_, other)| other)
}

struct Reader<'a> {
    parameters: &'a [String],
    /// The variables of the loop that is being read.
    bound: Vec<String>,
    depth: usize,
    found: Analysis,
}

impl Reader<'_> {
    fn expression(&mut self, expression: &mut IdedExpr) -> Result<(), Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::new(
                "the condition nests too deep",
                format!("{DEPTH_MAX} levels do, with each `+` and each call in a chain as one"),
            ));
        }
        self.depth += 1;
        let read = self.parts(expression);
        self.depth -= 1;
        read
    }

    fn parts(&mut self, expression: &mut IdedExpr) -> Result<(), Fault> {
        match &mut expression.expr {
            Expr::Unspecified => Ok(()),
            Expr::Literal(literal) => {
                if let LiteralValue::String(text) = literal {
                    self.found.texts.push(text.inner().to_owned());
                }
                Ok(())
            }
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => match self.map_named(&select.operand) {
                Some(map) => self.key(map, &select.field),
                None => self.expression(&mut select.operand),
            },
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.all(&mut list.elements),
            Expr::Map(map) => {
                map.entries.iter_mut().try_for_each(|entry| self.entry(&mut entry.expr))
            }
            Expr::Struct(of) => {
                of.entries.iter_mut().try_for_each(|entry| self.entry(&mut entry.expr))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn all(&mut self, expressions: &mut [IdedExpr]) -> Result<(), Fault> {
        expressions.iter_mut().try_for_each(|expression| self.expression(expression))
    }

    fn entry(&mut self, entry: &mut EntryExpr) -> Result<(), Fault> {
        match entry {
            EntryExpr::StructField(field) => self.expression(&mut field.value),
            EntryExpr::MapEntry(entry) => {
                self.expression(&mut entry.key)?;
                self.expression(&mut entry.value)
            }
        }
    }

    fn name(&mut self, name: &str) -> Result<(), Fault> {
        if self.is_bound(name) || OWN_NAMES.contains(&name) {
            return Ok(());
        }
        if let Some(index) = TEXTS.iter().position(|text| *text == name) {
            self.found.uses.texts[index] = true;
            return Ok(());
        }
        if let Some(index) = MAPS.iter().position(|map| *map == name) {
            self.found.uses.maps[index] = Wanted::All;
            return Ok(());
        }
        let known = || TEXTS.into_iter().chain(MAPS);
        let help = match nearest(name, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
        };
        Err(Fault::new(format!("unknown variable `{name}` in the condition"), help))
    }

    /// A fixed key of one of our maps.
    fn key(&mut self, map: usize, key: &str) -> Result<(), Fault> {
        self.found.texts.push(key.to_owned());
        match MAPS[map] {
            "header" if key.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                let what =
                    format!("there is never a header `{key}`: their names are in lower case");
                return Err(Fault::new(what, format!("write `{}`", key.to_ascii_lowercase())));
            }
            "params" if !self.parameters.iter().any(|name| name == key) => {
                let known = self.parameters.iter().map(String::as_str);
                let help = match nearest(key, known.clone()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if self.parameters.is_empty() => "it has none".to_owned(),
                    None => format!("it has {}", known.collect::<Vec<_>>().join(", ")),
                };
                return Err(Fault::new(format!("the path has no parameter `{key}`"), help));
            }
            _ => {}
        }
        if let Wanted::Keys(keys) = &mut self.found.uses.maps[map]
            && !keys.iter().any(|known| known == key)
        {
            keys.push(key.to_owned());
        }
        Ok(())
    }

    fn call(&mut self, call: &mut CallExpr) -> Result<(), Fault> {
        if let Some((map, key)) = self.fixed_key(call) {
            return self.key(map, &key);
        }
        match call.func_name.as_str() {
            "matches" => return self.with_literal(call, MATCHES, pattern),
            "in_network" => return self.with_literal(call, IN_NETWORK, network),
            _ => {}
        }
        if let Some(target) = &mut call.target
            && !matches!(&target.expr, Expr::Ident(name) if name == "optional")
        {
            self.expression(target)?;
        }
        self.all(&mut call.args)
    }

    /// `header["x"]` and `"x" in header`: which map and key it is about.
    fn fixed_key(&self, call: &CallExpr) -> Option<(usize, String)> {
        let [first, second] = call.args.as_slice() else { return None };
        let (map, key) = match call.func_name.as_str() {
            operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT => (first, second),
            operators::IN => (second, first),
            _ => return None,
        };
        Some((self.map_named(map)?, fixed_text(key)?.to_owned()))
    }

    /// A call whose last argument is a fixed text that is read now.
    fn with_literal(
        &mut self,
        call: &mut CallExpr,
        name: &str,
        read: impl FnOnce(&str) -> Result<Literal, Fault>,
    ) -> Result<(), Fault> {
        let written = std::mem::replace(&mut call.func_name, name.to_owned());
        if let Some(target) = call.target.take() {
            call.args.insert(0, *target);
        }
        let [subject, literal] = call.args.as_mut_slice() else {
            return Err(Fault::new(
                format!("`{written}` has {} arguments", call.args.len()),
                format!("it takes two: {written}(text, \"…\")"),
            ));
        };
        let Some(text) = fixed_text(literal) else {
            return Err(Fault::new(
                format!("the second argument of `{written}` is computed from the request"),
                "it is a fixed text, so that it is read once",
            ));
        };
        let index = self.found.literals.len();
        self.found.literals.push(read(text)?);
        literal.expr = Expr::Ident(format!("{LITERAL}{index}"));
        self.expression(subject)
    }

    fn comprehension(&mut self, comprehension: &mut ComprehensionExpr) -> Result<(), Fault> {
        if !self.bound.is_empty() {
            return Err(Fault::new(
                "the condition has a loop (`all`, `exists`, `map`, `filter`, …) within a loop",
                "loops can follow each other but not nest",
            ));
        }
        self.expression(&mut comprehension.iter_range)?;
        let ComprehensionExpr { iter_var, iter_var2, accu_var, .. } = comprehension;
        self.bound.extend([iter_var.clone(), accu_var.clone()]);
        self.bound.extend(iter_var2.clone());
        let inner = [
            &mut comprehension.accu_init,
            &mut comprehension.loop_cond,
            &mut comprehension.loop_step,
            &mut comprehension.result,
        ];
        let read = inner.into_iter().try_for_each(|expression| self.expression(expression));
        self.bound.clear();
        read
    }

    /// The index of the map that an expression names.
    fn map_named(&self, expression: &IdedExpr) -> Option<usize> {
        let Expr::Ident(name) = &expression.expr else { return None };
        MAPS.iter().position(|map| map == name).filter(|_| !self.is_bound(name))
    }

    fn is_bound(&self, name: &str) -> bool {
        self.bound.iter().any(|bound| bound == name)
    }
}

fn fixed_text(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

fn pattern(text: &str) -> Result<Literal, Fault> {
    let built = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
    built.map(Literal::Pattern).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Fault::new(format!("the pattern \"{text}\" is no regular expression"), reason)
    })
}

fn network(text: &str) -> Result<Literal, Fault> {
    let address = || text.parse().map(|address: std::net::IpAddr| address.into());
    let network = text.parse::<IpNet>().or_else(|_| address());
    network.map(Literal::Network).map_err(|_| {
        Fault::new(
            format!("\"{text}\" is neither a network nor an address"),
            "write \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.1\"",
        )
    })
}
