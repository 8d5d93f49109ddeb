//! Servers and engines assembled in memory, without sockets and files, under a clock that the test
//! advances.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pair;
mod relay;
mod server;
mod settings;
mod store;
