//! Helpers that the tests of the whole system share: the program, a place to run it in, and dialogues
//! with it.
//!
//! `system/program` runs the program as a person would, `system/in_memory` assembles servers without
//! sockets and files, `system/transcripts` plays dialogues to the engines, `crash` kills the program,
//! and `interop` connects it with other programs. The tests are a package of their own, which builds the
//! program for itself (`main.rs`). Only so does Cargo guarantee that the program exists and is as new as
//! the sources.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod database;
mod name_server;
mod place;
#[path = "../../crates/store-postgres/tests/postgres/cluster.rs"]
pub mod postgres;
mod program;
mod smarthost;
mod wire;

pub use database::{Database, on_postgres, times};
pub use name_server::{DnsRecords, NameServer};
pub use place::{PASSWORD, Place};
pub use program::{posta, program, python_apart, script, skipped, stdout};
pub use smarthost::smarthost;
pub use wire::{Wire, pop3, send, send_from, smtp};
