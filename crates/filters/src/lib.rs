//! The protocols of outside filters: milters (protocol version 6) and rspamd.
//!
//! A filter gets [`facts::MessageFacts`] and the content. It returns a [`verdict::FilterVerdict`]: an action, and
//! changes to the header section. [`milter::Milter`] is the client's side of the milter protocol as a state machine;
//! [`rspamd`] writes the fields of a request over HTTP and reads the reply. [`changes`] applies the changes to
//! content that passes through, and [`fields`] cuts a header section into its fields.
//!
//! Nothing here opens a socket or reads a clock. A filter is a program that the operator chose, but it reads what
//! strangers wrote, so its answers are bounded and parsed like any other input. The server's floor `filter` calls this
//! crate.

pub mod changes;
pub mod facts;
pub mod fields;
pub mod milter;
pub mod rspamd;
pub mod verdict;
