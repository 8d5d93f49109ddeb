//! What bounds the server's work: memory for arriving messages, rates of sending, of logging and of noting.
//!
//! A limit here is a value that others ask; what follows when it is reached is decided where it is asked.

pub mod adjustable;
pub(crate) mod allowance;
pub mod memory;
pub(crate) mod outage;
pub mod sending_rate;
