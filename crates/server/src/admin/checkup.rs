//! What the operator asks about the world outside: which records a domain has to publish ([`publish`]), and whether the
//! world sees them, reaches the server and believes its mail ([`look`](mod@look) and [`judge`](mod@judge)); and why a message passes or fails the checks
//! of its origin ([`message`]).
//!
//! These are library functions over plain data, a resolver and a network: they tell most where the server does not run
//! yet. The program's `posta domain dns` and `posta check` call them, and a running server's requests of these names
//! do ([`Program`](super::Program)).

pub mod facts;
pub mod finding;
pub mod judge;
pub mod look;
pub mod message;
pub mod publish;

#[cfg(test)]
mod tests;
