//! Lists of senders: whom an account or a domain always wants, or never.

use super::*;
use posta_server::{
    admin::{SenderRequest, SenderScope},
    directory::senders::SenderStanding,
};

/// A message that a list of `evil.test` passed on, and changed: `a.test` wants it refused.
fn passed_on() -> String {
    signed(HELLO, &[signer("a.test", "e")]).replace("hello\r\n", "hello\r\n-- list\r\n")
}

impl System {
    /// Puts a sender into a list: allowed, or blocked if a minus sign stands before it.
    async fn list(&self, scope: SenderScope, sender: &str) {
        let (standing, sender) = match sender.strip_prefix('-') {
            Some(sender) => (SenderStanding::Blocked, sender.to_owned()),
            None => (SenderStanding::Allowed, sender.to_owned()),
        };
        let request = SenderRequest::Put { sender, standing };
        self.admin.execute(Request::Senders { scope, request }).await.unwrap();
    }

    /// Returns how many messages the inbox and the folder for junk of an account have.
    async fn counts(&self, account: &str) -> [u64; 2] {
        [self.count_of(account, "INBOX").await, self.count_of(account, "Junk").await]
    }
}

fn ana() -> SenderScope {
    SenderScope::Account("ana@x.test".to_owned())
}

fn x() -> SenderScope {
    SenderScope::Domain("x.test".to_owned())
}

#[tokio::test]
async fn an_allowed_sender_is_one_who_is_shown_to_be() {
    for (sender, reply, counts) in [
        ("evil.test", "250 2.0.0", [1, 0]),
        ("list@evil.test", "250 2.0.0", [1, 0]),
        ("192.0.2.0/24", "250 2.0.0", [1, 0]),
        // Everybody can write that name.
        ("sue@a.test", "550 5.7.1", [0, 0]),
        ("a.test", "550 5.7.1", [0, 0]),
        ("other@evil.test", "550 5.7.1", [0, 0]),
        (".evil.test", "550 5.7.1", [0, 0]),
        ("192.0.2.1", "550 5.7.1", [0, 0]),
    ] {
        for scope in [ana(), x()] {
            let system = checking().await;
            system.list(scope, sender).await;
            let said = system.bring(EVIL, "list@evil.test", &passed_on()).await;
            assert!(said.starts_with(reply), "{sender}: {said}");
            assert_eq!(system.counts("ana@x.test").await, counts, "{sender}");
            system.server.stop().await;
        }
    }
}

#[tokio::test]
async fn an_allowed_sender_is_told_of() {
    let system = checking().await;
    system.list(ana(), "evil.test").await;
    system.bring(EVIL, "list@evil.test", &passed_on()).await;
    let story = system.story("list@evil.test").await;
    let words = "taken, since evil.test is allowed for ana@x.test";
    let is_told = |event: &Event| matches!(&event.what, What::Checked { decision: Some(told), .. } if told == words);
    assert!(story.iter().any(is_told), "{story:?}");
    system.server.stop().await;
}

#[tokio::test]
async fn a_blocked_sender_is_refused() {
    for (sender, is_refused) in [
        ("-sue@a.test", true),
        ("-SUE@A.test", true),
        ("-a.test", true),
        ("-192.0.2.1", true),
        ("-bob@a.test", false),
        ("-.a.test", false),
        ("-192.0.2.2", false),
    ] {
        let system = checking().await;
        system.list(ana(), sender).await;
        let said = system.bring(A, "sue@a.test", HELLO).await;
        let refusal = "550 5.7.1 The recipient takes no mail from this sender";
        assert_eq!(said == refusal, is_refused, "{sender}: {said}");
        if is_refused {
            let story = system.story("sue@a.test").await;
            let [Event { what: What::Refused { refused, .. }, .. }] = &story[..] else {
                panic!("{story:?}")
            };
            let why = refused[0].why.as_deref();
            assert_eq!(why, Some(&*format!("{} is blocked", sender[1..].to_lowercase())));
        }
        system.server.stop().await;
    }
}

/// The account's own list comes before that of its domain, and the closest entry before others.
#[tokio::test]
async fn the_closest_wish_holds() {
    for (lists, is_taken) in [
        (&[(x(), "-a.test"), (ana(), "sue@a.test")][..], true),
        (&[(x(), "sue@a.test"), (ana(), "-a.test")], false),
        (&[(ana(), "sue@a.test"), (ana(), "-a.test")], true),
        (&[(ana(), "-sue@a.test"), (ana(), "a.test")], false),
        (&[(x(), "-a.test")], false),
    ] {
        let system = checking().await;
        for (scope, sender) in lists {
            system.list(scope.clone(), sender).await;
        }
        let said = system.bring(A, "sue@a.test", HELLO).await;
        assert_eq!(said.starts_with("250"), is_taken, "{lists:?}: {said}");
        system.server.stop().await;
    }
}

const TO_BOTH: &str = "RCPT TO:<ana@x.test>\r\nRCPT TO:<bob@x.test>\r\nDATA\r\n";

/// SMTP has one reply for all recipients, so nobody's copy may be refused for another's sake.
#[tokio::test]
async fn where_recipients_differ_in_smtp_it_is_junk_for_one() {
    for (client, sender, content, list, of_ana, of_bob) in [
        (A, "sue@a.test", HELLO.to_owned(), "-a.test", [0, 1], [1, 0]),
        (EVIL, "list@evil.test", passed_on(), "evil.test", [1, 0], [0, 1]),
        (EVIL, "list@evil.test", passed_on(), "192.0.2.66", [1, 0], [0, 1]),
    ] {
        let system = checking().await;
        system.list(ana(), list).await;
        let text = format!(
            "PROXY TCP4 {client} 127.0.0.1 1 2\r\nEHLO c\r\nMAIL FROM:<{sender}>\r\n\
             {TO_BOTH}{content}\r\n.\r\nQUIT\r\n"
        );
        let said = system.say(25, &text).await;
        assert!(said.contains("\r\n250 2.0.0 Ok: kept as "), "{list}: {said}");
        assert_eq!(system.counts("ana@x.test").await, of_ana, "{list}");
        assert_eq!(system.counts("bob@x.test").await, of_bob, "{list}");
        system.server.stop().await;
    }
}

/// RFC 2033 §4.2.
#[tokio::test]
async fn in_lmtp_each_recipient_is_told() {
    let system = checking().await;
    system.list(ana(), "-a.test").await;
    let balancer = "PROXY TCP4 192.0.2.9 127.0.0.1 1 2\r\n";
    let text =
        format!("{balancer}LHLO c\r\nMAIL FROM:<sue@a.test>\r\n{TO_BOTH}{HELLO}\r\n.\r\nQUIT\r\n");
    let said = system.say(24, &text).await;
    let replies: Vec<_> = said.lines().rev().skip(1).take(2).collect();
    assert!(replies[1].starts_with("550 5.7.1 The recipient takes"), "{said}");
    assert!(replies[0].starts_with("250 2.0.0 Ok: kept as "), "{said}");
    assert_eq!(system.counts("ana@x.test").await, [0, 0]);
    assert_eq!(system.counts("bob@x.test").await, [1, 0]);
    let story = system.story("sue@a.test").await;
    let told = story.iter().find_map(|event| match &event.what {
        What::Accepted { to, refused, .. } => Some((to.clone(), refused.clone())),
        _ => None,
    });
    let (to, refused) = told.unwrap();
    assert_eq!(to, ["bob@x.test".parse().unwrap()]);
    assert_eq!(refused[0].about, "the message for <ana@x.test>");
    // Where all refuse, so it is.
    system.list(x(), "-a.test").await;
    let said = system.say(24, &text).await;
    assert_eq!(said.matches("550 5.7.1 The recipient takes").count(), 2, "{said}");
    system.server.stop().await;
}

/// A list holds for users of this server too.
#[tokio::test]
async fn a_user_may_be_blocked() {
    let system = checking().await;
    system.list(ana(), "-bob@x.test").await;
    let login = "AUTH PLAIN AGJvYkB4LnRlc3QAcGFyb2xh\r\n";
    let text = format!(
        "PROXY TCP4 192.0.2.9 127.0.0.1 1 2\r\nEHLO c\r\n{login}MAIL FROM:<bob@x.test>\r\n\
         RCPT TO:<ana@x.test>\r\nDATA\r\nFrom: bob@x.test\r\n\r\nb\r\n.\r\nQUIT\r\n"
    );
    let said = system.say(587, &text).await;
    assert!(said.contains("\r\n550 5.7.1 The recipient takes"), "{said}");
    system.server.stop().await;
}

#[tokio::test]
async fn lists_are_changed_by_the_operator() {
    let system = checking().await;
    let execute =
        async |scope, request| system.admin.execute(Request::Senders { scope, request }).await;
    system.list(ana(), "-a.test").await;
    system.list(ana(), "a.test").await;
    system.list(ana(), "b.test").await;
    let Response::Senders(entries) = execute(ana(), SenderRequest::List).await.unwrap() else {
        panic!("no list")
    };
    let listed: Vec<_> =
        entries.iter().map(|it| format!("{} {}", it.standing.as_str(), it.sender)).collect();
    assert_eq!(listed, ["allowed a.test", "allowed b.test"]);
    let remove = |sender: &str| SenderRequest::Remove { sender: sender.to_owned() };
    execute(ana(), remove("a.test")).await.unwrap();
    for (scope, request, words) in [
        (ana(), remove("a.test"), "a.test is not in the list; `posta sender list` shows it"),
        (ana(), remove("a b"), "a b is no sender: write an address"),
        (
            SenderScope::Account("anna@x.test".into()),
            SenderRequest::List,
            "there is no account anna@x.test: did you mean ana@x.test",
        ),
        (SenderScope::Domain("y.test".into()), SenderRequest::List, "y.test is no local domain"),
    ] {
        let error = execute(scope, request).await.unwrap_err().to_string();
        assert!(error.starts_with(words), "{error}");
    }
    system.server.stop().await;
}
