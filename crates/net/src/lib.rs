//! What touches the network, and the clock.
//!
//! The engines of `posta-smtp` and `posta-pop3` know no sockets; here they meet them. [`transport`] is the seam to the
//! network, which tests replace by one in memory; [`driver`] moves octets between a connection and an engine, whatever
//! the protocol and the side. On the way out, [`dns`] finds a host, [`dial`] opens a connection to it (and keeps hosts
//! that strangers name out of our own network), [`tls::client`] secures it and says whether the other side is who it should be, by
//! authorities or by DANE, and [`client_session`] logs in there. On the way in, [`tls::server`] holds our certificates,
//! [`proxy`] reads whose connection a load balancer hands on, and [`client_network`] says who counts as one client.
//!
//! Nothing here knows mail: no store, no accounts, no protocol's words. The server's floors and the program call it.

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
