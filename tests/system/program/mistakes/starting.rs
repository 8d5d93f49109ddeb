//! Mistakes that prevent the server from starting.

use super::{Mistake, make};
use posta_tests::posta;
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, process::Command};

#[test]
fn a_server_that_cannot_start_tells_the_cure() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let openssl = |arguments: &str| {
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(path).output();
        assert!(made.unwrap().status.success(), "openssl {arguments}");
    };
    for name in ["one", "other"] {
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x.test -keyout {name}.key -out \
             {name}.pem"
        ));
    }
    openssl("pkey -in one.key -aes256 -passout pass:secret -out locked.key");
    openssl("x509 -in one.pem -outform der -out one.der");
    fs::write(path.join("empty"), "").unwrap();
    for name in ["one.pem", "one.key", "empty"] {
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::create_dir_all(path.join("home/Documents")).unwrap();
    fs::create_dir_all(path.join("other/store")).unwrap();
    fs::write(path.join("other/store/readme"), "").unwrap();
    // The first start says that it is the first.
    let first = path.join("first.toml");
    let data = path.join("data");
    let wrong = format!("data = {data:?}\n[tls]\ncertificate = 'nosuch'\nkey = 'nosuch'\n");
    fs::write(&first, wrong).unwrap();
    assert!(!posta(&["serve", "--config", first.to_str().unwrap()], "").status.success());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    make(MISTAKES, path, &[("TAKEN", port)]);
}

const fn serve(configuration: &'static str, says: &'static str, code: &'static str) -> Mistake {
    Mistake { configuration, command: &["serve"], input: "", says, code, status: 1 }
}

const MISTAKES: &[Mistake] = &[
    serve(
        "[tls]\ncertificate = 'DIR/nosuch.pem'\nkey = 'DIR/one.key'",
        "posta: [tls]: DIR/nosuch.pem cannot be used: there is no such file",
        "certificate",
    ),
    serve(
        "[tls]\ncertificate = 'DIR/one.pem'\nkey = 'DIR/nosuch.key'",
        "posta: [tls]: DIR/nosuch.key cannot be used: there is no such file",
        "certificate",
    ),
    serve(
        "[tls]\ncertificate = 'DIR/one.pem'\nkey = 'DIR/locked.key'",
        "posta: [tls]: DIR/locked.key cannot be used: the key has a passphrase, and a server has nobody \
         to type it: `openssl pkey -in DIR/locked.key -out NEW` writes the key without one",
        "certificate",
    ),
    serve(
        "[tls]\ncertificate = 'DIR/one.pem'\nkey = 'DIR/one.pem'",
        "posta: [tls]: DIR/one.pem cannot be used: it holds a certificate and no key: have the two \
         files been swapped?",
        "certificate",
    ),
    serve(
        "[tls]\ncertificate = 'DIR/one.key'\nkey = 'DIR/one.pem'",
        "posta: [tls]: DIR/one.key cannot be used: it holds a key and no certificate: have the two \
         files been swapped?",
        "certificate",
    ),
    serve(
        "[tls]\ncertificate = 'DIR/one.pem'\nkey = 'DIR/other.key'",
        "posta: [tls]: the key DIR/other.key does not belong to the certificate DIR/one.pem: name the key \
         that this certificate was made with",
        "certificate",
    ),
    serve(
        "[tls]\ncertificate = 'DIR/one.der'\nkey = 'DIR/one.key'",
        "posta: [tls]: DIR/one.der cannot be used: it holds no certificate in PEM, which begins with \
         -----BEGIN CERTIFICATE-----; `openssl x509 -inform der` makes PEM of DER",
        "certificate",
    ),
    serve(
        "[tls]\ncertificate = 'DIR/one.pem'\nkey = 'DIR/empty'",
        "posta: [tls]: DIR/empty cannot be used: it holds no key in PEM, which begins with -----BEGIN \
         PRIVATE KEY-----; `openssl pkey -inform der` makes PEM of DER",
        "certificate",
    ),
    serve(
        "[tls]\ncertificate = 'DIR/home'\nkey = 'DIR/one.key'",
        "posta: [tls]: DIR/home cannot be used: it is a directory: name a file",
        "certificate",
    ),
    serve(
        "[tls]\nauthorities = ['DIR/empty']",
        "posta: tls.authorities: DIR/empty cannot be used: it holds no certificate in PEM, which begins \
         with -----BEGIN CERTIFICATE-----; `openssl x509 -inform der` makes PEM of DER",
        "certificate",
    ),
    serve(
        "[[listen]]\nprotocol = 'smtp'\naddress = '127.0.0.1:TAKEN'",
        "posta: cannot listen on 127.0.0.1:TAKEN: another program listens there, which `ss -ltnp 'sport = \
         :TAKEN'` names: stop it, or change `address` under [[listen]]",
        "cannot-listen",
    ),
    serve(
        "[[listen]]\nprotocol = 'smtp'\naddress = '192.0.2.1:2525'",
        "posta: cannot listen on 192.0.2.1:2525: this machine does not have that address, `ip address` \
         shows those it has: change `address` under [[listen]]; \"0.0.0.0:2525\" takes all",
        "cannot-listen",
    ),
    serve(
        "[[listen]]\nprotocol = 'lmtp'\naddress = 'unix:DIR/nosuch/lmtp'",
        "posta: cannot listen on unix:DIR/nosuch/lmtp: its directory does not exist: make it, or choose \
         another path",
        "cannot-listen",
    ),
    serve(
        "[[listen]]\nprotocol = 'lmtp'\naddress = 'unix:DIR/empty'",
        "posta: cannot listen on unix:DIR/empty: a file is there that is no socket: remove it, or choose \
         another path",
        "cannot-listen",
    ),
    serve(
        "[relay]\nsmarthost = 'a:25'\nuser = 'ana'\npassword-file = 'DIR/nosuch'",
        "posta: [relay]: the password file DIR/nosuch cannot be read: No such file or directory (os error \
         2)",
        "file-not-found",
    ),
    serve(
        "[dns]\ntrust-anchor = 'DIR/nosuch'",
        "posta: the trust anchor DIR/nosuch cannot be read; it holds DNSKEY records as in a zone file: io \
         error: No such file or directory (os error 2)",
        "trust-anchor",
    ),
    Mistake {
        configuration: "",
        command: &["serve", "--data", "DIR/home"],
        input: "",
        code: "not-a-store",
        says: "posta: the data directory DIR/home holds no store, but other directories, such as Documents: \
         name one of its own, which is made if it is not there",
        status: 1,
    },
    Mistake {
        configuration: "",
        command: &["serve", "--data", "DIR/other"],
        input: "",
        code: "not-a-store",
        says: "posta: DIR/other/store holds no store of Posta, but other files: name another data directory",
        status: 1,
    },
    Mistake {
        configuration: "",
        command: &["serve", "--data", "DIR/empty"],
        input: "",
        code: "not-a-store",
        says: "posta: the data directory DIR/empty is a file: name a directory, which is made if it is not \
         there",
        status: 1,
    },
    Mistake {
        configuration: "",
        command: &["account", "list", "--data", "DIR/empty"],
        input: "",
        code: "not-a-store",
        says: "posta: the data directory DIR/empty is a file: name a directory, which is made if it is not \
         there",
        status: 1,
    },
];
