//! The first promise: what was acknowledged is never lost, whatever happens to the server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod acceptance;
mod relay;
