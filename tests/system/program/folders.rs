//! An operator examines an account's folders and tidies them up, while a POP3 client sees the inbox.

use posta_tests::{Place, pop3, send, smtp, stdout};

fn place() -> Place {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    place.start();
    for number in 1..=3 {
        let content = format!(
            "From: Bob <bob@y.test>\r\nSubject: =?UTF-8?Q?Vacan=C8=9B=C4=83?= {number}\r\n\r\nbody {number}\r\n"
        );
        let replied = send(&mut smtp(place.address("smtp")), "ana@x.test", &content);
        assert!(replied.starts_with("250"), "{replied}");
    }
    place
}

/// Runs a command, which must succeed. Returns its output.
fn said(place: &Place, line: &str) -> String {
    let arguments: Vec<_> = line.split(' ').collect();
    stdout(&place.posta(&arguments, ""))
}

fn refused(place: &Place, line: &str) -> String {
    let arguments: Vec<_> = line.split(' ').collect();
    let output = place.posta(&arguments, "");
    assert!(!output.status.success(), "{line} should have failed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(place: &Place, line: &str) -> serde_json::Value {
    serde_json::from_str(&said(place, line)).unwrap()
}

fn uids(list: &serde_json::Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|line| line["uid"].as_u64().unwrap()).collect()
}

#[test]
fn mail_is_listed_shown_and_removed() {
    let place = place();
    let listed = said(&place, "mail list ana@x.test");
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.contains("bob@y.test  Vacanță 1"), "{listed}");
    let list = json(&place, "mail list ana@x.test --json");
    assert_eq!(uids(&list), [1, 2, 3]);
    let unique_ids: Vec<_> = pop3(place.address("pop3"), "ana@x.test").listing("UIDL");
    for (line, told) in list.as_array().unwrap().iter().zip(&unique_ids) {
        assert!(told.ends_with(line["unique-id"].as_str().unwrap()), "{told}: {line}");
    }
    let shown = said(&place, "mail show ana@x.test 2");
    let retrieved = pop3(place.address("pop3"), "ana@x.test").listing("RETR 2").join("\r\n");
    assert_eq!(shown.trim_end(), retrieved.trim_end());
    assert!(shown.contains("\r\n\r\nbody 2\r\n"), "{shown:?}");
    assert!(said(&place, "mail delete ana@x.test 2").starts_with("1 message removed"));
    assert_eq!(uids(&json(&place, "mail list ana@x.test --json")), [1, 3]);
    assert!(refused(&place, "mail delete ana@x.test 2").contains("nothing has changed"));
    assert!(refused(&place, "mail show nobody@x.test 1").contains("there is no account"));
    said(&place, "account undelete ana@x.test");
    // A restored message has a new UID (RFC 9051 §2.3.1.1), and its old unique-id.
    let back = json(&place, "mail list ana@x.test --json");
    assert_eq!(uids(&back), [1, 3, 4]);
    assert_eq!(back[2]["unique-id"], list[1]["unique-id"]);
}

#[test]
fn mail_is_moved_and_flagged() {
    let place = place();
    let folders = said(&place, "folder list ana@x.test");
    assert!(folders.contains("INBOX") && folders.contains("Junk"), "{folders}");
    said(&place, "folder add ana@x.test Archive --role archive");
    assert_eq!(said(&place, "mail move ana@x.test Archive 1 2"), "2 messages moved to Archive\n");
    assert_eq!(uids(&json(&place, "mail list ana@x.test --json")), [3]);
    assert_eq!(pop3(place.address("pop3"), "ana@x.test").listing("LIST").len(), 1);
    let archived = json(&place, "mail list ana@x.test --folder Archive --json");
    assert_eq!(uids(&archived), [1, 2]);
    said(&place, "mail flag ana@x.test --folder Archive 1 --set seen --set $forwarded");
    let archived = json(&place, "mail list ana@x.test --folder Archive --json");
    assert_eq!(archived[0]["flags"], serde_json::json!(["seen", "$forwarded"]));
    let listed = json(&place, "folder list ana@x.test --json");
    let archive = listed.as_array().unwrap().iter().find(|line| line["name"] == "Archive").unwrap();
    assert_eq!((&archive["messages"], &archive["unseen"]), (&2.into(), &1.into()));
    assert_eq!(archive["role"], "archive");
    assert!(refused(&place, "folder remove ana@x.test Archive").contains("Archive"));
    assert!(refused(&place, "folder remove ana@x.test INBOX").contains("INBOX"));
    assert!(refused(&place, "mail list ana@x.test --folder Nowhere").contains("posta folder list"));
    said(&place, "mail move ana@x.test --folder Archive INBOX 1 2");
    said(&place, "folder rename ana@x.test Archive Old");
    said(&place, "folder remove ana@x.test Old");
    assert_eq!(pop3(place.address("pop3"), "ana@x.test").listing("LIST").len(), 3);
}

#[test]
fn junk_is_shown_over_pop3_to_those_who_want_it() {
    let place = place();
    said(&place, "mail move ana@x.test Junk 2");
    let shown = || pop3(place.address("pop3"), "ana@x.test").listing("UIDL");
    assert_eq!(shown().len(), 2);
    let list = || json(&place, "account list --json");
    assert_eq!(list()[0]["junk"], "folder");
    let done = said(&place, "account junk ana@x.test mark");
    assert!(done.contains("[Junk]") && done.contains("next login"), "{done}");
    assert_eq!(list()[0]["junk"], "mark");
    assert!(said(&place, "account list").contains("active, junk marked"));
    assert_eq!(shown().len(), 3);
    let mut session = pop3(place.address("pop3"), "ana@x.test");
    let message = session.listing("RETR 2");
    let subject = "Subject: [Junk] =?UTF-8?Q?Vacan=C8=9B=C4=83?= 2";
    assert!(message.iter().any(|line| line == subject), "{message:?}");
    // What is kept has no mark.
    let kept = said(&place, "mail show ana@x.test --folder Junk 1");
    assert!(kept.contains("Subject: =?UTF-8?Q?Vacan"), "{kept}");
    session.say("DELE 2");
    assert!(session.say("QUIT").contains("1 message removed"));
    assert!(
        json(&place, "mail list ana@x.test --folder Junk --json").as_array().unwrap().is_empty()
    );
    assert!(said(&place, "account junk ana@x.test folder").contains("does not show"));
    assert_eq!(shown().len(), 2);
    assert!(refused(&place, "account junk nobody@x.test mark").contains("there is no account"));
}
