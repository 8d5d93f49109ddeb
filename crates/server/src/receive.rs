//! A mail transaction: the answers to an SMTP or LMTP session's questions, from EHLO to the commit.
//!
//! [`session`] answers the engine and is the one place that says "committed"; `content` takes a message's octets on
//! their way into the store; `submission` says who may send as whom; [`refusals`] bounds what strangers cost. `listen` starts
//! a session for each connection; [`spool`] takes what programs of this machine hand over by `sendmail`; [`door`] says what strangers have to pass; what is accepted goes to [`deliver`](crate::deliver).

pub(crate) mod ahead;
pub mod checks;
pub(crate) mod content;
pub mod door;
pub mod origin_dns;
pub mod refusals;
pub mod session;
pub mod spool;
pub(crate) mod submission;
