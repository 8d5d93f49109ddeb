//! An operator backs everything up while the server runs, and brings back everything, an account or a message.

use posta_tests::{Place, pop3, posta, send, smtp, stdout};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

/// A server with two accounts, and a directory for its backup.
struct Bench {
    place: Place,
    elsewhere: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
        place.add_account("ana@x.test");
        place.add_account("bob@x.test");
        place.start();
        Self { place, elsewhere: tempfile::tempdir().unwrap() }
    }

    fn send(&self, to: &str, numbers: std::ops::Range<u32>) {
        let mut session = smtp(self.place.address("smtp"));
        for number in numbers {
            // Some are larger than a chunk.
            let filler = "0123456789abcde\r\n".repeat(if number % 7 == 3 { 40_000 } else { 20 });
            let content = format!("Subject: {number}\r\n\r\n{number}\r\n{filler}");
            let reply = send(&mut session, to, &content);
            assert!(reply.starts_with("250"), "{reply}");
        }
    }

    /// The unique-ids of an account, and its messages as POP3 sends them.
    fn mailbox(&self, name: &str) -> Vec<(String, String)> {
        mailbox(&self.place, name)
    }

    fn directory(&self) -> String {
        self.elsewhere.path().join("backup").to_str().unwrap().to_owned()
    }

    /// Runs a command on the backup, which must succeed.
    fn said(&self, line: &str) -> String {
        said(&self.place, &line.replace("DIR", &self.directory()))
    }

    fn refused(&self, line: &str) -> String {
        let line = line.replace("DIR", &self.directory());
        let arguments: Vec<_> = line.split(' ').collect();
        let output = self.place.posta(&arguments, "");
        assert!(!output.status.success(), "{line} should have failed");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

fn said(place: &Place, line: &str) -> String {
    let arguments: Vec<_> = line.split(' ').collect();
    stdout(&place.posta(&arguments, ""))
}

fn mailbox(place: &Place, name: &str) -> Vec<(String, String)> {
    let mut session = pop3(place.address("pop3"), name);
    let ids = session.listing("UIDL");
    let id = |line: &String| line.split(' ').nth(1).unwrap().to_owned();
    let all = ids.iter().enumerate();
    all.map(|(at, line)| (id(line), session.listing(&format!("RETR {}", at + 1)).join("\n")))
        .collect()
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// The message that arrives after the backup is fetched and lost: the next one has another unique-id, and no client
/// takes it for one that it has.
#[test]
fn everything_comes_back_and_no_unique_id_comes_twice() {
    let bench = Bench::new();
    bench.send("ana@x.test", 0..12);
    bench.send("bob@x.test", 0..3);
    said(&bench.place, "folder add ana@x.test Work");
    said(&bench.place, "folder add ana@x.test Work/Old");
    said(&bench.place, "mail move ana@x.test Work/Old 2 3");
    said(&bench.place, "mail flag ana@x.test 5 --set flagged --set $later");
    let made = bench.said("backup DIR");
    assert!(made.contains("it is not encrypted"), "{made}");
    let (ana, bob) = (bench.mailbox("ana@x.test"), bench.mailbox("bob@x.test"));
    assert_eq!((ana.len(), bob.len()), (10, 3));
    let listed = said(&bench.place, "mail list ana@x.test --json");
    let folders = json(&said(&bench.place, "folder list ana@x.test --json"));
    // Copied by nobody, and fetched.
    bench.send("ana@x.test", 100..101);
    let lost = bench.mailbox("ana@x.test");
    assert_eq!(lost.len(), 11);
    // Only the owner reads any of it.
    for file in files(Path::new(&bench.directory())) {
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", file.display());
    }
    let mut other = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    let restored = said(&other, &format!("restore {}", bench.directory()));
    assert!(restored.contains("as it was at"), "{restored}");
    other.start();
    assert_eq!((mailbox(&other, "ana@x.test"), mailbox(&other, "bob@x.test")), (ana.clone(), bob));
    assert_eq!(said(&other, "mail list ana@x.test --json"), listed);
    // RFC 9051 §2.3.1.1: UIDs that a client knows may mean other messages now.
    let after = json(&said(&other, "folder list ana@x.test --json"));
    for (before, after) in folders.as_array().unwrap().iter().zip(after.as_array().unwrap()) {
        assert_eq!(before["messages"], after["messages"]);
        assert!(before["uid-validity"].as_u64() < after["uid-validity"].as_u64(), "{after}");
    }
    let content = "Subject: new\r\n\r\nnew\r\n";
    assert!(send(&mut smtp(other.address("smtp")), "ana@x.test", content).starts_with("250"));
    let new = mailbox(&other, "ana@x.test").pop().unwrap();
    assert!(new.1.contains("Subject: new"));
    assert!(lost.iter().all(|(id, _)| *id != new.0), "{lost:?}");
    // A store is not replaced.
    let arguments = ["restore", &bench.directory()];
    let again = other.posta(&arguments, "");
    assert!(String::from_utf8_lossy(&again.stderr).contains("a server runs with"), "{again:?}");
    other.stop();
    let again = other.posta(&arguments, "");
    assert!(String::from_utf8_lossy(&again.stderr).contains("there is a store"), "{again:?}");
}

#[test]
fn later_runs_copy_what_is_new_and_old_snapshots_go() {
    let bench = Bench::new();
    bench.send("ana@x.test", 0..40);
    let first = json(&bench.said("backup DIR --json"));
    assert!(first["new-pieces"].as_u64() >= Some(40));
    let nothing = json(&bench.said("backup DIR --json"));
    assert_eq!(nothing["new-pieces"], 0, "{nothing}");
    assert!(nothing["written"].as_u64().unwrap() * 20 < first["written"].as_u64().unwrap());
    bench.send("bob@x.test", 200..202);
    let some = json(&bench.said("backup DIR --json"));
    assert_eq!(some["new-pieces"], 2);
    assert!(bench.said("backup DIR --verify").contains("3 snapshots"));
    assert_eq!(bench.said("backup DIR --list").lines().count(), 3);
    let kept = json(&bench.said("backup DIR --keep 2 --json"));
    assert_eq!(kept["removed-snapshots"], 2);
    assert_eq!(json(&bench.said("backup DIR --list --json")).as_array().unwrap().len(), 2);
    bench.said("backup DIR --verify");
    assert!(bench.place.logged("a backup was made").contains("backup"));
    // Without a server, too.
    let mut bench = bench;
    bench.place.stop();
    assert_eq!(json(&bench.said("backup DIR --json"))["new-pieces"], 0);
    // A directory with something else in it is no place for a backup.
    let other = bench.elsewhere.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter.txt"), "x").unwrap();
    assert!(bench.refused("backup DIR/../other").contains("holds other files"));
}

/// Deleted messages come back into the mailbox of a running server, once, with their flags and folders; an account that
/// is gone comes back with its password.
#[test]
fn an_account_or_a_message_comes_back() {
    let bench = Bench::new();
    bench.send("ana@x.test", 0..10);
    said(&bench.place, "folder add ana@x.test Work");
    said(&bench.place, "mail move ana@x.test Work 2");
    said(&bench.place, "mail flag ana@x.test --folder Work 1 --set flagged --set $later");
    let before = bench.mailbox("ana@x.test");
    let list = json(&said(&bench.place, "mail list ana@x.test --json"));
    bench.said("backup DIR");
    said(&bench.place, "mail delete ana@x.test 1 3 4 5");
    let id = list[1]["id"].as_str().unwrap();
    let one = bench.said(&format!("restore DIR --account ana@x.test --message {id}"));
    assert_eq!(one, "1 message brought back, 0 there already\n");
    let texts = |mailbox: &[(String, String)]| {
        let mut texts: Vec<_> = mailbox.iter().map(|(_, text)| text.clone()).collect();
        texts.sort();
        texts
    };
    let now = bench.mailbox("ana@x.test");
    assert_eq!(now.len(), before.len() - 3);
    assert!(now.iter().any(|(_, text)| *text == before[1].1));
    bench.said("restore DIR --account ana@x.test");
    assert_eq!(texts(&bench.mailbox("ana@x.test")), texts(&before));
    let again = bench.said("restore DIR --account ana@x.test");
    assert!(again.starts_with("0 messages brought back"), "{again}");
    // What is gone altogether.
    said(&bench.place, "account remove ana@x.test --yes");
    bench.said("restore DIR --account ana@x.test");
    assert_eq!(texts(&bench.mailbox("ana@x.test")), texts(&before));
    let work = json(&said(&bench.place, "mail list ana@x.test --folder Work --json"));
    assert_eq!(work[0]["flags"], serde_json::json!(["flagged", "$later"]));
    let again = bench.said("restore DIR --account ana@x.test");
    assert!(again.starts_with("0 messages brought back, 10 there already"), "{again}");
    let traced = said(&bench.place, &format!("trace {}", work[0]["id"].as_str().unwrap()));
    assert!(traced.contains("restored") && traced.contains(&bench.directory()), "{traced}");
    for (line, words) in [
        ("restore DIR --account eve@x.test", "has no account eve@x.test"),
        ("restore DIR --account ana@x.test --message x", "has no message x"),
        ("restore DIR --account ana@x.test --at 2001-01-01", "no snapshot"),
        ("restore DIR/no", "holds no backup"),
    ] {
        let refused = bench.refused(line);
        assert!(refused.contains(words), "{line}: {refused}");
    }
}

/// A changed octet anywhere in a backup is found, and so is a file that is cut or missing.
#[test]
fn a_damaged_backup_is_found() {
    let bench = Bench::new();
    bench.send("ana@x.test", 0..5);
    bench.said("backup DIR");
    let directory = bench.directory();
    for path in files(Path::new(&directory)) {
        let octets = fs::read(&path).unwrap();
        if octets.is_empty() {
            continue;
        }
        for at in [0, octets.len() / 3, octets.len() / 2, octets.len() - 1] {
            let mut changed = octets.clone();
            changed[at] ^= 0x20;
            for octets in [&changed[..], &octets[..at]] {
                fs::write(&path, octets).unwrap();
                let output = posta(&["backup", &directory, "--verify"], "");
                assert!(!output.status.success(), "{} at {at}", path.display());
            }
        }
        fs::write(&path, octets).unwrap();
    }
    bench.said("backup DIR --verify");
}

/// An encrypted backup shows nobody anything, and opens with the private key alone.
#[test]
fn an_encrypted_backup_opens_with_its_key() {
    let bench = Bench::new();
    bench.send("ana@x.test", 0..5);
    let before = bench.mailbox("ana@x.test");
    let key = bench.elsewhere.path().join("key.txt");
    let key = key.to_str().unwrap();
    let recipient = stdout(&posta(&["backup", "--new-key", key], ""));
    let recipient = recipient.trim();
    assert!(recipient.starts_with("age1"), "{recipient}");
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    bench.said(&format!("backup DIR --encrypt {recipient}"));
    bench.send("ana@x.test", 11..12);
    // The next run needs no key, and copies what is new.
    assert_eq!(json(&bench.said("backup DIR --json"))["new-pieces"], 1);
    for path in files(Path::new(&bench.directory())) {
        let octets = fs::read(&path).unwrap();
        for word in ["x.test", "Subject", "0123456789abcde", "argon2"] {
            let shows = octets.windows(word.len()).any(|at| at == word.as_bytes());
            assert!(!shows, "{} shows {word}", path.display());
        }
    }
    assert!(bench.said("backup DIR --verify").contains("was not looked into"));
    bench.said(&format!("backup DIR --verify --identity {key}"));
    let other = bench.elsewhere.path().join("other.txt");
    stdout(&posta(&["backup", "--new-key", other.to_str().unwrap()], ""));
    for (line, words) in [
        ("restore DIR --data DIR-new", "encrypted to age1"),
        (
            &format!("restore DIR --data DIR-new --identity {}", other.display())[..],
            "none of the private keys",
        ),
        (
            &format!("backup DIR --verify --identity {}", other.display())[..],
            "none of the private keys",
        ),
        (
            "backup DIR --encrypt age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj",
            "is encrypted to",
        ),
        ("backup DIR --encrypt ssh-rsa", "public key of age"),
    ] {
        let refused = bench.refused(line);
        assert!(refused.contains(words), "{line}: {refused}");
    }
    let mut new = Place::new(&[("pop3", "none")]);
    said(&new, &format!("restore {} --identity {key}", bench.directory()));
    new.start();
    let after = mailbox(&new, "ana@x.test");
    assert_eq!(after[..5], before[..]);
    assert_eq!(after.len(), 6);
}

/// An octet of a message changes on the disk: the check names the message, the repair saves all others, and what is lost
/// comes back from the backup.
#[test]
fn a_damaged_store_is_checked_and_repaired() {
    let mut bench = Bench::new();
    bench.send("ana@x.test", 0..6);
    let before = bench.mailbox("ana@x.test");
    bench.said("backup DIR");
    assert!(bench.refused("store check").contains("open; stop it first"));
    bench.place.stop();
    assert!(bench.said("store check").contains("messages checked"));
    assert!(bench.said("store repair --yes").contains("nothing is damaged"));
    let data = bench.place.config().parent().unwrap().join("data");
    let segment = data.join("store/log/000000000001");
    let mut octets = fs::read(&segment).unwrap();
    let at = octets.windows(10).position(|at| at == b"Subject: 2").unwrap();
    octets[at] ^= 1;
    fs::write(&segment, octets).unwrap();
    let refused = bench.place.posta(&["store", "check", "--json"], "");
    assert_eq!(refused.status.code(), Some(1));
    let found = json(&String::from_utf8_lossy(&refused.stdout));
    let lost = &found["lost"];
    assert_eq!(lost.as_array().unwrap().len(), 1, "{found}");
    assert_eq!((&lost[0]["of"], &lost[0]["folder"]), (&"ana@x.test".into(), &"INBOX".into()));
    assert_eq!((&lost[0]["uid"], &found["files"]), (&3.into(), &serde_json::json!([])));
    assert!(bench.refused("store repair").contains("--yes"));
    let repaired = bench.said("store repair --yes");
    assert!(
        repaired.contains("1 message is lost") && repaired.contains("store.damaged-1"),
        "{repaired}"
    );
    bench.said("store check");
    assert!(data.join("store.damaged-1/log").exists());
    bench.place.start();
    let after = bench.mailbox("ana@x.test");
    assert_eq!(after.len(), 5);
    assert!(after.iter().all(|message| before.contains(message)));
    assert!(bench.said("restore DIR --account ana@x.test").starts_with("1 message brought back"));
    assert!(bench.mailbox("ana@x.test").contains(&before[2]));
}

/// A backup may lie where others can write, such as a share or a disk that is carried about, and root makes it.
#[test]
fn a_backup_where_others_write_leads_nowhere() {
    let bench = Bench::new();
    bench.send("ana@x.test", 0..2);
    bench.said("backup DIR");
    let within = |name: &str| Path::new(&bench.directory()).join(name);
    let elsewhere = bench.elsewhere.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let precious = ["0123456789abcdef.txt", "notes", "fedcba9876543210"];
    for name in precious {
        fs::write(elsewhere.join(name), "precious").unwrap();
        fs::write(within("packs").join(name), "not ours").unwrap();
    }
    // What is no pack is not removed, even from where packs are; one that no snapshot needs is.
    fs::write(within("packs/0123456789abcdef.pack"), "left over").unwrap();
    bench.said("backup DIR");
    assert!(!within("packs/0123456789abcdef.pack").exists());
    for name in precious {
        assert!(within("packs").join(name).exists(), "{name}");
        fs::remove_file(within("packs").join(name)).unwrap();
    }
    for folder in ["packs", "snapshots"] {
        let aside = within("aside");
        fs::rename(within(folder), &aside).unwrap();
        symlink(&elsewhere, within(folder)).unwrap();
        let refused = bench.refused("backup DIR");
        assert!(refused.contains("not followed"), "{refused}");
        fs::remove_file(within(folder)).unwrap();
        fs::rename(&aside, within(folder)).unwrap();
    }
    for name in ["lock", "posta-backup.json"] {
        let before = fs::read(within(name)).unwrap();
        fs::remove_file(within(name)).unwrap();
        symlink(elsewhere.join("notes"), within(name)).unwrap();
        bench.refused("backup DIR");
        fs::remove_file(within(name)).unwrap();
        fs::write(within(name), before).unwrap();
    }
    assert_eq!(files(&elsewhere).len(), precious.len());
    for name in precious {
        assert_eq!(fs::read_to_string(elsewhere.join(name)).unwrap(), "precious");
    }
    // A FIFO, or a device without end, in the place of a snapshot.
    let snapshot = files(&within("snapshots")).into_iter().max().unwrap();
    fs::remove_file(&snapshot).unwrap();
    assert!(Command::new("mkfifo").arg(&snapshot).status().unwrap().success());
    let refused = bench.refused("restore DIR --account ana@x.test");
    assert!(refused.contains("regular file"), "{refused}");
    fs::remove_file(&snapshot).unwrap();
    symlink("/dev/zero", &snapshot).unwrap();
    bench.refused("restore DIR --account ana@x.test");
}
