//! Moving mailboxes in and out, with the real program.

use posta_tests::{Place, Wire, pop3, program, stdout};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

/// A place with a server that runs, and these accounts.
fn here(accounts: &[&str]) -> Place {
    let mut place = Place::new(&[("pop3", "none")]);
    for address in accounts {
        place.add_account(address);
    }
    place.start();
    place
}

fn write(path: PathBuf, octets: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, octets).unwrap();
}

/// The messages of an account, by folder and unique-id: their flags, and their octets. An mbox cannot tell whether the
/// last line has an end.
fn mailbox(place: &Place, address: &str) -> BTreeMap<(String, String), (String, String)> {
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&stdout(&place.posta(arguments, ""))).unwrap()
    };
    let mut found = BTreeMap::new();
    for folder in json(&["folder", "list", address, "--json"]).as_array().unwrap() {
        let name = folder["name"].as_str().unwrap();
        let listed = json(&["mail", "list", address, "--folder", name, "--json"]);
        for line in listed.as_array().unwrap() {
            let uid = line["uid"].to_string();
            let shown = place.posta(&["mail", "show", address, "--folder", name, &uid], "");
            let content = String::from_utf8_lossy(&shown.stdout);
            let content = content.trim_end_matches(['\r', '\n']).to_owned();
            let id = line["unique-id"].as_str().unwrap().to_owned();
            found.insert((name.to_owned(), id), (line["flags"].to_string(), content));
        }
    }
    found
}

/// All files below a directory, without what differs from export to export: the beginnings of names, which tell ids
/// of this store, and UIDs.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        for entry in fs::read_dir(path).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if path.is_dir() {
                waiting.push(path);
            } else if name != "dovecot-uidlist" {
                let way = path.strip_prefix(directory).unwrap().with_file_name("");
                let (time, rest) = name.split_once('.').unwrap_or((&name, ""));
                let rest = rest.split_once(",S=").map_or(rest, |(_, rest)| rest);
                let octets = fs::read(&path).unwrap();
                let text = String::from_utf8_lossy(&octets).into_owned();
                let is_same =
                    |line: &&str| !line.starts_with("X-UID: ") && !line.starts_with("X-IMAPbase: ");
                let text: Vec<_> = text.split('\n').filter(is_same).collect();
                let mut text = text.join("\n");
                if name.ends_with(".mbox") {
                    text = text.replace("\r\n", "\n");
                }
                let text = text.into_bytes();
                found.push((format!("{}{time} {rest}", way.display()), text));
            }
        }
    }
    found.sort();
    found
}

/// A mailbox as others write it, with whatever may occur in it.
fn source(maildir: &Path) {
    let large = "a line of a large message, which travels in pieces\n".repeat(30_000);
    let odd = "Subject: odd\r\n\r\na bare \r and a bare \n, and no end";
    for (name, content) in [
        ("cur/1700000001.M1.host:2,FRS", "Subject: one\n\nFrom the beginning\n>From there\n"),
        ("cur/1700000002.M2.host:2,", &format!("Subject: large\n\n{large}")),
        ("new/1700000003.M3.host", odd),
        (".Sent/cur/1700000004.M4.host:2,PSab", "Status: mine\nSubject: four\n\nx\n"),
        (".Archive.2024/cur/1700000005.M5.host:2,T", "Subject: five\n\n"),
        (".F&AQM-cut.v1\\2e2/cur/1700000006.M6.host:2,D", "X-UID: 9\nSubject: six\n\nno end"),
        (".Junk/cur/1700000007.M7.host:2,S", "Subject: seven\n\n"),
    ] {
        write(maildir.join(name), content);
    }
    let list = "3 V1795540755 N8\n5 :1700000001.M1.host\n7 Pown.id :1700000002.M2.host\n";
    write(maildir.join("dovecot-uidlist"), list);
    write(maildir.join(".Sent/dovecot-keywords"), "0 $work\n1 later\n");
}

/// What is exported and imported into an empty store is the same there, and exported again, the same files: octets,
/// flags, folders and unique-ids.
#[test]
fn a_mailbox_goes_round() {
    for format in ["maildir", "mbox"] {
        let first = here(&["ana@x.test"]);
        let maildir = first.directory.path().join("source");
        source(&maildir);
        let maildir = maildir.to_str().unwrap();
        let said =
            stdout(&first.posta(&["import", "maildir", "ana@x.test", maildir, "--deleted"], ""));
        assert!(said.contains("7 messages came") && said.contains("it has 7 of the 7"), "{said}");
        let before = mailbox(&first, "ana@x.test");
        assert_eq!(before.len(), 7);
        let inbox = ["000000056b05c713", "own.id", "1700000003.M3.host"];
        assert!(
            inbox.iter().all(|id| before.contains_key(&("INBOX".to_owned(), (*id).to_owned())))
        );
        let out = first.directory.path().join("out");
        let export = ["export", format, out.to_str().unwrap(), "--all"];
        let said = stdout(&first.posta(&export, ""));
        assert!(said.contains("wrote 7 messages of ana@x.test"), "{said}");
        let said = stdout(&first.posta(&export, ""));
        let is_same = said.contains("wrote 0 messages of ana@x.test") || format == "mbox";
        assert!(is_same && said.contains("ana has 7, the mailbox 7"), "{said}");
        let exported = files(&out);

        // No server runs this time.
        let second = Place::new(&[("pop3", "none")]);
        second.add_account("ana@x.test");
        let pattern = match format {
            "maildir" => out.join("%d/%n/Maildir"),
            _ => out.join("%d/%n"),
        };
        let import = ["import", format, "--map", pattern.to_str().unwrap(), "--deleted"];
        let said = stdout(&second.posta(&import, ""));
        assert!(said.contains("7 messages came") && said.contains("it has 7 of the 7"), "{said}");
        let said = stdout(&second.posta(&import, ""));
        assert!(said.contains("0 messages came") && said.contains("it has 7 of the 7"), "{said}");
        assert_eq!(mailbox(&second, "ana@x.test"), before, "{format}");
        let out = second.directory.path().join("out");
        stdout(&second.posta(&["export", format, out.to_str().unwrap(), "ana@x.test"], ""));
        let names = |files: &[(String, Vec<u8>)]| {
            files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&files(&out)), names(&exported));
        assert!(files(&out) == exported, "{format}: other octets");
    }
}

/// An export that is repeated writes what is new, and changes flags; a message that an interrupted one wrote in part
/// is written again.
#[test]
fn an_export_goes_on() {
    let place = here(&["ana@x.test"]);
    let maildir = place.directory.path().join("source");
    source(&maildir);
    let import = ["import", "maildir", "ana@x.test", maildir.to_str().unwrap()];
    stdout(&place.posta(&import, ""));
    let out = place.directory.path().join("out");
    let export = |format: &str| {
        stdout(&place.posta(&["export", format, out.to_str().unwrap(), "ana@x.test"], ""))
    };
    for format in ["maildir", "mbox"] {
        let said = export(format);
        assert!(said.contains("wrote 6 messages of ana@x.test"), "{said}");
    }
    write(maildir.join("new/1700000009.M9.host"), "Subject: new\n\n");
    stdout(&place.posta(&import, ""));
    stdout(&place.posta(&["mail", "flag", "ana@x.test", "1", "--clear", "flagged"], ""));
    let said = export("maildir");
    assert!(said.contains("wrote 1 message of ana@x.test"), "{said}");
    let cur = out.join("x.test/ana/Maildir/cur");
    let names: Vec<_> = fs::read_dir(&cur).unwrap().flatten().map(|it| it.file_name()).collect();
    let ending = |end: &str| names.iter().any(|name| name.to_str().unwrap().ends_with(end));
    assert!(names.len() == 4 && ending(":2,RS") && !ending(":2,FRS"), "{names:?}");
    let inbox = out.join("x.test/ana/INBOX.mbox");
    let whole = fs::read(&inbox).unwrap();
    fs::write(&inbox, &whole[..whole.len() - 3]).unwrap();
    // The last message of each file is written anew, since it may be incomplete.
    assert!(export("mbox").contains("has 7, the mailbox 7"));
    let now = fs::read(&inbox).unwrap();
    assert!(now.starts_with(&whole), "what was there is the same");
    assert!(now.len() > whole.len());
    let foreign = out.join("x.test/ana/Sent.mbox");
    fs::write(&foreign, "From a Tue Nov 24 08:00:00 2026\nA: b\n\n".repeat(2)).unwrap();
    let refused = place.posta(&["export", "mbox", out.to_str().unwrap(), "ana@x.test"], "");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("Sent.mbox") && told.contains("was not exported"), "{told}");
}

/// An import that is killed at any moment goes on when it is run again: no message is lost, and none comes twice.
#[test]
fn a_killed_import_goes_on() {
    let users = ["ana@x.test", "bob@x.test", "carl@y.test"];
    let place = here(&users);
    let root = place.directory.path().join("vmail");
    const EACH: usize = 400;
    for user in users {
        let (name, domain) = user.split_once('@').unwrap();
        let mut list = "3 V1795540755 N9\n".to_owned();
        for number in 0..EACH {
            let file = format!("{}.M{number}.host", 1_700_000_000 + number);
            list.push_str(&format!("{} :{file}\n", number + 1));
            let text = format!("Subject: {number}\n\n{}\n", "x".repeat(number * 20));
            write(root.join(format!("{domain}/{name}/Maildir/cur/{file}:2,S")), text);
        }
        write(root.join(format!("{domain}/{name}/Maildir/dovecot-uidlist")), list);
    }
    write(root.join("x.test/dora/Maildir/cur/1.x:2,"), "Subject: nobody\n\n");
    let pattern = root.join("%d/%n/Maildir");
    let import = ["import", "maildir", "--map", pattern.to_str().unwrap(), "--config"];
    for wait in [40, 90, 140] {
        let mut command = Command::new(program());
        let command = command.args(import).arg(place.config()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(wait));
        let _ = child.kill();
        child.wait().unwrap();
    }
    let ended = place.posta(&import[..4], "");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("1200 of 1200 are there"), "{said}{told}");
    assert!(told.contains("dora/Maildir: it belongs to no account"), "{told}");
    assert!(!ended.status.success());
    for user in users {
        let listed = pop3(place.address("pop3"), user).listing("UIDL");
        let expected: Vec<_> = (1..=EACH).map(|uid| format!("{uid} {uid:08x}6b05c713")).collect();
        assert_eq!(listed, expected, "in the old server's order, each once");
    }
}

/// Mail that came from an old server's POP3 before is recognised in its files.
#[test]
fn what_was_collected_before_is_not_imported() {
    let mut old = Place::named("old.x.test", &[("smtp", "none"), ("pop3", "none")]);
    old.add_account("ana@x.test");
    old.start();
    let mut wire = posta_tests::smtp(old.address("smtp"));
    for number in 0..3 {
        let content = format!("Subject: {number}\r\n\r\n{number}\r\n");
        assert!(posta_tests::send(&mut wire, "ana@x.test", &content).starts_with("250 "));
    }
    let place = here(&["ana@x.test"]);
    let server = old.address("pop3");
    let pop3 = ["import", "pop3", "ana@x.test", "--server", server, "--user", "ana@x.test"];
    for expected in ["3 messages came", "0 messages came"] {
        let taken =
            place.posta(&[&pop3[..], &["--password-stdin"]].concat(), posta_tests::PASSWORD);
        assert!(stdout(&taken).contains(expected));
    }
    let out = old.directory.path().join("out");
    stdout(&old.posta(&["export", "maildir", out.to_str().unwrap(), "--all"], ""));
    let maildir = out.join("x.test/ana/Maildir");
    let said =
        stdout(&place.posta(&["import", "maildir", "ana@x.test", maildir.to_str().unwrap()], ""));
    assert!(said.contains("0 messages came") && said.contains("it has 3 of the 3"), "{said}");
}

/// Folders of mbox files, and flags as mail programs write them.
#[test]
fn mbox_files_are_folders() {
    let place = here(&["ana@x.test"]);
    let root = place.directory.path().join("mail");
    let from = "From ana@y.test Tue Nov 24 08:00:00 2026";
    write(
        root.join("INBOX"),
        format!(
            "{from}\nSubject: 1\nX-IMAPbase: 1795540755 7\nX-UID: 5\nStatus: RO\nX-Status: F\n\nx\n\n\
             {from}\nSubject: 2\nX-UIDL: old.id\nX-Status: D\n\nx\n\n{from}\nSubject: 3\n\n>From y\n"
        ),
    );
    write(root.join("Archive.sbd/2024"), format!("{from}\nSubject: 4\n\n\n"));
    write(root.join("Archive.msf"), "// index");
    write(root.join("notes.txt"), "no mbox\n");
    let import = |more: &[&str]| {
        let options = ["import", "mbox", "ana@x.test", root.to_str().unwrap()];
        let imported = place.posta(&[&options[..], more].concat(), "");
        String::from_utf8_lossy(&imported.stdout).into_owned()
            + &String::from_utf8_lossy(&imported.stderr)
    };
    let said = import(&[]);
    assert!(said.contains("3 messages came") && said.contains("it has 3 of the 3"), "{said}");
    assert!(said.contains("skipped notes.txt: not an mbox"), "{said}");
    assert!(import(&["--deleted"]).contains("1 message came"));
    let found = mailbox(&place, "ana@x.test");
    let of = |folder: &str, id: &str| found[&(folder.to_owned(), id.to_owned())].clone();
    let first = of("INBOX", "000000056b05c713");
    assert_eq!(first, ("[\"seen\",\"flagged\"]".to_owned(), "Subject: 1\r\n\r\nx".to_owned()));
    assert_eq!(of("INBOX", "old.id").0, "[\"deleted\"]");
    assert!(found.values().any(|(_, content)| content == "Subject: 3\r\n\r\nFrom y"));
    assert!(found.keys().any(|(folder, _)| folder == "Archive/2024"));
    let one = root.join("Archive.sbd/2024");
    let into = ["import", "mbox", "ana@x.test", one.to_str().unwrap(), "--folder", "Else"];
    let said = stdout(&place.posta(&into, ""));
    assert!(said.contains("0 messages came"), "the same message comes once: {said}");
}

/// A hash of `parola`, the password of the tests, as other servers keep it.
const HASHES: [(&str, &str); 4] = [
    (
        "ana@x.test",
        "{SHA512-CRYPT}$6$abcdefgh$KMisBtZs2N6Qg5jDE3TC6hxCdcgUxnbfiJoqBu1CGPsEqQnPWpQGn.WGtl7osSbpRVyIhFlk7U5jzsWXT1Iez1",
    ),
    ("bob", "$2y$05$abcdefghijklmnopqrstuu3uqgcA8ARaATEh/AQstvCWIqosG3/pC"),
    ("carl", "{SSHA}eaIqr9DBETjWo0wQqhehtDPulHBzYWx6"),
    ("dora", "{PLAIN}parola"),
];

/// Users of another server log in with their passwords. Then the passwords are hashed anew, and SCRAM is offered again.
#[test]
fn users_keep_their_passwords() {
    let mut place = Place::new(&[("pop3", "none")]);
    let file = place.directory.path().join("users");
    let mut text = "# users\ndaemon:*:19000::::::\nold:$1$a$b::::::\n".to_owned();
    for (name, hash) in HASHES {
        text.push_str(&format!("{name}:{hash}:1000:1000::/home::userdb_quota_rule=*:storage=1M\n"));
    }
    write(file.clone(), &text);
    place.add_account("eve@x.test");
    place.start();
    let import = ["import", "users", file.to_str().unwrap(), "--domain", "x.test"];
    let imported = place.posta(&import, "");
    let (said, told) = (
        String::from_utf8_lossy(&imported.stdout).into_owned(),
        String::from_utf8_lossy(&imported.stderr).into_owned(),
    );
    assert!(said.contains("passwords: 4 added"), "{said}{told}");
    assert!(said.contains("left out: daemon"), "{said}");
    assert!(told.contains("old@x.test: hashes of the scheme MD5-CRYPT"), "{told}");
    assert!(!imported.status.success());
    let again = place.posta(&import, "");
    assert!(String::from_utf8_lossy(&again.stdout).contains("passwords: 0 added"));
    let listed = stdout(&place.posta(&["account", "list", "--json"], ""));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["quota"], 1 << 20);
    place.stop();
    place.start();
    let offers_scram = |place: &Place| {
        let mut wire = Wire::connect(place.address("pop3"));
        wire.line();
        let offered = wire.listing("CAPA");
        offered.iter().any(|line| line.starts_with("SASL") && line.contains("SCRAM"))
    };
    assert!(!offers_scram(&place), "the hashes of others are not enough for it");
    for _ in 0..2 {
        for name in ["ana", "bob", "carl", "dora"] {
            // The helper logs in with the password.
            pop3(place.address("pop3"), &format!("{name}@x.test"));
        }
    }
    place.stop();
    place.start();
    assert!(offers_scram(&place), "all were hashed anew");
    pop3(place.address("pop3"), "ana@x.test");
}

/// Aliases of both kinds, in any order.
#[test]
fn aliases_are_taken_over() {
    let place = here(&["ana@x.test", "bob@x.test"]);
    let system = place.directory.path().join("aliases");
    let text = "postmaster: root\nroot: ana,\n  bob\nlist: \"|/bin/program\", ana\nlost: nobody\n";
    write(system.clone(), text);
    let maps = place.directory.path().join("virtual");
    write(maps.clone(), "y.test anything\ninfo@y.test ana@x.test\n@y.test bob@x.test\n");
    let import = |path: &Path| {
        let options = ["import", "aliases", path.to_str().unwrap(), "--domain", "x.test"];
        let imported = place.posta(&options, "");
        String::from_utf8_lossy(&imported.stdout).into_owned()
            + &String::from_utf8_lossy(&imported.stderr)
    };
    let said = import(&system);
    assert!(said.contains("aliases and domains: 3 added"), "{said}");
    assert!(said.contains("list@x.test: |/bin/program is a program"), "{said}");
    assert!(said.contains("lost@x.test: nobody@x.test does not exist here"), "{said}");
    assert!(import(&maps).contains("aliases and domains: 3 added"));
    let again = import(&maps);
    assert!(again.contains("added, 2 here before"), "{again}");
    let listed = stdout(&place.posta(&["alias", "list", "--json"], ""));
    for words in ["postmaster@x.test", "root@x.test", "info@y.test", "\"@y.test\""] {
        assert!(listed.contains(words), "{words}: {listed}");
    }
}

/// What an import knew is in the backup, so in a restored store it goes on where it was: the mail of the folders, which
/// has no unique-ids in the files, would come twice otherwise, and removed mail would come back.
#[test]
fn an_import_goes_on_in_a_restored_store() {
    let place = here(&["ana@x.test"]);
    let at = |name: &str| place.directory.path().join(name);
    let text = |number: u32| format!("Subject: {number}\n\nx\n");
    for number in 0..6_u32 {
        write(at(&format!("Maildir/cur/{}.M1.host:2,S", 1_700_000_000 + number)), text(number));
        write(
            at(&format!("Maildir/.Sent/cur/{}.M2.host:2,S", 1_700_000_000 + number)),
            text(number),
        );
    }
    let maildir = at("Maildir");
    let import = ["import", "maildir", "ana@x.test", maildir.to_str().unwrap()];
    assert!(stdout(&place.posta(&import, "")).contains("12 messages came"));
    stdout(&place.posta(&["mail", "delete", "ana@x.test", "--folder", "Sent", "1"], ""));
    let backup = at("backup");
    stdout(&place.posta(&["backup", backup.to_str().unwrap()], ""));
    let mut other = Place::new(&[("pop3", "none")]);
    stdout(&other.posta(&["restore", backup.to_str().unwrap()], ""));
    other.start();
    write(at("Maildir/new/1700000099.M3.host"), text(99));
    let said = stdout(&other.posta(&import, ""));
    assert!(said.contains("1 message came"), "{said}");
    assert_eq!(mailbox(&other, "ana@x.test").len(), 12);
}

/// A message chooses its own header. One with more keywords than a message may have must not stop an import; nor must a
/// folder that is exchanged for a link, or an address that names another one's directory.
#[test]
fn what_strangers_wrote_stops_no_import() {
    let place = here(&["ana@x.test", "bob/.sent@x.test", "bob@x.test"]);
    let at = |name: &str| place.directory.path().join(name);
    let from = "From ana@x.test Tue Nov 24 08:00:00 2026\n";
    let keywords: String = (0..500).map(|at| format!("X-Keywords: k{at}\n")).collect();
    let many = format!("{from}Subject: 1\n{keywords}\nx\n\n{from}Subject: 2\n\nx\n\n");
    write(at("mail/Work/Old.mbox"), &many);
    write(at("secret/other.mbox"), &many);
    std::os::unix::fs::symlink(at("secret"), at("mail/Link")).unwrap();
    let mail = at("mail");
    let imported = place.posta(&["import", "mbox", "ana@x.test", mail.to_str().unwrap()], "");
    let (said, told) = (&imported.stdout, String::from_utf8_lossy(&imported.stderr));
    assert!(String::from_utf8_lossy(said).contains("2 messages came"), "{told}");
    assert!(told.contains("Link: no regular file"), "{told}");
    write(at("vmail/bob/cur/1.x:2,"), "Subject: 3\n\nx\n");
    write(at("vmail/bob/.sent/cur/1.x:2,"), "Subject: 4\n\nx\n");
    let pattern = at("vmail/%n");
    let mapped = place.posta(&["import", "maildir", "--map", pattern.to_str().unwrap()], "");
    let told = String::from_utf8_lossy(&mapped.stderr);
    assert!(told.contains("bob/.sent@x.test: its address names no directory"), "{told}");
    assert_eq!(mailbox(&place, "bob/.sent@x.test").len(), 0);
    assert_eq!(mailbox(&place, "bob@x.test").len(), 2);
}
