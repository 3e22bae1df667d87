//! Tries a condition on a sample request: what could never work for any request is refused when the router is built.

use cel::common::ast::{Expr, operators};
use cel::{Context, ExecutionError, IdedExpr, Value};

use super::Condition;
use super::analyse::{Fault, nearest};
use super::functions::ENVIRONMENT;
use super::values::Values;

/// Functions to suggest for one that does not exist.
const FUNCTIONS: [&str; 17] = [
    "all",
    "bool",
    "bytes",
    "contains",
    "double",
    "endsWith",
    "exists",
    "exists_one",
    "filter",
    "has",
    "in_network",
    "int",
    "map",
    "matches",
    "size",
    "startsWith",
    "string",
];

/// Evaluates each part of a condition that others might skip (`a && b` skips `b`), in a request that has every key the
/// condition speaks of. Types that never fit and functions that do not exist show; values that happen not to fit do
/// not.
pub(super) fn check(condition: &Condition, texts: &[String]) -> Result<(), Fault> {
    let values = Values::sample(texts, &condition.literals);
    part(&condition.expression, &values)
}

/// Checks a part that has to be true or false.
fn part(expression: &IdedExpr, values: &Values<'_>) -> Result<(), Fault> {
    if let Expr::Call(call) = &expression.expr
        && [
            operators::LOGICAL_AND,
            operators::LOGICAL_OR,
            operators::LOGICAL_NOT,
            operators::CONDITIONAL,
        ]
        .contains(&call.func_name.as_str())
    {
        return call.args.iter().try_for_each(|side| part(side, values));
    }
    let mut context = Context::with_env(ENVIRONMENT.clone());
    context.set_variable_resolver(values);
    match Value::resolve_val(expression, &context) {
        Ok(value) if value.get_type().name() != "bool" => {
            let what = format!("the condition is of type {}", value.get_type().name());
            Err(Fault::new(what, "a condition is true or false: compare it with something"))
        }
        Ok(_) => Ok(()),
        Err(error) => never_works(error).map_or(Ok(()), Err),
    }
}

/// The fault behind an error that no request can avoid.
fn never_works(error: ExecutionError) -> Option<Fault> {
    match error {
        ExecutionError::UndeclaredReference(name) => {
            let help = match nearest(&name, FUNCTIONS.into_iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", FUNCTIONS.join(", ")),
            };
            Some(Fault::new(format!("unknown function `{name}` in the condition"), help))
        }
        ExecutionError::NoSuchOverload(error) => {
            let types = error.argument_types().join(", ");
            let what = format!("`{}` in the condition does not take ({types})", error.function());
            Some(Fault { what, help: None })
        }
        ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::InvalidArgumentCount { .. }
        | ExecutionError::NotSupportedAsMethod { .. }
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::MissingArgumentOrTarget
        | ExecutionError::UnsupportedKeyType(_)
        | ExecutionError::UnsupportedIndex(..) => {
            let what = format!("the condition cannot be evaluated: {error}");
            Some(Fault { what, help: None })
        }
        // The sample's values are to blame (`int(header.n)` of a word), and the error type may grow.
        _ => None,
    }
}
