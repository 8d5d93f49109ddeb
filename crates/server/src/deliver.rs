//! The way into a mailbox and into the queue: from an envelope and a content to what the store is asked to keep.
//!
//! `plan` makes a delivery for each mailbox and an item for each destination elsewhere; `wake` tells the relay that there is
//! something to send; `message_log` writes the log's line for each message.

pub(crate) mod message_log;
pub mod plan;
pub(crate) mod wake;
