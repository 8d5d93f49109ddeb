//! Limits on the server's work: the memory for arriving messages, and the rates of sending, logging and
//! writing history.
//!
//! All floors ask here. A limit only says whether something is allowed; the caller decides what follows
//! when it is not.

pub mod adjustable;
pub(crate) mod allowance;
pub mod memory;
pub(crate) mod repeated_failures;
pub mod sending_rate;
