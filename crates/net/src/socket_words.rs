//! Messages for people about sockets that cannot be opened and servers that cannot be reached, each with
//! cause and cure. The server logs them at start, and the program's commands print them when they cannot
//! connect.

use crate::{tls::words, transport::Endpoint};
use std::io::{self, ErrorKind};

/// The first port that needs no privilege (Linux, net.ipv4.ip_unprivileged_port_start).
const UNPRIVILEGED: u16 = 1024;

/// The maximal number of octets in the path of a Unix socket (unix(7)).
const UNIX_PATH: usize = 107;

/// Explains why the server cannot listen at an endpoint, and what to do about it.
pub fn cannot_listen(endpoint: &Endpoint, cause: &io::Error) -> String {
    match (endpoint, cause.kind()) {
        (Endpoint::Tcp(address), ErrorKind::PermissionDenied) if address.port() < UNPRIVILEGED => {
            "ports below 1024 need a right that this user lacks: in the systemd unit \
             `AmbientCapabilities=CAP_NET_BIND_SERVICE` gives it, elsewhere `setcap \
             cap_net_bind_service=+ep` on the program"
                .to_owned()
        }
        (Endpoint::Tcp(address), ErrorKind::AddrInUse) => format!(
            "another program listens there, which `ss -ltnp 'sport = :{}'` names: stop it, or change \
             `address` under [[listen]]",
            address.port()
        ),
        (Endpoint::Tcp(address), ErrorKind::AddrNotAvailable) => {
            let all = if address.is_ipv4() { "0.0.0.0" } else { "[::]" };
            format!(
                "this machine does not have that address, `ip address` shows those it has: change \
                 `address` under [[listen]]; \"{all}:{}\" takes all",
                address.port()
            )
        }
        (Endpoint::Unix(path), _) if path.as_os_str().len() > UNIX_PATH => {
            format!("the path of a socket has at most {UNIX_PATH} octets: choose a shorter one")
        }
        (Endpoint::Unix(_), ErrorKind::NotFound) => {
            "its directory does not exist: make it, or choose another path".to_owned()
        }
        (Endpoint::Unix(_), ErrorKind::PermissionDenied) => {
            "this user may not make files in its directory: make it this user's, or choose another path"
                .to_owned()
        }
        (Endpoint::Unix(_), ErrorKind::AddrInUse) => {
            "another program listens there: stop it, or choose another path".to_owned()
        }
        (Endpoint::Unix(_), ErrorKind::AlreadyExists) => {
            "a file is there that is no socket: remove it, or choose another path".to_owned()
        }
        _ => cause.to_string(),
    }
}

/// Explains why `server` (`host:port` or `unix:/path`) cannot be connected to, and what to do about it.
#[must_use]
pub fn cannot_connect(server: &str, cause: &io::Error) -> String {
    let has_port = server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if !has_port && !server.starts_with("unix:") {
        return format!(
            "{server:?} has no port in digits: write host:port, such as mail.example.org:587"
        );
    }
    let why = match cause.kind() {
        ErrorKind::ConnectionRefused => {
            "no server listens there: is it the right port, and does the server run?".to_owned()
        }
        ErrorKind::TimedOut => "it does not answer: a firewall may be in between".to_owned(),
        ErrorKind::NotFound if server.starts_with("unix:") => {
            "there is no such socket: does the server run?".to_owned()
        }
        ErrorKind::NotFound => {
            "no host of that name is known: check its spelling, and that this machine reaches its name servers".to_owned()
        }
        ErrorKind::PermissionDenied if server.starts_with("unix:") => {
            "this user may not use that socket".to_owned()
        }
        _ => cause.to_string(),
    };
    format!("cannot connect to {server}: {why}")
}

/// The message for a server that sends no greeting: it may be waiting for TLS.
pub const SILENT: &str = "the server said nothing: if TLS comes first on that port, as on 465 and 995, use --tls implicit";

/// Explains why TLS with a server failed, and what to do about it.
#[must_use]
pub fn no_tls(server: &str, cause: &io::Error) -> String {
    let cure = if words::is_plaintext(cause) {
        "; TLS comes first at ports 465 and 995: elsewhere use --tls starttls to send, --tls stls to fetch, no --tls to talk"
    } else if words::is_certificate_fault(cause) {
        "; --any-certificate takes it all the same"
    } else {
        ""
    };
    format!("TLS with {server} failed: {cause}{cure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_cure() {
        for (endpoint, kind, cure) in [
            ("127.0.0.1:110", ErrorKind::PermissionDenied, "CAP_NET_BIND_SERVICE"),
            ("127.0.0.1:2110", ErrorKind::AddrInUse, "`ss -ltnp 'sport = :2110'`"),
            ("192.0.2.1:25", ErrorKind::AddrNotAvailable, "\"0.0.0.0:25\" takes all"),
            ("[2001:db8::1]:25", ErrorKind::AddrNotAvailable, "\"[::]:25\" takes all"),
            ("unix:/x/y", ErrorKind::NotFound, "its directory does not exist"),
            ("unix:/x/y", ErrorKind::PermissionDenied, "make it this user's"),
            ("unix:/x/y", ErrorKind::AddrInUse, "stop it"),
            ("unix:/x/y", ErrorKind::AlreadyExists, "remove it"),
        ] {
            let words = cannot_listen(&endpoint.parse().unwrap(), &kind.into());
            assert!(words.contains(cure), "{endpoint}, {kind}: {words}");
        }
        let long = format!("unix:/{}", "x".repeat(UNIX_PATH));
        let words = cannot_listen(&long.parse().unwrap(), &ErrorKind::InvalidInput.into());
        assert!(words.contains("at most 107 octets"), "{words}");
    }
}
