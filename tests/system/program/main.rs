//! The real program, as run by a person or a script.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod by_name;
mod cli;
mod collect;
mod documents;
mod elsewhere;
mod folders;
mod hostile_origin;
mod keys;
mod logs;
mod mistakes;
mod outbound;
mod people;
mod places;
mod privacy;
mod quarantine;
mod reload;
mod reports;
mod secrets;
mod talk;
mod trace;
mod week;
mod world;
