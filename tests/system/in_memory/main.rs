//! Servers and engines put together in memory: no socket, no file, a clock that the test moves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pair;
mod relay;
mod server;
mod settings;
