//! What a reader relies on and what became of it, in words for whoever made the change.

use std::fmt;

use crate::limits::Limit;

/// A reader that a change breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Who relies on it.
    pub reader: String,
    /// Whose it is: a service, or a `.proto` file.
    pub of: String,
    /// Where, down to the field: ``POST /user/verify → 200 → `email` (string)``.
    pub place: String,
    /// What became of it.
    pub change: Change,
}

impl fmt::Display for Breach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reader, of, place, change } = self;
        write!(formatter, "{reader} reads {of}: {place}: {change}")
    }
}

/// What became of something that a reader relies on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Change {
    /// There is no such document or file.
    #[error("the description is gone")]
    DescriptionGone,
    /// There is no such path, or no such method of it.
    #[error("the operation is gone")]
    OperationGone,
    /// The status is not among the responses.
    #[error("the response is gone")]
    ResponseGone,
    /// There is no body in what the reader speaks.
    #[error("there is no body of this content type")]
    BodyGone,
    /// There is no such field.
    #[error("the field is gone")]
    FieldGone,
    /// There is no such parameter.
    #[error("the parameter is gone")]
    ParameterGone,
    /// It has another type.
    #[error("is {now} now")]
    TypeChanged {
        /// The type it has.
        now: String,
    },
    /// The reader relies on it in every answer.
    #[error("may be missing or null now")]
    MayBeMissing,
    /// The service refuses requests without it.
    #[error("is required now, and the reader does not send it")]
    Required,
    /// The service refuses requests without it, and the reader may leave it out.
    #[error("is required now, and the reader may leave it out")]
    NotOptional,
    /// The service refuses some of what the reader sends.
    #[error("takes {now} now, and the reader sends {sent}")]
    TakesLess {
        /// What the service takes.
        now: Limit,
        /// What the reader sends.
        sent: Limit,
    },
    /// The reader gets what it cannot deal with.
    #[error("may be {now} now, and the reader takes {taken}")]
    GivesMore {
        /// What the service may answer.
        now: Limit,
        /// What the reader can deal with.
        taken: Limit,
    },
    /// A field of a message has another number: its bytes are read as another field.
    #[error("is number {now} now")]
    NumberChanged {
        /// The number it has.
        now: u32,
    },
    /// A number belongs to another field.
    #[error("is called `{now}` now")]
    NameChanged {
        /// The name it has.
        now: String,
    },
    /// The expectation itself cannot be read.
    #[error("is not written as `string name = 1`")]
    NotAField,
}
