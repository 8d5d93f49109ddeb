//! The commands that are a client of other servers, or of one's own: `posta send`, `fetch`,
//! `talk` and `bench`; and `sendmail`, which hands mail over to one's own server.

pub(crate) mod bench;
pub(crate) mod fetch;
pub(crate) mod send;
pub(crate) mod sendmail;
pub(crate) mod talk;

use crate::{
    Place,
    config::{Config, Protocol, Source, TlsMode},
    wiring,
};
use anyhow::Result;
use posta_net::transport::Endpoint;
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

/// Returns the configuration whose name servers and certificate authorities a client uses, and whose server it speaks to
/// if no other is named. An unreadable one is an error only if it was named: a client needs no access to the server's
/// configuration.
fn config_of(place: &Place) -> Result<Config> {
    let is_readable = |path: PathBuf| std::fs::File::open(path).is_ok();
    let is_wanted = place.config.is_some() || wiring::config_path(place)?.is_some_and(is_readable);
    if is_wanted { wiring::config(place) } else { Ok(Source::defaults()?.config) }
}

/// Returns where this machine's server speaks one of these protocols, the first one if possible, as `host:port`.
/// `starts_in_tls` says how it has to listen there.
fn own_server(config: &Config, protocols: &[Protocol], starts_in_tls: bool) -> Option<String> {
    let address = |protocol: &Protocol| {
        config.listen.iter().find_map(|listen| match listen.address {
            Endpoint::Tcp(address)
                if listen.protocol == *protocol
                    && (listen.tls == TlsMode::Implicit) == starts_in_tls
                    && address.port() != 0 =>
            {
                Some(near(address).to_string())
            }
            _ => None,
        })
    };
    protocols.iter().find_map(address)
}

/// Returns the address at which this machine reaches a listener of its own.
fn near(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(all) if all.ip().is_unspecified() => {
            (Ipv4Addr::LOCALHOST, all.port()).into()
        }
        SocketAddr::V6(all) if all.ip().is_unspecified() => {
            (Ipv6Addr::LOCALHOST, all.port()).into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machines_server_is_where_the_configuration_has_it() {
        let listen = |protocol: &str, address: &str, tls: &str| {
            format!("[[listen]]\nprotocol = '{protocol}'\naddress = '{address}'\ntls = '{tls}'\n")
        };
        let text = [
            listen("submission", "0.0.0.0:587", "starttls"),
            listen("submission", "0.0.0.0:465", "implicit"),
            listen("smtp", "[::]:25", "starttls"),
            listen("pop3", "192.0.2.1:995", "implicit"),
        ];
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("posta.toml");
        std::fs::write(&file, text.concat()).unwrap();
        let config = Source::read(&file).unwrap().config;
        let send = [Protocol::Smtp, Protocol::Submission];
        for (protocols, starts_in_tls, server) in [
            (&send[..], false, Some("[::1]:25")),
            (&send, true, Some("127.0.0.1:465")),
            (&[Protocol::Pop3], true, Some("192.0.2.1:995")),
            (&[Protocol::Pop3], false, None),
        ] {
            let found = own_server(&config, protocols, starts_in_tls);
            assert_eq!(found.as_deref(), server, "{protocols:?} {starts_in_tls}");
        }
        let defaults = Source::defaults().unwrap().config;
        assert_eq!(own_server(&defaults, &send, false).unwrap(), "127.0.0.1:2525");
        assert_eq!(own_server(&defaults, &[Protocol::Pop3], false).unwrap(), "127.0.0.1:2110");
    }
}
