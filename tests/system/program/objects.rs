//! A server on PostgreSQL whose large messages are in an object store.

#[path = "../../../crates/store-postgres/tests/postgres/seaweed.rs"]
mod seaweed;

use posta_tests::{Place, pop3, posta, postgres::Cluster, send, skipped, smtp, stdout};
use seaweed::{KEY, Seaweed};
use std::{fs, thread, time::Duration};

/// A database, an object store, and a place whose server uses both.
fn place() -> Option<(Cluster, Seaweed, Place)> {
    let Some(cluster) = Cluster::start(&["fsync=off"]) else {
        skipped("a server with an object store", "PostgreSQL is not installed");
        return None;
    };
    let objects = Seaweed::start()?;
    let place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    let secret = place.directory.path().join("object-key");
    fs::write(&secret, format!("{}\n", KEY.1)).unwrap();
    place.configure(&format!(
        "[store]\nengine = \"postgres\"\nurl = \"{}\"\n[store.objects]\nendpoint = \"http://{}\"\n\
         bucket = \"{}\"\nkey-id = \"{}\"\nsecret-file = \"{}\"\n",
        cluster.url(),
        objects.address(),
        objects.new_bucket(),
        KEY.0,
        secret.display()
    ));
    Some((cluster, objects, place))
}

fn large(mark: &str) -> String {
    let line = "a line of a large message, which has many of them\r\n";
    format!("Subject: {mark}\r\n\r\n{}", line.repeat(700_000 / line.len()))
}

#[test]
fn large_mail_waits_while_the_object_store_is_away() {
    let Some((cluster, mut objects, mut place)) = place() else { return };
    place.add_account("ana@x.test");
    place.start();
    let mut sender = smtp(place.address("smtp"));
    let reply = send(&mut sender, "ana@x.test", &large("one"));
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(cluster.psql("SELECT count(*) FROM posta.piece WHERE key IS NOT NULL"), "3");
    let mut maildrop = pop3(place.address("pop3"), "ana@x.test");
    let whole = maildrop.listing("RETR 1");
    assert!(whole.len() > 13_000 && whole.contains(&"Subject: one".to_owned()), "{}", whole.len());

    objects.kill();
    let reply = send(&mut sender, "ana@x.test", &large("two"));
    assert!(reply.starts_with("451 "), "{reply}");
    let reply = send(&mut sender, "ana@x.test", "Subject: small\r\n\r\nx\r\n");
    assert!(reply.starts_with("250 "), "{reply}");
    let refused = maildrop.say("RETR 1");
    assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{refused}");
    assert!(maildrop.say("NOOP").starts_with("+OK"), "the session goes on");
    let status = place.posta(&["status"], "");
    let status = [status.stdout, status.stderr].concat();
    let status = String::from_utf8(status).unwrap();
    assert!(status.contains("large messages wait, and cannot be read"), "{status}");
    let ready = stdout(&place.posta(&["status", "--ready"], ""));
    assert_eq!(ready, "ready\n", "small mail comes and goes");

    objects.restart();
    let is_back = (0..300).any(|_| {
        thread::sleep(Duration::from_millis(100));
        send(&mut sender, "ana@x.test", &large("three")).starts_with("250 ")
    });
    assert!(is_back, "{:?}", place.log());
    assert!(maildrop.listing("RETR 1") == whole);
    let status = stdout(&place.posta(&["status"], ""));
    assert!(!status.contains("large messages wait"), "{status}");
    assert_eq!(place.stop(), Some(0));
}

#[test]
fn a_wrong_secret_is_told_at_the_start() {
    let Some((_cluster, _objects, place)) = place() else { return };
    fs::write(place.directory.path().join("object-key"), "another").unwrap();
    let config = place.config();
    let ran = posta(&["serve", "--config", config.to_str().unwrap()], "");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(!ran.status.success(), "{said}");
    assert!(said.contains("[object-store]") && said.contains("secret-file"), "{said}");
}
