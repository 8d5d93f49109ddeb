//! The mail server, which connects the protocol engines, the network and the store.
//!
//! [`assembly::MailServer::start`] binds all sockets and serves until [`assembly::MailServer::stop`]. A
//! server runs in an [`assembly::World`]: a store, a clock, a network and a resolver. Each can be
//! replaced, so that the whole server also runs in memory, in virtual time.
//!
//! Each folder is a floor. A message enters through [`listen`] and [`receive`] (or [`collect`]), is put
//! into mailboxes and the queue by [`deliver`], leaves through [`send`], and is read through [`access`].
//! [`login`] authenticates users, [`directory`] resolves addresses, [`filter`] asks outside
//! filters about mail, [`reports`] informs senders and domains about their mail, [`sign`] signs outgoing
//! mail, and [`admin`] serves the operator. `cargo xtask tidy` checks which floor may import which.

pub mod access;
pub mod admin;
pub mod assembly;
pub mod collect;
pub mod deliver;
pub mod directory;
pub mod filter;
pub mod limits;
pub mod listen;
pub mod login;
pub mod receive;
pub mod reports;
pub mod send;
pub mod settings;
pub mod sign;
pub mod web;
