//! What `posta backup` and its like say about a database, and the way back from a dump.

use super::{LISTENERS, cluster, places};
use posta_tests::{Place, pop3, posta, postgres::Cluster, send, smtp, stdout};
use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

fn said(place: &Place, line: &str) -> String {
    stdout(&place.posta(&line.split(' ').collect::<Vec<_>>(), ""))
}

/// Returns what a command that must fail says.
fn refused(place: &Place, line: &str) -> String {
    let output = place.posta(&line.split(' ').collect::<Vec<_>>(), "");
    assert_eq!(output.status.code(), Some(1), "{line}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn deliver(place: &Place, subject: &str) {
    let content = format!("Subject: {subject}\r\n\r\nx\r\n");
    let reply = send(&mut smtp(place.address("smtp")), "ana@x.test", &content);
    assert!(reply.starts_with("250 "), "{reply}");
}

#[test]
fn what_needs_the_embedded_store_says_what_does_it_here() {
    let Some(cluster) = cluster() else { return };
    let [mut one, _] = places(&cluster);
    one.add_account("ana@x.test");
    let directory = one.directory.path().join("backup");
    // One that exists, of an embedded store.
    let mut files = Place::new(&[]);
    files.add_account("ana@x.test");
    let existing = files.directory.path().join("backup");
    said(&files, &format!("backup {}", existing.display()));
    files.kill();
    let keys = cluster.directory().join("store.keys");
    let cases = [
        ("store check".to_owned(), vec!["pg_amcheck", "pg_verifybackup"]),
        ("store repair --yes".to_owned(), vec!["pg_amcheck", "standby"]),
        (
            format!("backup {}", directory.display()),
            vec!["pg_basebackup", "pg_dump", keys.to_str().unwrap()],
        ),
        (
            format!("restore {}", existing.display()),
            vec!["posta store copy --to URL", "--account ADDRESS"],
        ),
    ];
    for is_running in [false, true] {
        if is_running {
            one.start();
        }
        for (line, words) in &cases {
            let told = refused(&one, line);
            let all = ["[store] names PostgreSQL", "[embedded-store-only]"];
            for words in all.iter().chain(words) {
                assert!(told.contains(words), "{line} should say {words:?}: {told}");
            }
        }
    }
    assert!(!directory.exists() && !one.directory.path().join("data/store").exists());
    let explained = stdout(&posta(&["explain", "embedded-store-only"], ""));
    assert!(explained.contains("docs/cluster.md"), "{explained}");
    let status = said(&one, "status");
    assert!(status.contains("the database's own"), "{status}");
}

/// A firm that has moved to a database still has the backups that it made before.
#[test]
fn an_account_comes_back_from_an_older_backup_into_a_database() {
    let Some(cluster) = cluster() else { return };
    let mut files = Place::new(&LISTENERS);
    files.add_account("ana@x.test");
    files.start();
    for subject in ["one", "two"] {
        deliver(&files, subject);
    }
    let backup = files.directory.path().join("backup");
    said(&files, &format!("backup {}", backup.display()));
    let [mut one, _] = places(&cluster);
    one.start();
    let restore = format!("restore {} --account ana@x.test", backup.display());
    assert!(said(&one, &restore).starts_with("2 messages brought back, 0 there already"));
    assert!(said(&one, &restore).starts_with("0 messages brought back, 2 there already"));
    let unique_ids = |place: &Place| pop3(place.address("pop3"), "ana").listing("UIDL");
    assert_eq!(unique_ids(&one), unique_ids(&files));
}

/// A dump lacks what came after it, but clients have seen that: no UID comes twice.
#[test]
fn a_dump_that_is_restored_gives_no_uid_twice() {
    let Some(cluster) = cluster() else { return };
    let [mut one, mut two] = places(&cluster);
    one.add_account("ana@x.test");
    one.start();
    deliver(&one, "before");
    let dump = printed(cluster.program("pg_dump").args(["-n", "posta", "-U", "posta", "postgres"]));
    deliver(&one, "after");
    let uids = |place: &Place| -> Vec<u64> {
        let listed: Value =
            serde_json::from_str(&said(place, "mail list ana@x.test --json")).unwrap();
        listed.as_array().unwrap().iter().map(|line| line["uid"].as_u64().unwrap()).collect()
    };
    assert_eq!(uids(&one), [1, 2]);
    assert_eq!(one.stop(), Some(0));
    restore(&cluster, &dump);
    let config = fs::read_to_string(two.config()).unwrap();
    fs::write(two.config(), config.replace(&cluster.url(), &cluster.url_of("restored"))).unwrap();
    two.start();
    deliver(&two, "later");
    let uids = uids(&two);
    assert!(uids[0] == 1 && uids[1] > 1_000 && uids.len() == 2, "{uids:?}");
    two.logged("UIDs and mod-sequences of all mailboxes jump");
}

/// Restores a dump, as docs/cluster.md has it for the same PostgreSQL.
fn restore(cluster: &Cluster, dump: &str) {
    cluster.psql("CREATE DATABASE restored");
    let mut psql = cluster.program("psql");
    psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-U", "posta", "restored"]);
    let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    psql.stdin.take().unwrap().write_all(dump.as_bytes()).unwrap();
    assert!(psql.wait().unwrap().success());
    let document = fs::read_to_string(format!("{}/../docs/cluster.md", env!("CARGO_MANIFEST_DIR")));
    let (_, command) = document.as_ref().unwrap().split_once("psql posta -c \"").unwrap();
    let (statement, _) = command.split_once('"').unwrap();
    printed(cluster.program("psql").args(["-U", "posta", "restored", "-c", statement]));
}

fn printed(command: &mut Command) -> String {
    stdout(&command.output().unwrap())
}
