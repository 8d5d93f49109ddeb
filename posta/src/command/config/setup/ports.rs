//! Which sockets a new server listens on: the usual ports, without those that another program has.

use posta_net::{socket_words, transport::Endpoint};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// A socket for the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) protocol: &'static str,
    pub(super) tls: &'static str,
    /// The usual port.
    port: u16,
    /// What it is for.
    pub(super) why: &'static str,
}

/// The sockets of a new server.
pub(super) struct Listening {
    /// The sockets, with their addresses.
    pub(super) sockets: Vec<(Socket, SocketAddr)>,
    /// What the operator should know.
    pub(super) remarks: Vec<String>,
}

const fn socket(protocol: &'static str, tls: &'static str, port: u16, why: &'static str) -> Socket {
    Socket { protocol, tls, port, why }
}

const MAIL: [Socket; 5] = [
    socket("smtp", "starttls", 25, "Mail from other servers."),
    socket("submission", "implicit", 465, "Mail programs send, in TLS from the start."),
    socket("submission", "starttls", 587, "Mail programs send, in TLS by STARTTLS."),
    socket("pop3", "implicit", 995, "Mail programs collect, in TLS from the start."),
    socket("pop3", "starttls", 110, "Mail programs collect, in TLS by STLS."),
];

const HTTPS: Socket =
    socket("https", "implicit", 443, "The policy by which others send in TLS only (MTA-STS).");

const HTTP: Socket =
    socket("http", "none", 80, "The authority checks that the server's names lead here.");

/// Chooses the sockets: of the machine's server at the usual ports, for everybody; else at ports above 1024, for this
/// machine. `own` are the ports that the server itself has, which runs already.
pub(super) fn choose(is_system: bool, acme: bool, own: &[u16]) -> Listening {
    let mut listening = Listening { sockets: Vec::new(), remarks: Vec::new() };
    if !is_system {
        let local =
            |socket: Socket| (socket, SocketAddr::from(([127, 0, 0, 1], local(socket.port))));
        listening.sockets = MAIL.into_iter().map(local).collect();
        return listening;
    }
    // All of IPv6 is all of IPv4 as well, but for a machine without IPv6.
    let any = match TcpListener::bind("[::]:0") {
        Ok(_) => "::",
        Err(_) => "0.0.0.0",
    };
    #[expect(clippy::expect_used, reason = "both constants are addresses")]
    let any = any.parse::<std::net::IpAddr>().expect("an address");
    let web = [HTTPS, HTTP].into_iter().filter(|socket| acme || *socket == HTTPS);
    for socket in MAIL.into_iter().chain(web) {
        let address = SocketAddr::new(any, socket.port);
        match TcpListener::bind(address) {
            Ok(_) => listening.sockets.push((socket, address)),
            Err(_) if own.contains(&socket.port) => listening.sockets.push((socket, address)),
            Err(cause) => refused(socket, address, &cause, &mut listening),
        }
    }
    listening
}

/// Decides about a port that cannot be had. The server has to have those for mail; it goes without those of the web.
fn refused(socket: Socket, address: SocketAddr, cause: &io::Error, listening: &mut Listening) {
    let words = socket_words::cannot_listen(&Endpoint::Tcp(address), cause);
    let port = socket.port;
    if socket == HTTPS || socket == HTTP {
        let lost = match socket == HTTPS {
            true => "no MTA-STS policy is served",
            false => "the authority checks names on port 443 only",
        };
        listening.remarks.push(format!("port {port} is left out, so {lost}: {words}"));
    } else {
        listening.sockets.push((socket, address));
        let remark = format!("the server will not start while port {port} is taken: {words}");
        listening.remarks.push(remark);
    }
}

/// Returns the port above 1024 for trying things out: 2525 for 25, 2995 for 995.
const fn local(port: u16) -> u16 {
    if port < 100 { 2_500 + port } else { 2_000 + port }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_to_try_out_is_for_this_machine() {
        let listening = choose(false, false, &[]);
        let ports: Vec<_> = listening.sockets.iter().map(|(_, address)| address.port()).collect();
        assert_eq!(ports, [2525, 2465, 2587, 2995, 2110]);
        assert!(listening.sockets.iter().all(|(_, address)| address.ip().is_loopback()));
        assert!(listening.remarks.is_empty());
    }

    #[test]
    fn a_port_of_the_web_that_is_taken_is_left_out() {
        let mut listening = Listening { sockets: Vec::new(), remarks: Vec::new() };
        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        let address = |port| SocketAddr::from(([0, 0, 0, 0], port));
        refused(HTTP, address(80), &taken, &mut listening);
        refused(MAIL[0], address(25), &taken, &mut listening);
        assert_eq!(listening.sockets, [(MAIL[0], address(25))]);
        assert!(listening.remarks[0].starts_with("port 80 is left out"), "{:?}", listening.remarks);
        assert!(listening.remarks[1].contains("will not start"), "{:?}", listening.remarks);
    }
}
