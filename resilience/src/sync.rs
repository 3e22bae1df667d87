//! The atomics of this crate: std's, or loom's when tests/model.rs looks at every order of them.
//!
//! A feature and not `--cfg loom`: the rest of the workspace is not built again. With the feature the crate works inside
//! `loom::model` only, so its unit tests are left out.

#[cfg(feature = "model")]
pub(crate) use loom::sync::atomic;
#[cfg(not(feature = "model"))]
pub(crate) use std::sync::atomic;
