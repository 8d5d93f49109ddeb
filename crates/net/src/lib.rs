//! Everything that touches the network, and the clock.
//!
//! The engines of `posta-smtp` and `posta-pop3` know no sockets; this crate connects the two.
//! [`transport`] is the interface to the network, which tests replace by one in memory. [`driver`] moves
//! octets between a connection and an engine, whatever the protocol and the side.
//!
//! On the way out, [`dns`] finds a host, [`dial`] opens a connection (and keeps hosts named by strangers
//! out of the internal network), [`tls::client`] secures the connection and verifies the other side, by
//! authorities or by DANE, and [`client_session`] logs in. On the way in, [`tls::server`] holds the
//! server's certificates, which [`acme`] can obtain, [`proxy`] reads a load balancer's statement of the client's address, and
//! [`client_network`] defines what counts as one client.
//!
//! This crate knows nothing of mail: no store, no accounts, no protocol text. The server's floors and
//! the program call it.

pub mod acme;
pub mod client_network;
pub mod client_session;
pub mod clock;
pub mod dial;
pub mod dns;
pub mod driver;
pub mod https;
pub mod proxy;
pub mod public_address;
pub mod scram;
pub mod socket_words;
pub mod system_net;
pub mod tls;
pub mod transport;
