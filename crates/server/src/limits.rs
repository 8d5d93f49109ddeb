//! Limits on the server's work: the memory for arriving messages, and the rates of sending, logging and
//! writing history. Beside them, what the server counts of its work (`metrics.rs`), and how long what it claimed is its own
//! (`term.rs`).
//!
//! All floors ask here. A limit only says whether something is allowed; the caller decides what follows
//! when it is not.

pub mod adjustable;
pub(crate) mod allowance;
pub mod memory;
pub mod metrics;
pub(crate) mod repeated_failures;
pub mod sending_rate;
pub(crate) mod share;
pub(crate) mod term;
