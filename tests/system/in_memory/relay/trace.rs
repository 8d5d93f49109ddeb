//! The trace of a mailbox: the mail that reached it, through which address, and the mail that did not.

use super::*;
use posta_store::InMailbox;

async fn alias(two: &Two, name: &str, targets: &[&str]) {
    let targets = targets.iter().map(|&target| target.to_owned()).collect();
    two.ours.admin.execute(Request::AliasAdd { name: name.into(), targets }).await.unwrap();
}

/// Returns the mailboxes in each trace that contains some, and the addresses that led there.
async fn in_mailboxes(two: &Two, named: &str) -> Vec<String> {
    let told = |one: &InMailbox| {
        let names: Vec<_> = one.mailboxes().iter().map(ToString::to_string).collect();
        match one.through() {
            None => names.join(" "),
            Some(through) => format!("{} <- {through}", names.join(" ")),
        }
    };
    let events = two.trace(named).await;
    let told = events.iter().filter_map(|event| match &event.what {
        What::Accepted { mailboxes, .. } | What::Attempted { mailboxes, .. } => {
            Some(mailboxes.iter().map(told).collect::<Vec<_>>().join("; "))
        }
        _ => None,
    });
    told.filter(|told| !told.is_empty()).collect()
}

/// `posta trace ana@…` lists the mail that reached her mailbox, through any address that leads there.
#[tokio::test(start_paused = true)]
async fn what_reached_a_mailbox_is_told() {
    let two = two().await;
    let eva = "eva@x.test".to_owned();
    let account = Request::AccountAdd { address: eva, password: "parola".to_owned(), apop: false };
    two.ours.admin.execute(account).await.unwrap();
    alias(&two, "info@x.test", &["ana@x.test", "eva@x.test", "bob@y.test"]).await;
    alias(&two, "all@x.test", &["info@x.test"]).await;
    for to in [
        &["<Ana@x.test>"][..],
        &["<ana+shop@x.test>"],
        &["<info@x.test>"],
        &["<all@x.test>"],
        &["<eva@x.test>", "<info@x.test>"],
    ] {
        two.send("<s@y.test>", to).await;
        two.pass(Duration::from_secs(1));
    }
    let through = |name: &str| format!("ana@x.test eva@x.test <- {name}@x.test");
    let of_ana = [
        "ana@x.test".to_owned(),
        "ana@x.test <- ana+shop@x.test".to_owned(),
        through("info"),
        through("all"),
        "eva@x.test; ana@x.test <- info@x.test".to_owned(),
    ];
    assert_eq!(in_mailboxes(&two, "ana@x.test").await, of_ana);
    assert_eq!(in_mailboxes(&two, "EVA@x.test").await, of_ana[2..]);
    // Mail that an alias forwards elsewhere is listed too.
    let elsewhere = two.trace("bob@y.test").await;
    assert!(elsewhere.iter().any(|event| matches!(event.what, What::Attempted { .. })));
}

/// Mail that did not reach a mailbox for lack of room is listed under its owner's name too, whichever
/// address was used.
#[tokio::test(start_paused = true)]
async fn what_did_not_reach_a_mailbox_is_told() {
    let two = two().await;
    alias(&two, "info@x.test", &["ana@x.test"]).await;
    let quota = Request::AccountQuota { address: "ana@x.test".into(), quota: Some(1) };
    two.ours.admin.execute(quota).await.unwrap();
    two.send("<s@y.test>", &["<ana@x.test>"]).await;
    for to in ["info", "ana"] {
        let said =
            format!("EHLO c.test\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<{to}@x.test>\r\nQUIT\r\n");
        let said = two.say("127.0.0.1:587", &said).await;
        assert!(said.contains("452 4.2.2") && !said.contains("ana@"), "{said}");
    }
    let told = two.trace("ana@x.test").await;
    let reasons: Vec<_> = told
        .iter()
        .filter_map(|event| match &event.what {
            What::Refused { refused, .. } => {
                Some((refused[0].about.as_str(), refused[0].why.as_deref()))
            }
            _ => None,
        })
        .collect();
    let why = "the mailbox of ana@x.test has no room for it";
    assert!(reasons.contains(&("RCPT TO:<info@x.test>", Some(why))), "{reasons:?}");
    assert!(reasons.contains(&("RCPT TO:<ana@x.test>", None)), "{reasons:?}");
}

/// A held message is in the mailbox once it is released, and a report has a trace of its own.
#[tokio::test(start_paused = true)]
async fn what_comes_later_is_told_when_it_comes() {
    let two = two().await;
    alias(&two, "info@x.test", &["ana@x.test"]).await;
    two.send("<s@y.test> HOLDFOR=600", &["<info@x.test>"]).await;
    assert_eq!(in_mailboxes(&two, "info@x.test").await, [""; 0]);
    two.pass(Duration::from_secs(601));
    two.tried(None).await;
    assert_eq!(in_mailboxes(&two, "ana@x.test").await, ["ana@x.test <- info@x.test"]);
    two.send("<ana@x.test>", &["<a@null.test>"]).await;
    two.inbox("127.0.0.1", "ana", 2).await;
    let told = two.trace("ana@x.test").await;
    let report = told.iter().find_map(|event| match &event.what {
        What::Reported { report, .. } => Some(report.to_string()),
        _ => None,
    });
    assert_eq!(in_mailboxes(&two, &report.unwrap()).await, ["ana@x.test"]);
}

/// `posta trace example.org` lists refusals of senders there, and mail that goes there.
#[tokio::test(start_paused = true)]
async fn a_domain_is_traced() {
    let two = two().await;
    for (hello, sender, to) in [
        ("mail.z.test", "<s@other.test>", "<nobody@x.test>"),
        ("c.test", "<s@z.test>", "<nobody@x.test>"),
        ("az.test", "<s@az.test>", "<nobody@x.test>"),
        ("c.test", "<s@other.test>", "<someone@z.test>"),
    ] {
        two.say(
            "127.0.0.1:587",
            &format!("EHLO {hello}\r\nMAIL FROM:{sender}\r\nRCPT TO:{to}\r\nQUIT\r\n"),
        )
        .await;
    }
    let refused = |events: Vec<Event>| {
        events.iter().filter(|event| matches!(event.what, What::Refused { .. })).count()
    };
    let of_z = two.trace("Z.test").await;
    assert_eq!(refused(of_z.clone()), of_z.len());
    assert!((2..=3).contains(&of_z.len()), "{of_z:?}");
    assert_eq!(refused(two.trace("az.test").await), 1);
    assert_eq!(refused(two.trace("x.test").await), 3);
    two.send("<ana@x.test>", &["<a@null.test>"]).await;
    let away = two.trace("null.test").await;
    assert!(away.iter().any(|event| matches!(event.what, What::Accepted { .. })), "{away:?}");
}
