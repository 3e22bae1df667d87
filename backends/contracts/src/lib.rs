//! Holds the services to what their readers rely on, before a reader finds out in production.
//!
//! `proto/readers.toml` says who reads what: operations with the fields that are sent and the fields that are used,
//! as OpenAPI documents (`proto/openapi/`) and `.proto` files describe them. [`breaches`] compares. A service may add
//! what it likes; what a reader uses has to stay, with its type, and what a reader sends has to be enough. Limits may
//! move away from the reader only: what it sends has to be within what is taken (a request gets looser), what is answered
//! within what it can deal with (an answer gets narrower):
//!
//! ```text
//! auth reads users: POST /user/verify → 200 → `email` (string): the field is gone
//! robot reads users: POST /user → request → `phone`: is required now, and the reader does not send it
//! robot reads users: POST /user → request → `name` (string 1..100): takes 1 to 50 characters now, and the reader sends 1 to 100 characters
//! demo reads users: GET /health → 200 → `status` (string of ok|failing): may be failing|ok|starting now, and the reader takes failing|ok
//! recommendation reads user_data.proto: user_data.GetUserData/GetUser → response → `string name = 2`: is number 4 now
//! ```
//!
//! What is deliberately absent: whether one pattern is part of another (only the same will do), `multipleOf` and
//! `uniqueItems`, choices between several schemas, and the meaning of a field. For these there are the services' own tests
//! and the robot (`loadtest robot`).

mod readers;

mod expected;

mod operation;

mod schema;

mod limits;

mod call;

mod breach;

use std::collections::BTreeMap;

use protox::prost_reflect::DescriptorPool;
use serde_json::Value;

pub use breach::{Breach, Change};
pub use limits::{Limit, Unit};
pub use readers::{Readers, ReadersError};

/// What the services offer at this moment.
#[derive(Debug, Clone)]
pub struct Offered {
    /// OpenAPI documents by the name of their service.
    pub documents: BTreeMap<String, Value>,
    /// All `.proto` files together.
    pub proto: DescriptorPool,
}

/// Everything that readers rely on and that is not there; nothing if all is well.
pub fn breaches(readers: &Readers, offered: &Offered) -> Vec<Breach> {
    let Readers { reads, calls } = readers;
    let of_reads = reads.iter().flat_map(|read| operation::breaches(read, offered));
    let of_calls = calls.iter().flat_map(|call| call::breaches(call, offered));
    of_reads.chain(of_calls).collect()
}
