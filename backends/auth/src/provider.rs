//! The OpenID provider: applications send a browser here, and get to know who sits before it.
//!
//! `authorize` checks what the application asks and, if the browser is not logged in, shows the form of `login_form`;
//! a code goes back to the application, which exchanges it at `token` and may ask `userinfo`. `end_session` logs out.

pub(crate) mod authorize;
pub(crate) mod discovery;
pub(crate) mod end_session;
pub(crate) mod login_form;
pub(crate) mod token;
pub(crate) mod userinfo;

mod authorization_request;
mod cookies;
mod pages;
mod parameters;
