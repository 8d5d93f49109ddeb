//! The vocabulary of electronic mail, in the terms of RFC 5321, 5322, 5598, 1939 and 3463.
//!
//! All other crates build on this one. It contains plain data and pure functions only: no sockets,
//! files, clock or randomness. Text from outside is parsed once, into types that cannot hold an invalid
//! value; code that receives an [`Address`] can rely on its validity.

pub mod address;
pub mod client;
pub mod crlf;
pub mod dots;
pub mod engine;
pub mod envelope;
pub mod id;
pub mod limits;
pub mod line;
pub mod path;
pub mod sasl;
pub mod secret;
pub mod status;
pub mod thread;
pub mod trace;
pub mod visible;

pub use address::{Address, AddressError, Domain};
pub use client::{CanonicalIp, ClientAddress};
pub use engine::{AnswerTo, Engine, EngineTicket, Interrupt, Pace, Step, TlsUse};
pub use id::MailId;
pub use jiff::Timestamp;
pub use path::{ForwardPath, PathError, ReversePath};
pub use secret::Secret;
pub use status::{EnhancedStatus, Reply, ReplyCode};
pub use thread::ThreadId;
