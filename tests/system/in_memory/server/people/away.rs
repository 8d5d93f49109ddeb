//! Notes to senders while somebody is away (RFC 3834).

use super::*;
use posta_server::admin::{ArrangementState, AwayRequest, Selection};

const NOW: i64 = 1_074_188_330;

const DAY: i64 = 24 * 60 * 60;

fn at(days: i64) -> Timestamp {
    Timestamp::from_second(NOW + days * DAY).unwrap()
}

pub(super) async fn started() -> (System, Arc<SimulatedClock>) {
    let clock = Arc::new(SimulatedClock::new(at(0), 7));
    let change = |settings: &mut Settings| settings.sessions_per_client = 0;
    (system_on(store(), clock.clone(), change).await, clock)
}

impl System {
    pub(super) async fn set_away(&self, address: &str, from: Option<i64>, until: Option<i64>) {
        let (from, until) = (from.map(at), until.map(at));
        let text = "I am back next week.\n\u{218}tefan helps you.\n".to_owned();
        let request = AwayRequest::Set { from, until, subject: None, text };
        self.personal(address, PersonalRequest::Away(request)).await.unwrap();
    }

    /// Sends a message to these recipients, with these fields.
    pub(super) async fn post(&self, from: &str, to: &[&str], fields: &str) {
        let named: String = to.iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
        let text = format!(
            "EHLO c.test\r\nMAIL FROM:<{from}>\r\n{named}DATA\r\n{fields}\r\nbody\r\n.\r\nQUIT\r\n"
        );
        let said = self.say(25, &text).await;
        assert!(said.contains("kept as"), "{said}");
    }

    /// Returns the last message of an account, and the number of its messages.
    pub(super) async fn last(&self, name: &str) -> (usize, String) {
        let login = format!("USER {name}\r\nPASS parola\r\n");
        let said = self.say(110, &format!("{login}STAT\r\nQUIT\r\n")).await;
        let count = said.lines().nth(3).unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let read = self.say(110, &format!("{login}RETR {count}\r\nQUIT\r\n")).await;
        (count, read)
    }

    /// Returns the recipients in the queue, by address.
    pub(super) async fn queued(&self) -> Vec<String> {
        let list = Request::QueueList { selection: Selection::default(), after: None };
        match self.admin.execute(list).await.unwrap() {
            Response::Queue { lines, .. } => {
                let recipients = lines.into_iter().flat_map(|line| line.recipients);
                let mut queued: Vec<_> = recipients.map(|recipient| recipient.address).collect();
                queued.sort();
                queued
            }
            other => panic!("{other:?}"),
        }
    }
}

const HELLO: &str = "From: bob@x.test\r\nTo: Ana <ana@x.test>\r\nSubject: hello\r\nMessage-ID: <2@x.test>\r\n\
                     References: <1@x.test>\r\n";

#[tokio::test]
async fn a_sender_gets_the_note_once_a_week() {
    let (system, clock) = started().await;
    system.set_away("ana@x.test", None, None).await;
    for days in [0, 0, 6] {
        clock.set(at(days));
        system.post("bob@x.test", &["ana@x.test"], HELLO).await;
        let (count, note) = system.last("bob").await;
        assert_eq!(count, 1, "{note}");
        for part in [
            "Return-Path: <>\r\n",
            "Delivered-To: bob@x.test\r\n",
            "From: <ana@x.test>\r\n",
            "To: <bob@x.test>\r\n",
            "Subject: Auto: hello\r\n",
            "Auto-Submitted: auto-replied\r\n",
            "In-Reply-To: <2@x.test>\r\n",
            "References: <1@x.test> <2@x.test>\r\n",
            "\r\n\r\nI am back next week.\r\n=C8=98tefan helps you.\r\n",
        ] {
            assert!(note.contains(part), "{part}: {note}");
        }
    }
    assert_eq!(system.last("ana").await.0, 3);
    clock.set(at(7));
    system.post("bob@x.test", &["ana@x.test"], HELLO).await;
    assert_eq!(system.last("bob").await.0, 2, "a week later");
    // A new note is news.
    clock.set(at(8));
    system.set_away("ana@x.test", None, None).await;
    system.post("bob@x.test", &["ana@x.test"], HELLO).await;
    assert_eq!(system.last("bob").await.0, 3);
    let off = PersonalRequest::Away(AwayRequest::Off);
    system.personal("ana@x.test", off).await.unwrap();
    clock.set(at(30));
    system.post("bob@x.test", &["ana@x.test"], HELLO).await;
    assert_eq!(system.last("bob").await.0, 3, "ana is back");
    let trace = Request::Trace { named: "ana@x.test".to_owned(), within: None };
    let Response::Events(events) = system.admin.execute(trace).await.unwrap() else { panic!() };
    let is_note = |event: &&posta_store::Event| {
        matches!(&event.what, What::Reported { to, action, .. }
            if to.as_str() == "bob@x.test" && action == "away")
    };
    assert_eq!(events.iter().filter(is_note).count(), 3, "the history tells of each");
    system.server.stop().await;
}

#[tokio::test]
async fn lists_programs_and_strangers_to_the_address_get_none() {
    let (system, _) = started().await;
    system.set_away("ana@x.test", None, None).await;
    let to_ana = "From: s@y.test\r\nTo: ana@x.test\r\nSubject: s\r\n";
    for field in [
        "Auto-Submitted: auto-replied",
        "List-Id: <l.y.test>",
        "Precedence: bulk",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=x",
    ] {
        system.post("s@y.test", &["ana@x.test"], &format!("{to_ana}{field}\r\n")).await;
    }
    for sender in ["", "owner-l@y.test", "l-request@y.test", "noreply@y.test", "bounces+1@y.test"] {
        system.post(sender, &["ana@x.test"], to_ana).await;
    }
    for fields in ["Subject: s\r\n", "To: all@y.test\r\nBcc: ana@x.test\r\nSubject: s\r\n"] {
        system.post("s@y.test", &["ana@x.test"], fields).await;
    }
    system.post("ana@x.test", &["ana@x.test"], "From: ana@x.test\r\nTo: ana@x.test\r\n").await;
    assert_eq!(system.queued().await, [""; 0]);
    assert_eq!(system.last("ana").await.0, 12, "each is delivered, and nothing else");
    system.post("s@y.test", &["ANA+shop@x.test"], "Cc: x@y.test,\r\n <Ana+shop@X.test>\r\n").await;
    assert_eq!(system.queued().await, ["s@y.test"]);
    system.server.stop().await;
}

#[tokio::test]
async fn a_note_has_its_days() {
    let (system, clock) = started().await;
    system.set_away("ana@x.test", Some(2), Some(4)).await;
    for (days, expected) in [(1, 0), (2, 1), (3, 1), (4, 1)] {
        clock.set(at(days));
        let sender = format!("s{days}@y.test");
        system.post(&sender, &["ana@x.test"], "To: ana@x.test\r\n").await;
        let notes = system.queued().await.iter().filter(|to| **to == sender).count();
        assert_eq!(notes, usize::from(days == 2 || days == 3), "{days} {expected}");
    }
    let show = PersonalRequest::Away(AwayRequest::Show);
    let Response::Arrangement(ArrangementState { is_away, away, .. }) =
        system.personal("ana@x.test", show).await.unwrap()
    else {
        panic!("no state")
    };
    assert!(!is_away && away.unwrap().until == Some(at(4)));
    let text = "x".to_owned();
    for (from, until, text, words) in [
        (None, Some(at(3)), text.clone(), "is over"),
        (Some(at(9)), Some(at(8)), text, "the last day is before the first"),
        (None, None, " \n".to_owned(), "1 to 10000 octets"),
        (None, None, "a\u{1b}[2J".to_owned(), "no control characters"),
    ] {
        let request = AwayRequest::Set { from, until, subject: None, text };
        let refused = system.personal("ana@x.test", PersonalRequest::Away(request)).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
    let nobody = system.personal("anna@x.test", PersonalRequest::Away(AwayRequest::Show)).await;
    assert!(nobody.unwrap_err().to_string().contains("did you mean ana@x.test?"));
    system.server.stop().await;
}

/// What is written to all of a team is answered for the team, not for each who is away.
#[tokio::test]
async fn an_alias_has_a_note_of_its_own() {
    let (system, _) = started().await;
    for (name, targets) in
        [("team@x.test", &["ana@x.test", "bob@x.test"][..]), ("ana.pop@x.test", &["ana@x.test"])]
    {
        let (name, targets) = (name.to_owned(), targets.iter().map(ToString::to_string).collect());
        system.admin.execute(Request::AliasSet { name, targets }).await.unwrap();
    }
    system.set_away("ana@x.test", None, None).await;
    system.post("s1@y.test", &["team@x.test"], "To: team@x.test\r\n").await;
    assert_eq!(system.queued().await, [""; 0]);
    system.post("s2@y.test", &["ana.pop@x.test"], "To: ana.pop@x.test\r\n").await;
    assert_eq!(system.queued().await, ["s2@y.test"], "an address of ana's own");
    system.set_away("team@x.test", None, None).await;
    system.post("s3@y.test", &["team@x.test", "ana@x.test"], "To: team@x.test\r\n").await;
    assert_eq!(
        system.queued().await,
        ["s2@y.test", "s3@y.test"],
        "one note for one message to both"
    );
    // The alias goes, and its note with it.
    let remove = |name: &str| Request::AliasRemove { name: name.to_owned(), targets: Vec::new() };
    system.admin.execute(remove("team@x.test")).await.unwrap();
    let show = PersonalRequest::Away(AwayRequest::Show);
    assert!(system.personal("team@x.test", show).await.is_err());
    system.server.stop().await;
}

/// What is refused for now is sent again, and must get its note then.
#[tokio::test]
async fn messages_at_the_same_moment_cause_one_note() {
    let (system, _) = started().await;
    system.set_away("ana@x.test", None, None).await;
    let post = || system.post("s@y.test", &["ana@x.test"], "To: ana@x.test\r\n");
    tokio::join!(post(), post(), post(), post());
    assert_eq!(system.queued().await, ["s@y.test"]);
    system.server.stop().await;
}
