//! Two real servers, one of which sends mail to the other.

use posta_tests::{Place, pop3, posta, stdout};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// Makes a server that sends all mail for others through a smarthost.
fn with_smarthost(smarthost: &str) -> Place {
    let place = Place::new(&[("submission", "starttls")]);
    let config = fs::read_to_string(place.config()).unwrap();
    let (keys, tables) = config.split_once("[limits]").unwrap();
    let relay = format!(
        "[relay]\nsmarthost = \"{smarthost}\"\nnetworks = [\"127.0.0.1/32\"]\ntimeout = \"10s\"\n"
    );
    fs::write(place.config(), format!("{keys}{relay}[limits]{tables}")).unwrap();
    place
}

/// Makes two servers: `ana@x.test` is at ours; `bob@y.test` is at the other, which gets all mail for
/// other servers.
fn ours_and_theirs() -> (Place, Place) {
    // Two servers on one machine may share its name.
    let mut theirs = Place::new(&[("smtp", "starttls"), ("pop3", "none")]);
    theirs.add_account("bob@y.test");
    theirs.start();
    let mut ours = with_smarthost(theirs.address("smtp"));
    ours.add_account("ana@x.test");
    ours.start();
    (ours, theirs)
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("not so after 20 s: {what}");
}

fn queue(place: &Place) -> serde_json::Value {
    serde_json::from_str(&stdout(&place.posta(&["queue", "list", "--json"], ""))).unwrap()
}

#[test]
fn mail_goes_out_in_tls_where_it_is_offered() {
    let (ours, theirs) = ours_and_theirs();
    let server = ours.address("submission");
    let addresses = ["send", "--server", server, "--from", "ana@x.test", "--to", "bob@y.test"];
    let sent = posta(&[&addresses[..], &["--subject", "s", "--body", "b"]].concat(), "");
    let id = stdout(&sent).split("kept as ").nth(1).unwrap().trim().to_owned();
    eventually("the message arrives", || {
        pop3(theirs.address("pop3"), "bob").say("STAT") != "+OK 0 0"
    });
    let message = pop3(theirs.address("pop3"), "bob").listing("RETR 1").join("\n");
    assert!(message.contains("with ESMTPS id ") && message.contains("tls TLS_"), "{message}");
    eventually("the queue is empty", || queue(&ours) == serde_json::json!([]));
    let told = stdout(&ours.posta(&["trace", &id], ""));
    assert!(told.contains("tried y.test: 127.0.0.1, TLSv1.3 TLS_"), "{told}");
    assert!(told.contains("<bob@y.test> relayed: 250 2.0.0 Ok: kept as "), "{told}");
}

/// RFC 8689: no authority signed their certificate, so the message waits here.
#[test]
fn what_requires_tls_waits_for_a_certificate_that_is_valid() {
    let (ours, theirs) = ours_and_theirs();
    let script = posta_tests::script("requiretls.py");
    let ran = Command::new("python3").args([&script, ours.address("submission")]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    eventually("it was tried", || queue(&ours)[0]["attempts"] == 1);
    let line = &queue(&ours)[0];
    let reply = line["recipients"][0]["reply"].as_str().unwrap();
    assert!(reply.starts_with("451 4.7.5 127.0.0.1") && reply.contains("certificate"), "{reply}");
    assert_eq!(line["reverse-path"], "ana@x.test");
    assert_eq!(line["destination"], "y.test");
    assert!(line["message-id"].is_string() && line["next-attempt"].is_string(), "{line}");
    assert_eq!(pop3(theirs.address("pop3"), "bob").say("STAT"), "+OK 0 0");
    let shown = stdout(&ours.posta(&["queue", "show"], ""));
    assert!(shown.contains("to           <bob@y.test>"), "{shown}");
    assert!(stdout(&ours.posta(&["queue", "list"], "")).contains("waiting  1      "));
    assert!(stdout(&ours.posta(&["queue", "summary"], "")).contains("y.test       1      1"));
    assert_eq!(stdout(&ours.posta(&["queue", "hold", "--domain", "y.test"], "")), "1 held\n");
    for verb in ["hold", "release", "retry", "remove"] {
        let refused = ours.posta(&["queue", verb], "");
        let words = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{verb}");
        assert!(words.contains("or --all for everything in the queue"), "{verb}: {words}");
    }
    assert_eq!(queue(&ours)[0]["state"], "held", "everything was not meant");
    assert!(!ours.posta(&["queue", "remove", "--older", "1d"], "").status.success());
    assert_eq!(stdout(&ours.posta(&["queue", "remove", "--all"], "")), "1 removed\n");
    assert_eq!(queue(&ours), serde_json::json!([]));
}

/// A name server that ends when its standard input does.
struct Names {
    server: std::process::Child,
    address: String,
}

impl Names {
    /// Returns none if this machine does not allow it.
    fn start() -> Option<Self> {
        let script = posta_tests::script("names.py");
        let mut server = posta_tests::python_apart("names.py")?
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if let Some(address) = said.trim().strip_prefix("ready ") {
            return Some(Self { server, address: address.to_owned() });
        }
        assert_eq!(server.wait().unwrap().code(), Some(77), "{said}");
        posta_tests::skipped("names.py", said.trim());
        None
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

/// MX records, addresses in their place, a null MX, names that do not exist, and a name server that
/// refuses.
#[test]
fn mail_goes_where_dns_says() {
    let Some(names) = Names::start() else { return };
    let mut theirs = Place::named("mx.y.test", &[("smtp", "starttls"), ("pop3", "none")]);
    let config = fs::read_to_string(theirs.config()).unwrap();
    fs::write(theirs.config(), config.replacen("127.0.0.1:0", "127.0.0.5:25", 1)).unwrap();
    theirs.add_account("bob@y.test");
    theirs.add_account("bob@bare.test");
    theirs.start();
    let mut ours = Place::new(&[("submission", "none"), ("pop3", "none")]);
    let config = fs::read_to_string(ours.config()).unwrap();
    let (keys, tables) = config.split_once("[limits]").unwrap();
    let more = format!(
        "[dns]\nservers = [\"{}\"]\n[relay]\nnetworks = [\"127.0.0.0/8\"]\nprivate-addresses = \"allow\"\n",
        names.address
    );
    fs::write(ours.config(), format!("{keys}{more}[limits]{tables}")).unwrap();
    ours.add_account("ana@x.test");
    ours.start();
    let server = ours.address("submission");
    let mut command = vec!["send", "--server", server, "--from", "ana@x.test", "--body", "b"];
    for to in [
        "bob@y.test",
        "bob@bare.test",
        "bob@null.test",
        "bob@nowhere.test",
        "bob@lost.test",
        "bob@elsewhere.example",
    ] {
        command.extend(["--to", to]);
    }
    stdout(&posta(&command, ""));
    for name in ["bob@y.test", "bob@bare.test"] {
        let pop3_address = theirs.address("pop3");
        eventually(name, || pop3(pop3_address, name).say("STAT").starts_with("+OK 1 "));
    }
    eventually("three reports came", || {
        pop3(ours.address("pop3"), "ana").say("STAT").starts_with("+OK 3 ")
    });
    let mut wire = pop3(ours.address("pop3"), "ana");
    let reports: Vec<_> = (1..=3).map(|n| wire.listing(&format!("RETR {n}")).join("\n")).collect();
    for words in [
        "Status: 5.1.10\nDiagnostic-Code: x-posta; The domain null.test takes no mail",
        "Status: 5.1.2\nDiagnostic-Code: x-posta; the domain nowhere.test does not exist",
        "Status: 5.4.4\nDiagnostic-Code: x-posta; No server of lost.test has an address",
    ] {
        assert!(reports.iter().any(|report| report.contains(words)), "{words}: {reports:?}");
    }
    // This failure is not due to the name server, and may be temporary.
    let left = queue(&ours);
    assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
    assert_eq!(left[0]["destination"], "elsewhere.example");
    let reply = left[0]["recipients"][0]["reply"].as_str().unwrap();
    assert!(reply.starts_with("451 4.4.3 DNS does not answer for elsewhere.example"), "{reply}");
}

/// `posta send` with TLS and a login.
#[test]
fn send_logs_in_where_the_certificate_is_right() {
    let mut place = Place::new(&[("submission", "starttls")]);
    place.add_account("ana@x.test");
    place.start();
    let server = place.address("submission").to_owned();
    let send = |more: &[&str], password: &str| {
        let mut command =
            vec!["send", "--server", &server, "--from", "ana@x.test", "--to", "ana@x.test"];
        command.extend(["--body", "b", "--tls", "starttls", "--user", "ana@x.test"]);
        command.push("--password-stdin");
        command.extend(more);
        posta(&command, password)
    };
    let said = stdout(&send(&["--any-certificate"], posta_tests::PASSWORD));
    assert!(said.starts_with("ana@x.test: 250 2.0.0 Ok"), "{said}");
    for (more, password, words) in [
        (&[][..], posta_tests::PASSWORD, "TLS with 127.0.0.1 failed"),
        (&["--any-certificate"], "wrong", "refuses the login: 535"),
    ] {
        let refused = send(more, password);
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(words), "{words}: {said}");
    }
}
