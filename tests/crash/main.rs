//! The first promise: acknowledged mail is never lost, whatever happens to the server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod acceptance;
mod relay;
