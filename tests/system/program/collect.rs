//! Fetching and collecting mail from elsewhere, with the real program.

use posta_tests::{PASSWORD, Place, pop3, posta, send, smtp, stdout};
use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    path::Path,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

/// Starts a server elsewhere, with this number of messages in the maildrop of ana@x.test.
fn elsewhere(tls: &str, messages: usize) -> Place {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", tls)]);
    place.add_account("ana@x.test");
    place.start();
    let mut wire = smtp(place.address("smtp"));
    for number in 0..messages {
        let content = format!("Subject: {number}\r\n\r\n..{number}\r\n");
        assert!(send(&mut wire, "ana@x.test", &content).starts_with("250 "));
    }
    place
}

fn fetch(place: &Place, more: &[&str]) -> Output {
    let common = ["fetch", "--server", place.address("pop3"), "--user", "ana@x.test"];
    posta(&[&common[..], &["--password-stdin"], more].concat(), PASSWORD)
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn there(place: &Place) -> usize {
    pop3(place.address("pop3"), "ana@x.test").listing("LIST").len()
}

/// Only new messages are fetched, recognised by unique-id; a message that was kept for its days is
/// deleted.
#[test]
fn only_what_is_new_is_fetched() {
    let place = elsewhere("none", 3);
    let maildir = place.directory.path().join("Maildir");
    let state = place.directory.path().join("state");
    let into =
        ["--maildir", maildir.to_str().unwrap(), "--state", state.to_str().unwrap(), "--only-new"];
    let files = || fs::read_dir(maildir.join("new")).unwrap().count();
    let keeping = |how: &[&str]| fetch(&place, &[&into[..], how].concat());
    assert!(told(&keeping(&["--keep"])).contains("3 messages fetched, 0 removed"));
    assert!(told(&keeping(&["--keep"])).contains("0 messages fetched, 0 removed"));
    let mut wire = smtp(place.address("smtp"));
    assert!(send(&mut wire, "ana@x.test", "Subject: new\r\n\r\n").starts_with("250 "));
    assert!(told(&keeping(&["--keep-days", "7"])).contains("1 message fetched, 0 removed"));
    assert_eq!((files(), there(&place)), (4, 4));
    // Some days pass.
    let known = fs::read_to_string(&state).unwrap();
    let mut known: serde_json::Map<_, _> = serde_json::from_str(&known).unwrap();
    let (first, _) = known.iter().next().unwrap();
    let first = first.clone();
    known.insert(first, "2020-01-01T00:00:00Z".into());
    fs::write(&state, serde_json::to_string(&known).unwrap()).unwrap();
    assert!(told(&keeping(&["--keep-days", "7"])).contains("0 messages fetched, 1 removed"));
    assert_eq!((files(), there(&place)), (4, 3));
    assert!(told(&keeping(&["--delete"])).contains("0 messages fetched, 3 removed"));
    assert_eq!(fs::read_to_string(&state).unwrap(), "{}", "what is gone there is forgotten");
}

/// In TLS, after STLS and from the start, with SCRAM bound to the connection; an untrusted certificate
/// is accepted only if the configuration says so.
#[test]
fn passwords_travel_in_tls() {
    for (tls, how) in [("starttls", "stls"), ("implicit", "implicit")] {
        let place = elsewhere_in_tls(tls);
        let refused = fetch(&place, &["--stdout", "--tls", how]);
        assert!(!refused.status.success());
        assert!(told(&refused).contains("certificate"), "{}", told(&refused));
        let taken = fetch(&place, &["--stdout", "--tls", how, "--any-certificate"]);
        assert!(told(&taken).contains("0 messages fetched"), "{}", told(&taken));
    }
    let place = elsewhere("none", 0);
    let refused = fetch(&place, &["--stdout", "--tls", "stls"]);
    assert!(told(&refused).contains("offers no STLS"), "{}", told(&refused));
}

fn elsewhere_in_tls(tls: &str) -> Place {
    let mut place = Place::new(&[("pop3", tls)]);
    place.add_account("ana@x.test");
    place.start();
    place
}

/// Mail goes through LMTP into another server; and a mailbox moves, with its unique-ids, octet by octet.
#[test]
fn a_mailbox_moves() {
    let old = elsewhere("none", 5);
    let mut new = Place::new(&[("lmtp", "none"), ("pop3", "none")]);
    for address in ["ana@x.test", "bob@x.test"] {
        new.add_account(address);
    }
    new.start();
    let lmtp = ["--lmtp", new.address("lmtp"), "--to", "bob@x.test", "--all"];
    assert!(told(&fetch(&old, &lmtp)).contains("5 messages fetched"));
    let wrong = ["--lmtp", new.address("lmtp"), "--to", "nobody@x.test", "--all"];
    assert!(told(&fetch(&old, &wrong)).contains("550 5.1.1"), "nothing is lost");
    assert_eq!(there(&old), 5);
    let config = new.config();
    let account = ["--account", "ana@x.test", "--keep", "--config", config.to_str().unwrap()];
    for _ in 0..2 {
        let moved = fetch(&old, &account);
        assert!(moved.status.success(), "{}", told(&moved));
        let mut before = pop3(old.address("pop3"), "ana@x.test");
        let mut after = pop3(new.address("pop3"), "ana@x.test");
        for command in ["UIDL", "LIST", "RETR 1", "RETR 5"] {
            assert_eq!(before.listing(command), after.listing(command), "{command}");
        }
    }
    let mut bob = pop3(new.address("pop3"), "bob@x.test");
    assert_eq!(bob.listing("RETR 3").last().unwrap(), "..2");
}

/// A Maildir with Dovecot's list: its messages keep the unique-ids of Dovecot's POP3.
#[test]
fn a_maildir_is_taken_over() {
    let place = here();
    let maildir = place.directory.path().join("Maildir");
    for folder in ["new", "cur"] {
        fs::create_dir_all(maildir.join(folder)).unwrap();
    }
    let write = |name: &str, text: &str| fs::write(maildir.join(name), text).unwrap();
    write("cur/1.M1P2.host:2,S", "Subject: one\n\n.\nfirst");
    write("cur/2.M1P2.host:2,ST", "Subject: thrown away\n\n");
    write("new/3.M1P2.host", "Subject: three\r\n\r\nkept as it is\r\n");
    write("new/4.M1P2.host", "");
    write("dovecot-uidlist", "3 V1795540755 N8\n5 :3.M1P2.host\n7 :1.M1P2.host\n");
    let import = || here_import(&place, maildir.to_str().unwrap());
    let first = import();
    assert!(first.contains("3 messages came into"), "with the server running: {first}");
    assert!(first.contains("it has 3 of the 3 in "), "{first}");
    assert!(first.contains("left out: 1 message marked as deleted"), "{first}");
    assert!(import().contains("0 messages"), "what is there is passed over");
    let mut session = pop3(place.address("pop3"), "bob@x.test");
    let expected = ["1 000000056b05c713", "2 000000076b05c713", "3 4.M1P2.host"];
    assert_eq!(session.listing("UIDL"), expected);
    assert_eq!(session.listing("RETR 2"), ["Subject: one", "", "..", "first"]);
    assert_eq!(session.listing("RETR 1").last().unwrap(), "kept as it is");
    write("cur/5.M1P2.host:2,S", "Subject: one too many\n\n");
    stdout(&place.posta(&["account", "quota", "bob@x.test", "1B"], ""));
    let full = place.posta(&["import", "maildir", "bob@x.test", maildir.to_str().unwrap()], "");
    let words = "skipped cur/5.M1P2.host:2,S: the mailbox has no room for the message (`posta account quota`)";
    assert!(!full.status.success() && told(&full).contains(words), "{}", told(&full));
    let wrong = place.posta(&["import", "maildir", "bob@x.test", "/nonexistent"], "");
    assert!(told(&wrong).contains("/nonexistent: "), "{}", told(&wrong));
}

/// Names as written by Dovecot and Courier, and names that should not exist: each is imported exactly
/// once. A name in a list of unique-ids need not be text, and a malformed line affects only itself.
#[test]
fn every_name_of_a_file_is_imported_once() {
    let place = here();
    let maildir = place.directory.path().join("Maildir");
    let cur = maildir.join("cur");
    fs::create_dir_all(&cur).unwrap();
    let long = b"1795540754.M868569P2893V0000000000000801I00000000002C0F2B_0.\
                 the-long-name-of-a-provider's-host.example,S=3976,W=4044:2,S";
    let names = [
        &long[..],
        b"1795540755.with a blank.host:2,",
        "1795540756.Gru\u{df}.host:2,S".as_bytes(),
        b"1795540757.plain.host,S=5:2,S",
        b"1795540758.line\nend.host",
        b"1795540760.ok.host:2,S",
        b"1795540761.caf\xe9.host:2,S",
        b"1795540761.caf\xe8.host:2,S",
        b"1795540762.\xff\xfe.host:2,",
    ];
    for name in names {
        fs::write(cur.join(OsStr::from_bytes(name)), "Subject: small\n\n").unwrap();
    }
    let import = || {
        let imported =
            place.posta(&["import", "maildir", "bob@x.test", maildir.to_str().unwrap()], "");
        let said = String::from_utf8_lossy(&imported.stdout).into_owned() + &told(&imported);
        (imported.status.success(), said)
    };
    let (is_all, said) = import();
    assert!(is_all && said.contains("9 messages came into"), "{said}");
    let unique_ids = || pop3(place.address("pop3"), "bob@x.test").listing("UIDL");
    let before = unique_ids();
    assert_eq!(before.len(), 9);
    assert_eq!(before[3], "4 1795540757.plain.host,S=5");
    let (is_all, said) = import();
    assert!(is_all && said.contains("0 messages came into"), "{said}");
    assert_eq!(unique_ids(), before);
    // The import into another mailbox uses a list.
    let list =
        b"3 V1795540755 N9 G0123\n1 :1795540760.ok.host\nnonsense\n2 :1795540761.caf\xe9.host\n";
    fs::write(maildir.join("dovecot-uidlist"), list).unwrap();
    place.add_account("carl@x.test");
    let options = ["import", "maildir", "carl@x.test", maildir.to_str().unwrap()];
    let imported = place.posta(&options, "");
    assert!(!imported.status.success());
    let words = told(&imported);
    assert!(words.contains("dovecot-uidlist, line 3: names no file"), "{words}");
    let listed = pop3(place.address("pop3"), "carl@x.test").listing("UIDL");
    assert_eq!(listed[..2], ["1 000000016b05c713", "2 000000026b05c713"]);
    assert_eq!(listed.len(), 9);
}

/// Writes messages into a Maildir, at these places.
fn fill(maildir: &Path, names: &[&str]) {
    for name in names {
        let file = maildir.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!("Subject: {name}\n\n")).unwrap();
    }
}

/// The folders of bob@x.test: name, role, messages, unseen.
fn folders(place: &Place) -> Vec<String> {
    let listed = stdout(&place.posta(&["folder", "list", "bob@x.test", "--json"], ""));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let told = |folder: &serde_json::Value| {
        let name = folder["name"].as_str().unwrap();
        let role = folder["role"].as_str().unwrap_or("-").to_owned();
        format!("{name} {role} {} {}", folder["messages"], folder["unseen"])
    };
    let mut folders: Vec<_> = listed.as_array().unwrap().iter().map(told).collect();
    folders.sort();
    folders
}

/// Folders of all layouts are imported, once, with the flags of their messages.
#[test]
fn folders_of_a_maildir_are_imported() {
    let place = here();
    let maildir = place.directory.path().join("Maildir");
    let names = [
        "new/2.M1.host",
        "cur/2.M1.host:2,S",
        "cur/2.M1.host:2,RS",
        ".Sent/cur/1.M1.host:2,FSb",
        ".Sent/cur/2.M1.host:2,S",
        ".Sent/cur/3.M1.host:2,ST",
        ".Archive.2024/new/1.M1.host",
        "Archive/2025/cur/1.M1.host:2,S",
        ".Trash/cur/1.M1.host:2,S",
        ".Junk/cur/1.M1.host:2,S",
        ".F&AQM-cut/cur/1.M1.host:2,P",
    ];
    fill(&maildir, &names);
    // Only the INBOX has unique-ids from POP3, and what Dovecot's list says itself.
    fs::write(maildir.join("dovecot-uidlist"), "3 V1795540755 N8\n5 :2.M1.host\n").unwrap();
    let list = "3 V1795540755 N8\n5 :1.M1.host\n6 Pkept.id :2.M1.host\n";
    fs::write(maildir.join(".Sent/dovecot-uidlist"), list).unwrap();
    fs::write(maildir.join(".Sent/dovecot-keywords"), "0 $other\n1 $Work\n").unwrap();
    let import = |more: &[&str]| {
        let maildir = maildir.to_str().unwrap();
        let options = [&["import", "maildir", "bob@x.test", maildir], more].concat();
        stdout(&place.posta(&options, ""))
    };
    let said = import(&[]);
    assert!(
        said.contains("10 messages came into the mailbox of bob@x.test; it has 10 of"),
        "{said}"
    );
    assert!(said.contains("left out: 1 message marked as deleted"), "{said}");
    let unique_ids = pop3(place.address("pop3"), "bob@x.test").listing("UIDL");
    assert_eq!(unique_ids.len(), 3);
    assert_eq!(unique_ids[0], "1 000000056b05c713");
    let expected = [
        "Archive - 0 0".replace(" - ", " archive "),
        "Archive/2024 - 1 1".to_owned(),
        "Archive/2025 - 1 0".to_owned(),
        "F\u{103}cut - 1 1".to_owned(),
        "INBOX inbox 3 1".to_owned(),
        "Junk junk 1 0".to_owned(),
        "Sent sent 2 0".to_owned(),
        "Trash trash 1 0".to_owned(),
    ];
    assert_eq!(folders(&place), expected);
    let sent = ["mail", "list", "bob@x.test", "--folder", "Sent", "--json"];
    let sent: serde_json::Value = serde_json::from_str(&stdout(&place.posta(&sent, ""))).unwrap();
    assert_eq!(sent[0]["flags"], serde_json::json!(["seen", "flagged", "$work"]));
    assert_eq!(sent[1]["unique-id"], "kept.id");
    // Nothing comes twice: not after it moved in the Maildir, and not after it was removed here.
    fs::rename(maildir.join("cur/2.M1.host:2,RS"), maildir.join(".Trash/cur/2.M1.host:2,RS"))
        .unwrap();
    stdout(&place.posta(&["mail", "delete", "bob@x.test", "--folder", "Sent", "1"], ""));
    let said = import(&[]);
    assert!(
        said.contains("0 messages came into the mailbox of bob@x.test; it has 10 of"),
        "{said}"
    );
    let said = import(&["--deleted"]);
    assert!(said.contains("1 message came into the mailbox of bob@x.test; it has 11 of"), "{said}");
}

/// A folder that is a link is named, and the others are imported.
#[test]
fn folders_that_are_links_are_named() {
    let place = here();
    let maildir = place.directory.path().join("Maildir");
    fill(&maildir, &["cur/9.M1.host:2,S"]);
    symlink("/etc", maildir.join(".Elsewhere")).unwrap();
    fs::create_dir_all(maildir.join(".Work")).unwrap();
    symlink("/etc", maildir.join(".Work/cur")).unwrap();
    let imported = place.posta(&["import", "maildir", "bob@x.test", maildir.to_str().unwrap()], "");
    let said = String::from_utf8_lossy(&imported.stdout).into_owned() + &told(&imported);
    assert!(!imported.status.success(), "{said}");
    for words in [
        "skipped .Elsewhere: a symbolic link",
        "skipped .Work: cur: this is not a directory",
        "1 message came into",
        "skipped 2 names",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let none = maildir.join("new/nothing");
    fs::create_dir_all(&none).unwrap();
    let refused = place.posta(&["import", "maildir", "bob@x.test", none.to_str().unwrap()], "");
    assert!(told(&refused).contains("no Maildir"), "{}", told(&refused));
}

fn here_import(place: &Place, maildir: &str) -> String {
    stdout(&place.posta(&["import", "maildir", "bob@x.test", maildir], ""))
}

/// Whatever a Maildir's owner may have put there, only regular files are read, and everything else is
/// named. Names that cannot be unique-ids are still recognised the second time.
#[test]
fn only_regular_files_are_imported() {
    let place = here();
    let directory = place.directory.path();
    let maildir = directory.join("Maildir");
    let cur = maildir.join("cur");
    fs::create_dir_all(maildir.join("new")).unwrap();
    fs::create_dir_all(cur.join("directory")).unwrap();
    let secret = directory.join("secret");
    fs::write(&secret, "root's own").unwrap();
    symlink(&secret, cur.join("link")).unwrap();
    assert!(Command::new("mkfifo").arg(cur.join("fifo")).status().unwrap().success());
    let _socket = UnixListener::bind(cur.join("socket")).unwrap();
    fs::write(cur.join("an\\evil\u{202e}\nname"), "Subject: line end\n\n").unwrap();
    fs::write(cur.join(OsStr::from_bytes(b"not-\xff-utf8:2,S")), "Subject: octets\n\n").unwrap();
    fs::write(cur.join("x".repeat(100)), "Subject: long\n\n").unwrap();
    let import =
        || place.posta(&["import", "maildir", "bob@x.test", maildir.to_str().unwrap()], "");
    for count in [3, 0] {
        let imported = import();
        let told = String::from_utf8_lossy(&imported.stdout).into_owned() + &told(&imported);
        assert!(!imported.status.success(), "{told}");
        assert!(told.contains(&format!("{count} messages came into")), "{told}");
        assert!(told.contains("skipped 4 names"), "{told}");
        for (name, why) in [
            ("link", "a symbolic link"),
            ("fifo", "no regular file"),
            ("socket", "no regular file"),
            ("directory", "no regular file"),
        ] {
            assert!(told.contains(&format!("cur/{name}: {why}")), "{told}");
        }
    }
    let mut session = pop3(place.address("pop3"), "bob@x.test");
    assert_eq!(session.listing("UIDL").len(), 3);
    // Folders and lists that are links are not followed either.
    let elsewhere = directory.join("elsewhere");
    fs::create_dir_all(elsewhere.join("cur")).unwrap();
    fs::write(elsewhere.join("cur/1.secret"), "root's own").unwrap();
    symlink(maildir.join("new"), elsewhere.join("new")).unwrap();
    symlink(&secret, maildir.join("dovecot-uidlist")).unwrap();
    let way = directory.join("way");
    symlink(&maildir, &way).unwrap();
    for (wrong, words) in [
        (&elsewhere, "elsewhere/new: "),
        (&maildir, "dovecot-uidlist: a symbolic link"),
        (&way, "way: "),
    ] {
        let refused =
            place.posta(&["import", "maildir", "bob@x.test", wrong.to_str().unwrap()], "");
        assert!(!refused.status.success() && told(&refused).contains(words), "{}", told(&refused));
    }
    assert_eq!(pop3(place.address("pop3"), "bob@x.test").listing("UIDL").len(), 3);
}

/// A program that fetches for others, as root does with `--accounts`, writes exactly where it is told,
/// and not where links lead.
#[test]
fn what_is_fetched_is_written_through_no_link() {
    let old = elsewhere("none", 2);
    let directory = old.directory.path();
    let victim = directory.join("victim");
    fs::create_dir_all(victim.join("new")).unwrap();
    fs::write(victim.join("file"), "as it was").unwrap();
    let maildir = directory.join("Maildir");
    fs::create_dir_all(maildir.join("tmp")).unwrap();
    fs::create_dir_all(maildir.join("cur")).unwrap();
    symlink(victim.join("new"), maildir.join("new")).unwrap();
    symlink(victim.join("file"), directory.join("mbox")).unwrap();
    symlink(victim.join("file"), directory.join("state")).unwrap();
    assert!(Command::new("mkfifo").arg(directory.join("fifo")).status().unwrap().success());
    let at = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    for (options, words) in [
        (&["--maildir", &at("Maildir")][..], "Maildir/new: "),
        (&["--mbox", &at("mbox")], "mbox: a symbolic link"),
        (&["--mbox", &at("fifo")], "fifo: no regular file"),
        (&["--mbox", &at("good"), "--only-new", "--state", &at("state")], "state: a symbolic link"),
        (&["--mbox", &at("good"), "--only-new", "--state", &at("fifo")], "fifo: no regular file"),
    ] {
        let refused = fetch(&old, options);
        assert!(!refused.status.success() && told(&refused).contains(words), "{}", told(&refused));
    }
    assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "as it was");
    assert_eq!(fs::read_dir(victim.join("new")).unwrap().count(), 0);
    assert_eq!(there(&old), 2);
}

/// Several accounts from a file; a failure does not stop the others.
#[test]
fn several_accounts_are_fetched() {
    let place = elsewhere("none", 2);
    let directory = place.directory.path();
    let (file, password) = (directory.join("accounts.toml"), directory.join("password"));
    fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let (server, mbox) = (place.address("pop3"), directory.join("mbox"));
    let (password, mbox) = (password.display(), mbox.display());
    let text = format!(
        "[[account]]\nserver = \"{server}\"\nuser = \"nobody\"\npassword = \"x\"\nmbox = \"{mbox}\"\n\
         [[account]]\nserver = \"{server}\"\nuser = \"ana@x.test\"\npassword-file = \"{password}\"\n\
         maildir = \"{}\"\n",
        directory.join("Maildir").display()
    );
    fs::write(&file, text).unwrap();
    let fetched = posta(&["fetch", "--accounts", file.to_str().unwrap()], "");
    let told = told(&fetched);
    assert!(!fetched.status.success());
    assert!(told.contains("nobody at") && told.contains("[AUTH]"), "{told}");
    assert!(told.contains("2 messages fetched, 0 removed"), "{told}");
    assert!(told.contains("1 of the accounts could not be fetched"), "{told}");
    fs::write(&file, "[[account]]\nserver = 'x:110'\nuser = 'a'\npassword = 'x'\n").unwrap();
    let wrong = posta(&["fetch", "--accounts", file.to_str().unwrap()], "");
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("one of maildir, mbox, lmtp and account is needed"), "{told}");
}

fn add_source(here: &Place, old: &Place, more: &[&str]) -> String {
    let server = old.address("pop3").to_owned();
    let add = ["collect", "add", "bob@x.test", "--server", &server, "--user", "ana@x.test"];
    stdout(&here.posta(&[&add[..], &["--password-stdin"], more].concat(), PASSWORD))
}

fn here() -> Place {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.add_account("bob@x.test");
    place.start();
    place
}

/// The server visits its sources by itself, soon after the start; `run` does so at once.
#[test]
fn mail_is_collected_on_a_schedule() {
    let old = elsewhere("none", 3);
    let here = here();
    assert!(stdout(&here.posta(&["collect", "list"], "")).contains("Nothing is collected yet"));
    let add =
        ["collect", "add", "bob@x.test", "--server", old.address("pop3"), "--user", "ana@x.test"];
    let wrong = here.posta(&[&add[..], &["--password-stdin"]].concat(), "wrong");
    assert!(!wrong.status.success());
    assert!(
        told(&wrong).contains("nothing is collected from there: the server refuses"),
        "{}",
        told(&wrong)
    );
    assert!(add_source(&here, &old, &[]).contains("source 1 "));
    let collected = || pop3(here.address("pop3"), "bob@x.test").listing("LIST").len();
    for _ in 0..300 {
        if collected() == 3 {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    assert_eq!(collected(), 3, "without being asked");
    assert!(stdout(&here.posta(&["collect", "run", "1"], "")).contains("0 messages collected"));
    let mut wire = smtp(old.address("smtp"));
    assert!(send(&mut wire, "ana@x.test", "Subject: 4\r\n\r\n").starts_with("250 "));
    assert!(stdout(&here.posta(&["collect", "run", "1"], "")).contains("1 message collected"));
    assert_eq!((collected(), there(&old)), (4, 4));
    let list = stdout(&here.posta(&["collect", "list", "--json"], ""));
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[0]["address"], "bob@x.test");
    assert_eq!((&list[0]["tls"], &list[0]["any-certificate"]), (&"none".into(), &false.into()));
    assert_eq!(list[0]["last"]["collected"], 1);
    assert!(!list.to_string().contains(PASSWORD), "passwords are not told");
    let story = stdout(&here.posta(&["trace", "bob@x.test"], ""));
    assert!(story.contains("by POP3"), "{story}");
    stdout(&here.posta(&["collect", "remove", "1"], ""));
    let gone = here.posta(&["collect", "run", "1"], "");
    assert!(told(&gone).contains("there is no source 1"), "{}", told(&gone));
}

/// kill -9 of a collecting server, again and again: nothing is lost, nothing duplicated.
#[test]
fn kill_9_while_collecting_loses_and_doubles_nothing() {
    const MESSAGES: usize = 600;
    let old = elsewhere("none", MESSAGES);
    let mut here = here();
    add_source(&here, &old, &["--keep", "nothing"]);
    let mut kills = 0;
    for round in 0..40u64 {
        let config = here.config();
        let run = Command::new(posta_tests::program())
            .args(["collect", "run", "1", "--config"])
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut run = run.unwrap();
        sleep(Duration::from_millis(5 + round * 7 % 60));
        here.kill();
        run.wait().unwrap();
        here.start();
        kills += 1;
        if there(&old) == 0 {
            break;
        }
    }
    // The server may be visiting by itself.
    for _ in 0..100 {
        here.posta(&["collect", "run", "1"], "");
        if there(&old) == 0 {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    assert_eq!(there(&old), 0);
    let mut session = pop3(here.address("pop3"), "bob@x.test");
    let count = session.listing("LIST").len();
    let mut subjects: Vec<String> = (1..=count)
        .map(|number| {
            let lines = session.listing(&format!("TOP {number} 0"));
            lines.into_iter().find(|line| line.starts_with("Subject: ")).unwrap()
        })
        .collect();
    subjects.sort();
    let mut expected: Vec<_> = (0..MESSAGES).map(|number| format!("Subject: {number}")).collect();
    expected.sort();
    assert_eq!(subjects.len(), expected.len(), "after {kills} kills");
    assert!(subjects == expected, "after {kills} kills");
    println!("{kills} kills");
}
