//! The server as a service: what systemd is told, the sockets that it hands over, and the user that root becomes.

use posta_tests::{Place, Wire, program, send, skipped, smtp};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt, PermissionsExt},
            net::UnixDatagram,
        },
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The highest exposure that `systemd-analyze security` may find in the unit.
const EXPOSURE: f64 = 2.0;

/// Receives what the server tells the service manager.
struct Manager(UnixDatagram);

impl Manager {
    fn new(socket: &Path) -> Self {
        let datagrams = UnixDatagram::bind(socket).unwrap();
        datagrams.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(datagrams)
    }

    /// Returns the next message that begins with `words`.
    fn told(&self, words: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let octets = self.0.recv(&mut buffer).expect("the server tells it in time");
            let text = String::from_utf8(buffer[..octets].to_vec()).unwrap();
            if text.starts_with(words) {
                return text;
            }
        }
    }
}

#[test]
fn systemd_is_told_how_the_service_does() {
    let mut place = Place::new(&[("smtp", "none")]);
    let socket = place.directory.path().join("notify");
    let manager = Manager::new(&socket);
    place.start_with(&[("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "200000")]);
    let opening = manager.told("EXTEND_TIMEOUT_USEC=60000000\n");
    assert!(opening.contains("STATUS=opening the store, 0 s so far"), "{opening}");
    let ready = manager.told("READY=1\n");
    let listening = format!("STATUS=listening: smtp={}", place.address("smtp"));
    assert!(ready.contains(&listening), "{ready}");
    manager.told("WATCHDOG=1");
    manager.told("WATCHDOG=1");
    place.signal("HUP");
    let reloading = manager.told("RELOADING=1\n");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    let reloaded = manager.told("READY=1\n");
    assert!(reloaded.contains("STATUS=listening; the configuration was read again"), "{reloaded}");
    place.configure("nonsense = 1\n");
    place.signal("HUP");
    manager.told("RELOADING=1\n");
    let reloaded = manager.told("READY=1\n");
    assert!(reloaded.contains("STATUS=listening; not reloaded: "), "{reloaded}");
    assert_eq!(place.stop(), Some(0));
    manager.told("STOPPING=1\n");
}

/// Starts the server with sockets as systemd does: from descriptor 3 on, with the server's own process id.
fn start_with_socket(place: &Place, listener: TcpListener) -> Child {
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1; LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID; \
        exec \"$0\" serve --config \"$1\"";
    Command::new("sh")
        .args(["-c", script])
        .arg(program())
        .arg(place.config())
        .stdin(OwnedFd::from(listener))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A connection that came before the server ran is answered: the socket was never closed.
#[test]
fn sockets_that_systemd_hands_over_are_served() {
    let place = Place::new(&[("pop3", "none")]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    place.configure(&format!("[[listen]]\nprotocol = \"smtp\"\naddress = \"{address}\"\n"));
    let mut early = Wire::connect(&address);
    let mut server = start_with_socket(&place, listener);
    assert!(early.line().starts_with("220 mail.x.test "));
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
    let ready = lines.find(|line| line.starts_with("ready")).unwrap();
    assert!(ready.contains(&format!("smtp={address}")), "{ready}");
    assert!(ready.contains("pop3=127.0.0.1:"), "the server opens the others itself: {ready}");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_socket_that_the_configuration_does_not_name_is_an_error() {
    let place = Place::new(&[("smtp", "none")]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let output = start_with_socket(&place, listener).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let words =
        format!("listens at {address}, but no [[listen]] has this address (they have 127.0.0.1:0)");
    assert!(said.contains(&words), "{said}");
}

/// Returns a port below 1024 that nobody uses.
fn low_port() -> Option<u16> {
    (600..1024).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Root opens the port, and then no thread of the server is root's any more.
#[test]
fn root_becomes_the_servers_user() {
    if !is_root() {
        return skipped("the server's user", "only root can become another user");
    }
    let mut place = Place::new(&[]);
    fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let port = low_port().expect("a port below 1024 is free");
    let config = fs::read_to_string(place.config()).unwrap();
    let listen = format!("[[listen]]\nprotocol = \"smtp\"\naddress = \"127.0.0.1:{port}\"\n");
    fs::write(place.config(), format!("user = \"nobody\"\n{config}{listen}")).unwrap();
    place.start();
    let nobody = fs::metadata(place.directory.path().join("data/store")).unwrap().uid();
    assert_ne!(nobody, 0);
    let process = format!("/proc/{}/task", place.pid());
    let mut threads = 0;
    for thread in fs::read_dir(process).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(field("Uid:"), vec![nobody.to_string(); 4], "real, effective, saved, for files");
        assert!(!field("Gid:").contains(&"0".to_owned()), "{status}");
        assert!(!field("Groups:").contains(&"0".to_owned()), "{status}");
        for rights in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            assert_eq!(field(rights), ["0000000000000000"], "{rights}");
        }
        threads += 1;
    }
    assert!(threads > 2, "the runtime, the log and the store have threads");
    place.add_account("ana@x.test");
    let mut sender = smtp(place.address("smtp"));
    assert!(send(&mut sender, "ana@x.test", "Subject: x\r\n\r\n").starts_with("250"));
    assert_eq!(place.stop(), Some(0));
    // Started again without the option, it becomes the owner of the data.
    fs::write(place.config(), format!("{config}{listen}")).unwrap();
    place.start();
    let status = fs::read_to_string(format!("/proc/{}/status", place.pid())).unwrap();
    assert!(status.contains(&format!("\nUid:\t{nobody}\t{nobody}\t")), "{status}");
}

#[test]
fn a_user_that_cannot_be_become_is_an_error() {
    let place = Place::new(&[("smtp", "none")]);
    let config = fs::read_to_string(place.config()).unwrap();
    let cases = [
        ("root", "names root, as whom the server must not run"),
        (
            "no-such-user",
            "there is no user \"no-such-user\" (the option `user`) on this machine: `useradd ",
        ),
    ];
    for (user, words) in cases {
        fs::write(place.config(), format!("user = \"{user}\"\n{config}")).unwrap();
        let output = place.posta(&["serve"], "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

/// The unit gives away little, by systemd's own measure.
#[test]
fn the_unit_is_a_tight_sandbox() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/posta.service");
    let analysed = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager", unit])
        .output();
    let Ok(analysed) = analysed else {
        return skipped(
            "posta.service",
            "there is no systemd-analyze: install the package systemd",
        );
    };
    let said = String::from_utf8_lossy(&analysed.stdout);
    let (_, figure) = said.rsplit_once("posta.service: ").expect("the overall exposure");
    let exposure: f64 = figure.split_whitespace().next().unwrap().parse().unwrap();
    assert!(exposure <= EXPOSURE, "{exposure}:\n{said}");
}
