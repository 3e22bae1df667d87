//! The functions of conditions beyond CEL's own, and the patterns and networks they are given.

use std::any::Any;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use cel::common::types::{CelBool, CelString, DYN_TYPE, STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Env, ExecutionError};
use ipnet::IpNet;
use regex::Regex;

/// What `matches` becomes once its pattern is compiled. Not an identifier, so no condition can say it.
pub(super) const MATCHES: &str = "@matches";
/// What `in_network` becomes once its network is read.
pub(super) const IN_NETWORK: &str = "@in_network";

/// A text of a condition that was read when it was compiled.
#[derive(Clone, Debug)]
pub(super) enum Literal {
    /// The pattern of `matches`.
    Pattern(Regex),
    /// The network of `in_network`.
    Network(IpNet),
}

/// CEL's standard functions and ours; shared by all conditions.
pub(super) static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    for (name, function) in
        [(MATCHES, matches as cel::common::functions::Function), (IN_NETWORK, in_network)]
    {
        environment
            .add_overload(name, name, vec![STRING_TYPE, DYN_TYPE], function)
            .expect("the names are ours alone and differ");
    }
    Arc::new(environment)
});

#[expect(clippy::needless_pass_by_value, reason = "the interpreter's signature")]
fn matches<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, literal] = arguments.as_slice() else { return Err(wrong("matches")) };
    match (text.downcast_ref::<CelString<'_>>(), literal.downcast_ref::<Literal>()) {
        (Some(text), Some(Literal::Pattern(pattern))) => {
            Ok(yes_or_no(pattern.is_match(text.inner())))
        }
        _ => Err(wrong("matches")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the interpreter's signature")]
fn in_network<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, literal] = arguments.as_slice() else { return Err(wrong("in_network")) };
    match (text.downcast_ref::<CelString<'_>>(), literal.downcast_ref::<Literal>()) {
        (Some(text), Some(Literal::Network(network))) => {
            let address: IpAddr = text.inner().parse().map_err(|_| {
                let message = format!("\"{}\" is not an address", text.inner());
                ExecutionError::function_error("in_network", message)
            })?;
            Ok(yes_or_no(network.contains(&address.to_canonical())))
        }
        _ => Err(wrong("in_network")),
    }
}

fn yes_or_no<'b, 'v>(value: bool) -> CowVal<'b, 'v> {
    CowVal::owned(CelBool::from(value))
}

fn wrong(function: &str) -> ExecutionError {
    ExecutionError::function_error(function, "it takes a text and a fixed text")
}

impl Val for Literal {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static Type {
        static LITERAL: Type = Type::new_unspecified_type("literal");
        &LITERAL
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Literal {}
