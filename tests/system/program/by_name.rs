//! Servers named by the configuration and by the accounts' owners: every kind of connection looks them
//! up at `[dns] servers`, and verifies them with `[tls] authorities`.

use posta_tests::{PASSWORD, Place, Wire, pop3, posta, send, smtp};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::{
    fs,
    net::UdpSocket,
    path::Path,
    process::Output,
    sync::{Arc, Mutex},
    thread,
};

const NAME: &str = "pop.elsewhere.test";

/// A name server that knows only [`NAME`], at this machine, until the test ends.
struct Names {
    address: String,
    /// The names that were looked up.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Names {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let names = asked.clone();
        thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut question) {
                let (name, answer) = answer(&question[..length]);
                names.lock().unwrap().push(name);
                socket.send_to(&answer, client).unwrap();
            }
        });
        Self { address, asked }
    }

    fn were_asked_for(&self, name: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == name)
    }
}

/// Returns the name in a question of RFC 1035 §4.1.2, and the answer.
fn answer(question: &[u8]) -> (String, Vec<u8>) {
    let mut name = String::new();
    let mut at = 12;
    while question[at] > 0 {
        let label = &question[at + 1..][..question[at].into()];
        name = name + str::from_utf8(label).unwrap() + ".";
        at += 1 + label.len();
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_known = name == NAME;
    let has_address = is_known && question[at + 1..][..2] == [0, 1];
    // The question's id; flags for a response with recursion available, with code 3 for a name that does
    // not exist; one question, the answers, none of the rest.
    let flags = [0x81, if is_known { 0x80 } else { 0x83 }];
    let counts = [0, 1, 0, u8::from(has_address), 0, 0, 0, 0];
    let mut answer = [&question[..2], &flags, &counts, &question[12..at + 5]].concat();
    if has_address {
        // The name of the question, A, IN, a minute, four octets.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    (name, answer)
}

/// Makes an authority and a certificate signed by it, as files in a directory.
fn certify(directory: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    fs::write(directory.join("authority.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([NAME.to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    fs::write(directory.join("cert.pem"), certificate.pem()).unwrap();
    fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
}

fn more(place: &Place, text: &str) {
    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), config + text).unwrap();
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn servers_are_looked_up_and_believed_as_the_configuration_says() {
    let names = Names::start();
    let ways = [("smtp", "none"), ("pop3", "implicit"), ("submission", "implicit")];
    let mut old = Place::named(NAME, &ways);
    let files = old.directory.path().to_owned();
    certify(&files);
    let at = |name: &str| files.join(name).display().to_string();
    let (certificate, key) = (at("cert.pem"), at("key.pem"));
    more(&old, &format!("[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"));
    old.add_account("ana@elsewhere.test");
    old.start();
    let mut wire = smtp(old.address("smtp"));
    assert!(send(&mut wire, "ana@elsewhere.test", "Subject: hello\r\n\r\n").starts_with("250 "));
    let port = old.address("pop3").rsplit_once(':').unwrap().1;

    let mut here = Place::new(&[("pop3", "none")]);
    let dns = format!("[dns]\nservers = [\"{}\"]\ndnssec = false\n", names.address);
    let tls = format!("[tls]\nauthorities = [\"{}\"]\n", at("authority.pem"));
    let oauth = "[oauth]\nintrospection = \"https://auth.elsewhere.test/\"\naudience = \"posta\"\n";
    more(&here, &[&dns, &tls, oauth].concat());
    here.add_account("bob@x.test");
    let server = format!("{NAME}:{port}");
    let login = ["--server", &server, "--user", "ana@elsewhere.test", "--tls", "implicit"];
    let login = [&login[..], &["--password-stdin"]].concat();
    let maildir = at("Maildir");
    let fetch = [&["fetch", "--all", "--maildir", &maildir], &login[..]].concat();
    assert!(!posta(&fetch, PASSWORD).status.success(), "the system does not know the name");
    let fetched = here.posta(&fetch, PASSWORD);
    assert!(told(&fetched).contains("1 message fetched"), "{}", told(&fetched));

    // First without a server, then through one.
    let collect = [&["collect", "add", "bob@x.test"], &login[..]].concat();
    let added = here.posta(&collect, PASSWORD);
    assert!(added.status.success(), "{}", told(&added));
    here.start();
    let added = here.posta(&collect, PASSWORD);
    assert!(added.status.success(), "{}", told(&added));
    let ran = here.posta(&["collect", "run", "1"], "");
    assert!(ran.status.success(), "{}", told(&ran));
    let mut session = pop3(here.address("pop3"), "bob@x.test");
    assert_eq!(session.listing("LIST").len(), 1);

    let port = old.address("submission").rsplit_once(':').unwrap().1;
    let server = format!("{NAME}:{port}");
    let send = ["send", "--server", &server, "--tls", "implicit", "--from", "bob@x.test", "--to"];
    let send = [&send[..], &["ana@elsewhere.test", "--subject", "hello"]].concat();
    assert!(!posta(&send, "").status.success(), "the system does not know the name");
    let sent = here.posta(&send, "");
    assert!(told(&sent).contains("ana@elsewhere.test: 250 "), "{}", told(&sent));

    // The identity server's name is looked up there too.
    assert!(!names.were_asked_for("auth.elsewhere.test"));
    let mut wire = Wire::connect(here.address("pop3"));
    assert!(wire.line().starts_with("+OK "));
    wire.say("AUTH XOAUTH2 dXNlcj1ib2JAeC50ZXN0AWF1dGg9QmVhcmVyIHQBAQ==");
    assert!(names.were_asked_for("auth.elsewhere.test"));
}
