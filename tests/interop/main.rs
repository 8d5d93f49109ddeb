//! Programs written by others: Python's libraries, Debian's mail programs, Go's net/smtp, other servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod signatures;

use posta_tests::{PASSWORD, Place};
use std::{path::Path, process::Command, sync::Once};

#[test]
fn python_sends_and_collects() {
    let mut place =
        Place::new(&[("smtp", "starttls"), ("submission", "implicit"), ("pop3", "starttls")]);
    let implicit =
        "[[listen]]\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n";
    let config = std::fs::read_to_string(place.config()).unwrap();
    place.add_account("ana@x.test");
    place.add_account("bob@x.test");
    place.start();
    let (smtp, submission, pop3) = (
        place.address("smtp").to_owned(),
        place.address("submission").to_owned(),
        place.address("pop3").to_owned(),
    );
    run(&["plain", &smtp, &pop3]);
    run(&["tls", &smtp, &submission, &pop3]);
    assert!(place.posta(&["alias", "add", "info@x.test", "ana@x.test"], "").status.success());
    run(&["auth", &submission, &pop3]);
    // Collect once more over POP3 in TLS from the start; the mail is still there.
    assert_eq!(place.stop(), Some(0));
    let config = config.replace("protocol = \"pop3\"", "protocol = \"lmtp\"") + implicit;
    let config = config + "[tls]\nchannel-binding = true\n";
    std::fs::write(place.config(), config).unwrap();
    place.start();
    run(&["pop3s", place.address("lmtp"), place.address("pop3")]);
}

/// swaks, msmtp, curl, s-nail, mutt, neomutt, Go's net/smtp and openssl deliver over 25, 587 and 465.
#[test]
fn debians_programs_deliver() {
    let mut place = three_ways_in();
    place.start();
    let certificate = place.directory.path().join("data/self-signed.cert.pem");
    let ways = [&ways(&place)[..], &[certificate.to_str().unwrap()]].concat();
    run_script("programs.py", &ways);
}

/// fetchmail, getmail, mpop, curl, s-nail, mutt, neomutt, poplib, Net::POP3 and openssl collect a mailbox of
/// messages of every kind.
#[test]
fn debians_programs_collect() {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "starttls")]);
    let config = std::fs::read_to_string(place.config()).unwrap();
    let implicit =
        "[[listen]]\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n";
    let config =
        config.replace("[limits]", "[pop3]\napop = true\n[limits]\nsessions-per-account = 0");
    std::fs::write(place.config(), config + implicit).unwrap();
    place.add_account("bob@x.test");
    let ana = ["account", "add", "ana@x.test", "--apop", "--password-stdin"];
    assert!(place.posta(&ana, PASSWORD).status.success());
    place.start();
    let certificate = place.directory.path().join("data/self-signed.cert.pem");
    let both = place.all("pop3");
    let (certificate, program) = (certificate.to_str().unwrap(), posta_tests::program());
    let program = program.to_str().unwrap();
    run_script("collect.py", &[place.address("smtp"), both[0], both[1], certificate, program]);
}

/// Postfix, Exim and OpenSMTPD relay over 25, 587 and 465.
#[test]
fn debians_servers_deliver() {
    let Some(python) = posta_tests::python_apart("mtas.py") else { return };
    let mut place = three_ways_in();
    place.start();
    run_command(python, "mtas.py", &ways(&place));
}

/// Postfix, Exim and OpenSMTPD accept relayed mail, in plaintext, in TLS and with DANE; so do
/// misbehaving servers, in the end. Postfix and Exim deliver to this server with DANE.
#[test]
fn debians_servers_take_what_we_relay() {
    let Some(mut python) = posta_tests::python_apart("relays.py") else { return };
    let script = posta_tests::script("relays.py");
    let ran = python.arg(script).arg(posta_tests::program()).output();
    check("relays.py", &ran.expect("this test needs Python 3, `python3`"));
}

/// rspamd, opendkim and clamav-milter are asked about mail, and killed in the middle of a message.
#[test]
fn debians_filters_are_asked() {
    let Some(mut python) = posta_tests::python_apart("filters.py") else { return };
    let script = posta_tests::script("filters.py");
    let ran = python.arg(script).arg(posta_tests::program()).output();
    check("filters.py", &ran.expect("this test needs Python 3, `python3`"));
}

/// The users and mailboxes of a Dovecot host move to this server, and back.
#[test]
fn a_dovecot_host_moves_in_and_out() {
    let Some(mut python) = posta_tests::python_apart("moving.py") else { return };
    let script = posta_tests::script("moving.py");
    let ran = python.arg(script).arg(posta_tests::program()).output();
    check("moving.py", &ran.expect("this test needs Python 3, `python3`"));
}

/// Writes the manual pages and completions to where the package takes them from.
fn write_pages() {
    static WRITTEN: Once = Once::new();
    WRITTEN.call_once(|| {
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/package/pages");
        let ran = Command::new(env!("CARGO_BIN_EXE_posta-pages")).arg(pages).status();
        assert!(ran.unwrap().success());
    });
}

/// The Debian package is installed, run, upgraded, removed and purged in a fresh Debian.
#[test]
fn the_package_lives_in_a_fresh_debian() {
    let Some(mut python) = posta_tests::python_apart("package.py") else { return };
    write_pages();
    let script = posta_tests::script("package.py");
    let ran = python.arg(script).arg(posta_tests::program()).output();
    check("package.py", &ran.expect("this test needs Python 3, `python3`"));
}

/// The unit runs under systemd in a Debian that was booted: set up, reloaded, restarted, with sockets of systemd's.
#[test]
fn the_service_runs_under_systemd() {
    let Some(mut python) = posta_tests::python_apart("booted.py") else { return };
    write_pages();
    let script = posta_tests::script("booted.py");
    let ran = python.arg(script).arg(posta_tests::program()).output();
    check("booted.py", &ran.expect("this test needs Python 3, `python3`"));
}

/// podman builds the container's image and runs it.
#[test]
fn the_container_is_built_and_run() {
    let Some(mut python) = posta_tests::python_apart("container.py") else { return };
    let script = posta_tests::script("container.py");
    let ran = python.arg(script).arg(posta_tests::program()).output();
    check("container.py", &ran.expect("this test needs Python 3, `python3`"));
}

/// Pebble issues certificates by ACME: by both challenges, again, and not where a name is refused.
#[test]
fn an_authority_issues_certificates() {
    let Some(mut python) = posta_tests::python_apart("acme.py") else { return };
    let script = posta_tests::script("acme.py");
    let ran = python.arg(script).arg(posta_tests::program()).output();
    check("acme.py", &ran.expect("this test needs Python 3, `python3`"));
}

/// The same with two nodes on one PostgreSQL: the authority asks the one that did not order, and both show the certificate.
#[test]
fn an_authority_issues_certificates_to_two_nodes() {
    let Some(mut python) = posta_tests::python_apart("acme_nodes.py") else { return };
    let script = posta_tests::script("acme_nodes.py");
    let ran = python.arg(script).arg(posta_tests::program()).output();
    check("acme_nodes.py", &ran.expect("this test needs Python 3, `python3`"));
}

/// Every command of docs/first-server.md is run in a fresh Debian system.
#[test]
fn the_first_server_is_set_up_as_the_document_says() {
    let Some(mut python) = posta_tests::python_apart("first_server.py") else { return };
    let script = posta_tests::script("first_server.py");
    let ran = python.arg(script).arg(posta_tests::program()).output();
    check("first_server.py", &ran.expect("this test needs Python 3, `python3`"));
}

/// The captures in the documents are what the program prints today: all but times, ids, keys and figures.
#[test]
fn the_captures_in_the_documents_are_of_today() {
    let Some(mut python) = posta_tests::python_apart("captures.py") else { return };
    let script = posta_tests::script("captures.py");
    let ran = python.arg(script).arg(posta_tests::program()).output();
    check("captures.py", &ran.expect("this test needs Python 3, `python3`"));
}

/// docs/cluster.md is followed word by word: two nodes, PostgreSQL under Patroni, three members of etcd, an object store. All of
/// them then fail while mail comes and goes; `cargo xtask cluster` does so for longer, and in every way.
#[test]
fn cluster_of_the_document_fails_and_loses_nothing() {
    let Some(mut python) = posta_tests::python_apart("cluster.py") else { return };
    let script = posta_tests::script("cluster.py");
    let ran = python.arg(script).arg(posta_tests::program()).arg("short").output();
    check("cluster.py", &ran.expect("this test needs Python 3, `python3`"));
}

/// OAUTHBEARER and XOAUTH2, with an identity server that answers for tokens.
#[test]
fn tokens_open_accounts() {
    let script = posta_tests::script("tokens.py");
    let mut authority = Command::new("python3")
        .args([&script, PASSWORD, "serve"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("this test needs Python 3, `python3`");
    let mut port = String::new();
    let mut said = std::io::BufReader::new(authority.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut said, &mut port).unwrap();
    let mut place = Place::new(&[("submission", "starttls"), ("pop3", "starttls")]);
    place.add_account("ana@x.test");
    place.add_account("bob@x.test");
    let secret = place.directory.path().join("secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let config = std::fs::read_to_string(place.config()).unwrap();
    let oauth = format!(
        "[oauth]\nintrospection = \"http://127.0.0.1:{}/introspect\"\nclient = \"posta\"\naudience = \"posta\"\nsecret-file = \"{}\"\n",
        port.trim(),
        secret.display()
    );
    std::fs::write(place.config(), config + &oauth).unwrap();
    place.start();
    run_script("tokens.py", &["send", place.address("submission")]);
    run_script("tokens.py", &["collect", place.address("pop3")]);
    authority.kill().unwrap();
    authority.wait().unwrap();
}

fn three_ways_in() -> Place {
    let place = Place::new(&[("smtp", "starttls"), ("submission", "starttls"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    place.add_account("bob@x.test");
    let config = std::fs::read_to_string(place.config()).unwrap();
    let implicit =
        "[[listen]]\nprotocol = \"submission\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n";
    std::fs::write(place.config(), config + implicit).unwrap();
    place
}

/// SMTP, submission with STARTTLS, submission in TLS, POP3.
fn ways(place: &Place) -> [&str; 4] {
    let both = place.all("submission");
    [place.address("smtp"), both[0], both[1], place.address("pop3")]
}

fn run(arguments: &[&str]) {
    run_script("interop.py", arguments);
}

fn run_script(name: &str, arguments: &[&str]) {
    run_command(Command::new("python3"), name, arguments);
}

/// The exit status of a script that cannot run on this machine.
const SKIPPED: i32 = 77;

fn run_command(mut command: Command, name: &str, arguments: &[&str]) {
    let script = posta_tests::script(name);
    let ran = command.arg(script).arg(PASSWORD).args(arguments).output();
    check(name, &ran.expect("this test needs Python 3, `python3`"));
}

fn check(name: &str, ran: &std::process::Output) {
    let said = String::from_utf8_lossy(&ran.stdout);
    println!("{said}");
    if ran.status.code() == Some(SKIPPED) {
        posta_tests::skipped(name, said.trim());
        return;
    }
    assert!(ran.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&ran.stderr));
}
