//! The program's commands, as used by a person or a script.

use posta_tests::{PASSWORD, Place, pop3, posta, send, smtp, stdout};
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

fn problem(output: &std::process::Output) -> String {
    assert!(!output.status.success(), "it should have failed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_demo_plays_both_dialogues() {
    let played = stdout(&posta(&["demo", "--once"], ""));
    for words in [
        "MAIL FROM:<expeditor@webmail.home>",
        "RETR 1",
        "for <destinatar@webmail.home>;",
        "byte for byte",
    ] {
        assert!(played.contains(words), "{played}");
    }
}

/// `x.test` has an account, `y.test` has none.
fn a_domain_lists_its_readers(place: &Place) {
    let listed = stdout(&place.posta(&["domain", "list"], ""));
    let (first, second) = listed.split_once('\n').unwrap();
    assert_eq!(first, "x.test: postmaster@ and abuse@ reach ana@x.test");
    assert!(second.starts_with("y.test: postmaster@ and abuse@ reach NOBODY\n    wrong: `posta "));
    let refused = place.posta(&["domain", "add", "y.test", "--postmaster", "eva@y.test"], "");
    assert!(problem(&refused).contains("eva@y.test does not exist here"));
    stdout(&place.posta(&["domain", "add", "y.test", "--postmaster", "ana@x.test"], ""));
    let listed = stdout(&place.posta(&["domain", "list"], ""));
    assert!(listed.ends_with("\ny.test: postmaster@ and abuse@ reach ana@x.test\n"), "{listed}");
}

#[test]
fn accounts_are_managed_with_and_without_a_server() {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    assert!(
        problem(&place.posta(&["account", "add", "ana@x.test", "--password-stdin"], "p"))
            .contains("exists already")
    );
    assert!(
        problem(&place.posta(&["account", "add", "ana", "--password-stdin"], "p"))
            .contains("local-part@domain")
    );
    assert!(
        problem(&place.posta(&["account", "add", "eva@x.test"], "p")).contains("--password-stdin")
    );
    assert!(
        problem(&place.posta(&["account", "remove", "eva@x.test", "--yes"], ""))
            .contains("there is no account eva@x.test")
    );
    place.start();
    place.add_account("bob@x.test");
    assert!(
        problem(&place.posta(&["account", "add", "bob@x.test", "--password-stdin"], "p"))
            .contains("exists already")
    );
    assert!(
        send(&mut smtp(place.address("smtp")), "bob@x.test", "A: b\r\n\r\n").starts_with("250")
    );
    let listed = stdout(&place.posta(&["account", "list", "--json"], ""));
    let accounts: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(accounts[0]["address"], "ana@x.test");
    assert_eq!(accounts[1]["messages"], 1);
    assert!(accounts[1]["octets"].as_u64().unwrap() > 100);
    let table = stdout(&place.posta(&["account", "list"], ""));
    assert!(table.contains("ADDRESS") && table.contains("bob@x.test"), "{table}");

    // A new password works at once, and the old one no longer, though it was just used.
    drop(pop3(place.address("pop3"), "bob"));
    stdout(&place.posta(&["account", "password", "bob@x.test", "--password-stdin"], "other\n"));
    let mut wire = posta_tests::Wire::connect(place.address("pop3"));
    wire.line();
    wire.say("USER bob");
    assert!(wire.say(&format!("PASS {PASSWORD}")).starts_with("-ERR [AUTH]"));
    wire.say("USER bob");
    assert!(wire.say("PASS other").starts_with("+OK"));

    let hasty = problem(&place.posta(&["account", "remove", "bob@x.test"], "y\n"));
    assert!(hasty.contains("say --yes to remove bob@x.test"), "{hasty}");
    stdout(&place.posta(&["account", "remove", "bob@x.test", "--yes"], ""));
    stdout(&place.posta(&["domain", "add", "y.test"], ""));
    a_domain_lists_its_readers(&place);
    assert_eq!(place.stop(), Some(0), "SIGTERM ends the server in order");
    let socket = place.directory.path().join("data/control.sock");
    assert!(!socket.exists(), "the control socket is removed");
    assert!(problem(&place.posta(&["domain", "remove", "x.test"], "")).contains("has accounts"));
    stdout(&place.posta(&["domain", "remove", "y.test"], ""));
    let listed = stdout(&place.posta(&["domain", "list", "--json"], ""));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let ana = serde_json::json!(["ana@x.test"]);
    assert_eq!(
        listed,
        serde_json::json!([{ "domain": "x.test", "postmaster": ana, "abuse": ana }])
    );
}

#[test]
fn aliases_lead_to_mailboxes() {
    let mut place = Place::new(&[("smtp", "none")]);
    place.add_account("ana@x.test");
    place.add_account("bob@x.test");
    place.start();
    stdout(&place.posta(&["alias", "add", "Info@x.test", "ana@x.test", "bob@x.test"], ""));
    stdout(&place.posta(&["alias", "add", "@x.test", "ana@x.test"], ""));
    assert!(problem(&place.posta(&["alias", "add", "i@x.test", "a"], "")).contains("not valid"));
    assert!(
        problem(&place.posta(&["alias", "add", "i@z.test", "ana@x.test"], ""))
            .contains("posta domain add z.test")
    );
    let mut wire = smtp(place.address("smtp"));
    assert!(send(&mut wire, "info@x.test", "A: b\r\n\r\n").starts_with("250"));
    assert!(send(&mut wire, "whoever@x.test", "A: b\r\n\r\n").starts_with("250"));
    assert!(send(&mut wire, "bob+tag@x.test", "A: b\r\n\r\n").starts_with("250"));
    let listed = stdout(&place.posta(&["account", "list", "--json"], ""));
    let accounts: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&accounts[0]["messages"], &accounts[1]["messages"]), (&2.into(), &2.into()));
    let listed = stdout(&place.posta(&["alias", "list"], ""));
    assert_eq!(listed, "@x.test -> ana@x.test\ninfo@x.test -> ana@x.test, bob@x.test\n");
    let said = |arguments: &[&str]| stdout(&place.posta(&[&["alias"], arguments].concat(), ""));
    for (arguments, words) in [
        (&["add", "ana@x.test", "bob@x.test"][..], "ana@x.test goes to its mailbox, bob@x.test\n"),
        (&["set", "ana@x.test", "b@z.test"], "ana@x.test goes to b@z.test\n"),
        (&["remove", "ana@x.test"], "ana@x.test goes to its mailbox\n"),
        (&["add", "all@x.test", "info@x.test", "c@z.test"], "goes to info@x.test, c@z.test\n"),
        (&["remove", "all@x.test", "c@z.test"], "all@x.test goes to info@x.test\n"),
        (&["remove", "info@x.test"], "info@x.test is no alias any more\nall@x.test still leads to"),
    ] {
        assert!(said(arguments).contains(words), "{arguments:?}");
    }
    let listed = said(&["list"]);
    let wrong =
        "all@x.test -> info@x.test\n    wrong: all@x.test is an alias that leads to info@x.test,";
    // The catch-all receives mail for addresses that do not exist.
    assert!(!listed.contains(wrong), "{listed}");
    said(&["remove", "@x.test"]);
    assert!(said(&["list"]).contains(wrong));
    assert!(problem(&place.posta(&["alias", "remove", "info@x.test"], "")).contains("no alias"));
}

#[test]
fn the_data_directory_is_private() {
    let mut place = Place::new(&[("smtp", "starttls")]);
    place.start();
    let data = place.directory.path().join("data");
    let mode = |name: &str| fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("."), 0o700);
    assert_eq!(mode("control.sock"), 0o600);
    assert_eq!(mode("self-signed.key.pem"), 0o600);
}

/// Whatever the umask, no file in the data directory is accessible to others. The sockets named by the
/// configuration follow the umask, since the operator chooses who may deliver there.
#[test]
fn what_is_made_is_private_whatever_the_umask() {
    let place = Place::new(&[("smtp", "starttls")]);
    let socket = place.directory.path().join("lmtp");
    let mut config = fs::read_to_string(place.config()).unwrap();
    let address = socket.display();
    config.push_str(&format!("[[listen]]\nprotocol = \"lmtp\"\naddress = \"unix:{address}\"\n"));
    fs::write(place.config(), config).unwrap();
    let script = "umask 0; echo parola | \"$0\" account add ana@x.test --password-stdin --config \"$1\" \
                  && exec \"$0\" serve --config \"$1\" 2>&1";
    let mut server = Command::new("sh")
        .args(["-c", script])
        .args([posta_tests::program(), &place.config()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
    let is_ready = lines.into_iter().any(|line| line.starts_with("ready"));
    let data = place.directory.path().join("data");
    let mut seen = Vec::new();
    let open = open_to_others(&data, &mut seen);
    let sockets = fs::metadata(&socket).map(|metadata| metadata.permissions().mode() & 0o777);
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(is_ready);
    assert!(seen.len() > 20, "there is a store: {seen:?}");
    assert_eq!(open, Vec::<PathBuf>::new());
    assert_eq!(sockets.unwrap(), 0o777);
}

fn open_to_others(path: &Path, seen: &mut Vec<PathBuf>) -> Vec<PathBuf> {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mut open = Vec::new();
    if metadata.permissions().mode() & 0o077 != 0 {
        open.push(path.to_owned());
    }
    seen.push(path.to_owned());
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            open.extend(open_to_others(&entry.unwrap().path(), seen));
        }
    }
    open
}

#[test]
fn a_data_directory_that_others_can_enter_is_refused() {
    let place = Place::new(&[("smtp", "none")]);
    let data = place.directory.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    for command in [&["serve"][..], &["domain", "add", "x.test"]] {
        let words = problem(&place.posta(command, ""));
        assert!(words.contains(&format!("`chmod 700 {}`", data.display())), "{words}");
    }
    assert!(fs::read_dir(&data).unwrap().next().is_none(), "nothing was put there");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    stdout(&place.posta(&["domain", "add", "x.test"], ""));
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let mut place = Place::new(&[("smtp", "none")]);
    place.start();
    let second = problem(&place.posta(&["serve"], ""));
    assert!(second.contains("another process has the store"), "{second}");
    let taken = Place::new(&[("smtp", "none")]);
    let config = fs::read_to_string(taken.config()).unwrap();
    fs::write(taken.config(), config.replace("127.0.0.1:0", place.address("smtp"))).unwrap();
    let words = problem(&taken.posta(&["serve"], ""));
    assert!(words.contains(place.address("smtp")) && words.contains("[[listen]]"), "{words}");
    fs::write(taken.config(), "hostnam = 'x'").unwrap();
    let words = problem(&taken.posta(&["serve"], ""));
    assert!(words.contains("did you mean \"hostname\"") && words.contains("posta.toml"), "{words}");
    let missing = problem(&posta(&["serve", "--config", "/nonexistent/posta.toml"], ""));
    assert!(missing.contains("/nonexistent/posta.toml"), "{missing}");
}

#[test]
fn what_is_sent_can_be_fetched() {
    let mut place = Place::new(&[("smtp", "none"), ("submission", "none"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    place.start();
    let attached = place.directory.path().join("notes.txt");
    fs::write(&attached, "From the attachment\n").unwrap();
    let server = ["--server", place.address("submission")];
    let mut arguments = vec!["send", "--from", "s@y.test", "--to", "ana@x.test"];
    arguments.extend(server);
    let raw = "Subject: raw\nFrom: s@y.test\n\n.\nFrom here on\nlast\n";
    assert!(stdout(&posta(&arguments, raw)).contains("ana@x.test: 250 2.0.0 Ok"));
    let made = [
        &arguments[..],
        &["--subject", "Bună", "--body", "text", "--attach", attached.to_str().unwrap()],
    ];
    stdout(&posta(&made.concat(), ""));
    let refused = posta(&[&arguments[..], &["--to", "nobody@x.test"]].concat(), raw);
    assert!(stdout_of(&refused).contains("nobody@x.test: 550 5.1.1"), "each recipient is told of");
    assert!(problem(&refused).contains("1 of 2 recipients"));

    let pop3 = place.address("pop3").to_owned();
    let fetch = |more: &[&str]| {
        let common = ["fetch", "--server", &pop3, "--user", "ana", "--password-stdin"];
        posta(&[&common[..], more].concat(), PASSWORD)
    };
    let shown = stdout(&fetch(&["--stdout", "--keep"]));
    assert_eq!(shown.matches("\nReturn-Path: <s@y.test>\n").count(), 3, "{shown}");
    assert!(shown.contains("\n.\n>From here on\nlast\n\n"), "{shown}");
    assert!(shown.contains("\nFrom: <s@y.test>\nTo: <ana@x.test>\n"), "{shown}");
    let maildir = place.directory.path().join("Maildir");
    stdout(&fetch(&["--maildir", maildir.to_str().unwrap(), "--keep"]));
    let files: Vec<_> =
        fs::read_dir(maildir.join("new")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 3);
    assert!(
        files
            .iter()
            .any(|file| fs::read_to_string(file).unwrap().ends_with("\n.\nFrom here on\nlast\n"))
    );
    let mbox = place.directory.path().join("mbox");
    stdout(&fetch(&["--mbox", mbox.to_str().unwrap(), "--delete"]));
    assert_eq!(
        fs::read_to_string(&mbox).unwrap().matches("\nDelivered-To: ana@x.test\n").count(),
        3
    );
    assert_eq!(stdout(&fetch(&["--stdout"])), "", "the mailbox is empty now");
    let wrong = posta(
        &["fetch", "--server", &pop3, "--user", "ana", "--password-stdin", "--stdout"],
        "wrong",
    );
    assert!(problem(&wrong).contains("[AUTH]"), "{}", problem(&wrong));
    assert!(
        problem(&posta(
            &["fetch", "--server", "127.0.0.1:1", "--user", "a", "--password-stdin", "--stdout"],
            "x"
        ))
        .contains("127.0.0.1:1")
    );
}

#[test]
fn a_full_mailbox_takes_no_more() {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    place.start();
    let quota = |size: &str| place.posta(&["account", "quota", "ana@x.test", size], "");
    stdout(&quota("1KiB"));
    let named = |size: &str| {
        let mut wire = posta_tests::Wire::connect(place.address("smtp"));
        wire.write("EHLO c.test\r\n");
        while !wire.line().starts_with("250 ") {}
        assert!(wire.say(&format!("MAIL FROM:<s@y.test>{size}")).starts_with("250 "));
        wire.say("RCPT TO:<ana@x.test>")
    };
    assert!(named(" SIZE=1025").starts_with("552 5.2.3"), "it would never fit");
    assert!(named(" SIZE=1000").starts_with("250 "));
    let content = format!("A: b\r\n\r\n{}\r\n", "x".repeat(900));
    assert!(send(&mut smtp(place.address("smtp")), "ana@x.test", &content).starts_with("250 "));
    assert_eq!(named(""), "452 4.2.2 The mailbox is full");
    let mut reader = pop3(place.address("pop3"), "ana");
    reader.say("DELE 1");
    assert!(reader.say("QUIT").starts_with("+OK"));
    assert!(named("").starts_with("250 "), "what was removed does not count");
    assert!(send(&mut smtp(place.address("smtp")), "ana@x.test", &content).starts_with("250 "));
    assert!(named("").starts_with("452 "));
    stdout(&quota("none"));
    assert!(named("").starts_with("250 "));
    assert!(problem(&quota("much")).contains("such as \"50MiB\""));
    assert!(stdout(&place.posta(&["account", "list", "--json"], "")).contains("\"quota\": null"));
}

#[test]
fn a_proxy_says_whose_connection_it_is() {
    let mut place = Place::new(&[("smtp", "none"), ("submission", "none"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(
        place.config(),
        config + "[proxy]\nnetworks = [\"127.0.0.0/8\"]\n\n[checks]\nenabled = false\n",
    )
    .unwrap();
    place.start();
    let mut wire = posta_tests::Wire::connect(place.address("smtp"));
    wire.write("PROXY TCP4 192.0.2.7 192.0.2.1 5000 25\r\nHELO c.test\r\n");
    assert!(wire.line().starts_with("220 ") && wire.line().starts_with("250 "));
    assert!(send(&mut wire, "ana@x.test", "A: b\r\n\r\n").starts_with("250 "));
    let mut far = posta_tests::Wire::connect(place.address("submission"));
    far.write("PROXY TCP4 192.0.2.7 192.0.2.1 5000 25\r\n");
    assert!(far.line().starts_with("220 ") && far.say("HELO c.test").starts_with("250 "));
    assert!(far.say("MAIL FROM:<a@x.test>").starts_with("530 "), "the client is not near");
    let mut reader = posta_tests::Wire::connect(place.address("pop3"));
    reader.write("PROXY UNKNOWN\r\n");
    assert!(reader.line().starts_with("+OK") && reader.say("USER ana").starts_with("+OK"));
    assert!(reader.say(&format!("PASS {PASSWORD}")).starts_with("+OK"));
    assert!(reader.listing("RETR 1").contains(&"Received: from c.test ([192.0.2.7])".to_owned()));
    let mut without = posta_tests::Wire::connect(place.address("smtp"));
    without.write("HELO c.test\r\n");
    assert_eq!(without.rest(), "", "whoever does not say it is not answered");
}

/// As in `posta explain 452 | head -1`, if the reader ends first.
#[test]
fn a_reader_who_has_seen_enough_is_no_mistake() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut explain = std::process::Command::new(posta_tests::program());
    let explained = explain.args(["explain", "452"]).stdout(writer).output().unwrap();
    assert!(explained.status.success());
    assert_eq!(String::from_utf8_lossy(&explained.stderr), "");
}

#[test]
fn codes_are_explained() {
    let full = stdout(&posta(&["explain", "452"], ""));
    assert!(full.contains("too many recipients") && full.contains("RFC 5321"), "{full}");
    let status = stdout(&posta(&["explain", "4.2.2"], ""));
    assert!(status.contains("The mailbox is full") && status.contains("transient"), "{status}");
    for wrong in ["999", "4.99.99", "3.1.1", "hello"] {
        problem(&posta(&["explain", wrong], ""));
    }
}

/// A server that accepts connections and stays silent does not stop the generator.
#[test]
fn the_benchmark_gives_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let smtp = ["bench", "smtp", &address, "--to", "a@x.test", "--patience", "1"];
    let pop3 = ["bench", "pop3", &address, "--user", "a", "--password-stdin", "--patience", "1"];
    for arguments in [&smtp[..], &pop3] {
        assert!(stdout_of(&posta(arguments, "x")).contains("no answer in time"), "{arguments:?}");
    }
}

fn stdout_of(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_benchmark_counts_and_notices_errors() {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    place.start();
    let (smtp, pop3) = (place.address("smtp").to_owned(), place.address("pop3").to_owned());
    let bench =
        |arguments: &[&str]| posta(&[&["bench"], arguments, &["--json"]].concat(), PASSWORD);
    let report = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&stdout(&bench(arguments))).unwrap()
    };
    for more in [
        &[][..],
        &["--pipelining"],
        &["--per-connection", "1"],
        &["--pipelining", "--per-connection", "3"],
    ] {
        let sent = report(
            &[&["smtp", &smtp, "--to", "ana@x.test", "--messages", "25", "--sessions", "4"], more]
                .concat(),
        );
        assert_eq!(sent["count"], 25, "{sent}");
        assert_eq!(sent["per_session"].as_array().unwrap().len(), 4);
        assert!(sent["latency_ms"]["p99"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(
        report(&["smtp", &smtp, "--to", "ana@x.test", "--idle", "0", "--sessions", "5"])["count"],
        5
    );
    let refused =
        bench(&["smtp", &smtp, "--to", "nobody@x.test", "--messages", "2", "--sessions", "2"]);
    assert!(stdout_of(&refused).contains("550 5.1.1"));
    assert!(problem(&refused).contains("2 sessions"));
    for (mode, count) in [("login", 6), ("list", 6), ("retr", 600), ("idle", 2), ("dele", 2)] {
        let user = ["pop3", &pop3, "--user", "ana", "--password-stdin", "--sessions", "2"];
        let more = ["--mode", mode, "--rounds", "3", "--window", "16", "--hold", "0"];
        assert_eq!(report(&[&user[..], &more].concat())["count"], count, "{mode}");
    }
    let listed = stdout(&place.posta(&["account", "list", "--json"], ""));
    assert!(listed.contains("\"messages\": 0"), "dele removed them: {listed}");
}

/// A client that guesses is locked out, which is listed, logged and lifted; this machine may guess more
/// often.
#[test]
fn lock_outs_are_listed_and_lifted() {
    let mut place = Place::new(&[("pop3", "none")]);
    place.add_account("ana@x.test");
    let config = fs::read_to_string(place.config()).unwrap();
    let config = config.replace("[limits]\n", "[limits]\nfailed-logins = 1\n");
    fs::write(place.config(), config).unwrap();
    place.start();
    assert!(stdout(&place.posta(&["lockout", "list"], "")).contains("Nobody is locked out."));
    let address = place.address("pop3");
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let mut wire = posta_tests::Wire::connect(address);
                wire.line();
                wire.say("USER ana@x.test");
                let said = wire.say("PASS wrong");
                assert!(said.starts_with("-ERR [AUTH]"), "{said}");
            });
        }
    });
    let mut wire = posta_tests::Wire::connect(place.address("pop3"));
    wire.line();
    wire.say("USER ana@x.test");
    assert!(wire.say(&format!("PASS {PASSWORD}")).contains("too many failed logins"));
    let listed = stdout(&place.posta(&["lockout", "list"], ""));
    assert!(listed.contains("127.0.0.1") && listed.contains("ana@x.test"), "{listed}");
    let listed = stdout(&place.posta(&["lockout", "list", "--json"], ""));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed[0]["who"], &listed[0]["failures"]), (&"127.0.0.1".into(), &10.into()));
    for who in ["127.0.0.1", "Ana@x.test"] {
        assert!(stdout(&place.posta(&["lockout", "lift", who], "")).contains("may try again"));
    }
    let again = place.posta(&["lockout", "lift", "127.0.0.1"], "");
    assert!(String::from_utf8_lossy(&again.stderr).contains("is not locked out"));
    assert!(posta_tests::pop3(place.address("pop3"), "ana").say("STAT").starts_with("+OK"));
}

/// A hash takes 19 MiB: thirty new passwords once took 570 MiB for good.
#[test]
fn hashes_take_no_memory_for_good() {
    const BOUND: u64 = 10 << 20;
    let mut place = Place::new(&[("pop3", "none")]);
    place.start();
    place.add_account("ana@x.test");
    let before = place.resident();
    std::thread::scope(|scope| {
        for index in 0..30 {
            let place = &place;
            scope.spawn(move || place.add_account(&format!("account{index}@x.test")));
        }
    });
    for index in 0..10 {
        pop3(place.address("pop3"), &format!("account{index}@x.test"));
    }
    // The allocator returns free memory over ten seconds, by a thread of its own.
    let grown = || place.resident().saturating_sub(before);
    for _ in 0..300 {
        if grown() < BOUND {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("{} KiB more after thirty seconds", grown() >> 10);
}
