//! The hourly limits on sending.

use super::{
    refusals::{header, proxied},
    *,
};
use crate::store::store;
use posta_mail::ReversePath;
use posta_store::{Item, Store};

/// Returns the replies to RCPT.
fn replies(said: &str) -> Vec<&str> {
    let is_reply = |line: &&str| line.starts_with("250 2.1.5") || line.starts_with("45");
    said.lines().filter(is_reply).map(|line| &line[..9]).collect()
}

async fn items(store: &dyn Store) -> Vec<Item> {
    store.items(None, 1_000).await.unwrap()
}

/// A recipient of forwarded mail knows a local address that leads to its sender. The address accepts
/// reports; if it accepted more, it would relay to that sender.
#[tokio::test(start_paused = true)]
async fn an_address_made_for_a_sender_is_no_relay() {
    let store = store();
    let system = proxied(store.clone()).await;
    let alias = Request::AliasAdd { name: "all@x.test".into(), targets: vec!["bob@y.test".into()] };
    system.admin.execute(alias).await.unwrap();
    let send = async |network: usize, from: &str, to: &str| {
        let text = format!(
            "{}EHLO c.test\r\nMAIL FROM:<{from}>\r\nRCPT TO:{to}\r\nQUIT\r\n",
            header(network)
        );
        system.say(25, &text.replace("QUIT", "DATA\r\nA: b\r\n\r\nc\r\n.\r\nQUIT")).await
    };
    send(0, "s@null.test", "<all@x.test>").await;
    let ours = items(&*store).await[0].envelope.reverse_path.to_string();
    assert!(ours.starts_with("<SRS0="), "{ours}");
    for number in 0..20 {
        let said = send(number, "spam@z.test", &ours).await;
        let expected = if number < 5 { "250 2.1.5" } else { "450 4.7.1" };
        assert_eq!(replies(&said), [expected], "{number}: {said}");
    }
    for number in 0..70 {
        let said = send(number, "", &ours).await;
        let expected = if number < 60 { "250 2.1.5" } else { "450 4.7.1" };
        assert_eq!(replies(&said), [expected], "{number}: {said}");
    }
    system.server.stop().await;
}

/// A stolen password can send to a limited number of recipients, in however few messages.
#[tokio::test]
async fn submissions_are_counted_by_recipients() {
    let system = system_with(|settings| settings.submissions = 5).await;
    let login = "EHLO c.test\r\nAUTH PLAIN AGFuYUB4LnRlc3QAcGFyb2xh\r\n";
    let to = "RCPT TO:<bob@x.test>\r\n".repeat(7);
    let message = "DATA\r\nFrom: ana@x.test\r\n\r\nb\r\n.\r\n";
    let said = system
        .say(
            587,
            &format!("{login}MAIL FROM:<ana@x.test>\r\n{to}{message}MAIL FROM:<>\r\nQUIT\r\n"),
        )
        .await;
    assert_eq!(replies(&said)[..5], ["250 2.1.5"; 5], "{said}");
    assert_eq!(replies(&said)[5..], ["450 4.7.1"; 3], "two recipients and a MAIL: {said}");
    assert!(said.contains("limits.submissions") && said.contains("kept as"), "{said}");
    let near = "127.0.0.0/8".parse().unwrap();
    let forwarding = system_with(|settings| {
        (settings.forwarders, settings.submissions) = (vec![near], 5);
    })
    .await;
    let login = "XCLIENT LOGIN=ana@x.test\r\nEHLO c.test\r\n";
    let text = format!("{login}MAIL FROM:<>\r\n{to}QUIT\r\n");
    let said = forwarding.say(25, &text).await;
    assert_eq!(replies(&said)[4..6], ["250 2.1.5", "450 4.7.1"], "{said}");
    forwarding.server.stop().await;
    let other = "EHLO c.test\r\nAUTH PLAIN AGJvYkB4LnRlc3QAcGFyb2xh\r\n";
    let said = system
        .say(587, &format!("{other}MAIL FROM:<bob@x.test>\r\nRCPT TO:<ana@x.test>\r\nQUIT\r\n"))
        .await;
    assert_eq!(replies(&said), ["250 2.1.5"], "{said}");
    system.server.stop().await;
}

/// Each success report goes to the address that the client gave, whose owner may never have written.
#[tokio::test(start_paused = true)]
async fn strangers_hear_of_success_within_a_rate() {
    let store = store();
    let system = proxied(store.clone()).await;
    let alias = Request::AliasAdd { name: "all@x.test".into(), targets: vec!["bob@y.test".into()] };
    system.admin.execute(alias).await.unwrap();
    let one = "MAIL FROM:<victim@null.test>\r\nRCPT TO:<ana@x.test> NOTIFY=SUCCESS,FAILURE\r\n\
               RCPT TO:<all@x.test> NOTIFY=SUCCESS,FAILURE\r\nDATA\r\nA: b\r\n\r\nc\r\n.\r\n";
    let said =
        system.say(25, &format!("{}EHLO c.test\r\n{}QUIT\r\n", header(0), one.repeat(30))).await;
    assert_eq!(said.matches("kept as").count(), 30, "{said}");
    let (reports, forwarded): (Vec<_>, Vec<_>) = items(&*store)
        .await
        .into_iter()
        .partition(|item| item.envelope.reverse_path == ReversePath::Null);
    assert_eq!((reports.len(), forwarded.len()), (10, 30));
    let asks = |item: &&Item| item.recipients[0].notify.success;
    assert_eq!(forwarded.iter().filter(asks).count(), 10, "nor is another asked for a report");
    assert!(forwarded.iter().all(|item| item.recipients[0].notify.failure));
    system.server.stop().await;
}

/// A missing member of an alias does not cause a report to the reverse-path of each message from a
/// stranger.
#[tokio::test]
async fn strangers_hear_of_lost_copies_within_a_rate() {
    let store = store();
    let system = proxied(store.clone()).await;
    let targets = vec!["ana@x.test".into(), "bob@x.test".into()];
    system.admin.execute(Request::AliasAdd { name: "all@x.test".into(), targets }).await.unwrap();
    let remove = Request::AccountRemove { address: "bob@x.test".into() };
    system.admin.execute(remove).await.unwrap();
    let one =
        "MAIL FROM:<victim@null.test>\r\nRCPT TO:<all@x.test>\r\nDATA\r\nA: b\r\n\r\nc\r\n.\r\n";
    let said =
        system.say(25, &format!("{}EHLO c.test\r\n{}QUIT\r\n", header(0), one.repeat(12))).await;
    assert_eq!(said.matches("kept as").count(), 12, "{said}");
    assert_eq!(items(&*store).await.len(), 10, "reports");
    system.server.stop().await;
}
