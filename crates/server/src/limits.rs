//! What bounds the server's work: the memory for arriving messages, and the rates of sending, logging and writing
//! history.
//!
//! All floors ask here. A limit only says whether something is allowed; what follows when it is reached is decided
//! where it is asked.

pub mod adjustable;
pub(crate) mod allowance;
pub mod memory;
pub(crate) mod outage;
pub mod sending_rate;
