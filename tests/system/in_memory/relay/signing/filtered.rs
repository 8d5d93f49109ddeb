//! What a filter changes is signed as it goes, for those who may sign it.

use super::*;
use crate::server::filters::{MILTER, made, milter_session};
use posta_server::filter::{FilterKind, FilteredMail, OnFailure};
use std::pin::Pin;

/// Two servers that sign and ask a milter, which sends these packets at the end of each message. Boxed, since two servers
/// are large.
fn filtered(end: Vec<Vec<u8>>) -> Pin<Box<impl Future<Output = Signing>>> {
    Box::pin(filtered_by(end))
}

async fn filtered_by(end: Vec<Vec<u8>>) -> Signing {
    let filter = FilterSettings {
        kind: FilterKind::Milter,
        address: MILTER.to_owned(),
        mail: FilteredMail::All,
        time_limit: Duration::from_secs(10),
        on_failure: OnFailure::Tempfail,
    };
    let signing = signing_with(EIGHT, vec![filter]).await;
    let Two { net, ours, theirs, .. } = &signing.two;
    let mut listener = net.bind(&MILTER.parse().unwrap()).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(milter_session(stream, end.clone()));
        }
    });
    signing.ready(ours, "x.test").await;
    signing.ready(theirs, "y.test").await;
    signing
}

impl Signing {
    /// Brings a stranger's message in the name of bob, which an alias of his server leads elsewhere. Returns it as it
    /// arrives there.
    async fn forwarded(&self) -> String {
        let (name, targets) = ("all@y.test".to_owned(), vec!["r@next.test".to_owned()]);
        self.two.theirs.admin.execute(Request::AliasAdd { name, targets }).await.unwrap();
        let dialogue = "EHLO c.test\r\nMAIL FROM:<s@null.test>\r\nRCPT TO:<all@y.test>\r\nDATA\r\n\
            From: bob@y.test\r\nSubject: s\r\n\r\nbody\r\n.\r\nQUIT\r\n";
        let said = self.two.say("192.0.2.25:25", dialogue).await;
        assert!(said.contains("kept as"), "{said}");
        self.arrived().await
    }
}

/// A filter that changes a field comes after the signature, which would not hold.
#[tokio::test(start_paused = true)]
async fn what_a_filter_changes_is_signed_as_it_goes() {
    let signing = filtered(vec![
        made(b'h', b"X-Added\0yes\0"),
        made(b'm', b"\0\0\0\x01Subject\0[new] s\0"),
        made(b'c', b""),
    ])
    .await;
    let sent = signing.through("<ana@x.test>", PLAIN).await;
    assert!(sent.contains("Subject: [new] s\r\n") && sent.contains("X-Added: yes\r\n"), "{sent}");
    assert_eq!(signing.signed(&sent), BOTH);
    assert_eq!(sent.matches("DKIM-Signature").count(), 2, "{sent}");
    // A stranger's message loses its seal, and is not signed for the domain in its From field.
    let sent = signing.forwarded().await;
    assert!(sent.contains("Subject: [new] s\r\n") && !sent.contains("ARC-"), "{sent}");
    assert!(!sent.contains("DKIM-Signature"), "{sent}");
}

/// A filter may sign, too. Its field is neither taken out, nor a reason to sign a stranger's message.
#[tokio::test(start_paused = true)]
async fn a_filters_own_signature_is_never_taken_for_ours() {
    let field = "DKIM-Signature: v=1; d=filter.test; b=eA==\r\n";
    let seal = "ARC-Seal: i=1; d=filter.test; b=eA==\r\n";
    let added = |field: &str| {
        let (name, value) = field.trim_end().split_once(": ").unwrap();
        made(b'h', format!("{name}\0{value}\0").as_bytes())
    };
    let signing = filtered(vec![
        added(field),
        added(seal),
        made(b'm', b"\0\0\0\x01Subject\0[new] s\0"),
        made(b'c', b""),
    ])
    .await;
    let sent = signing.forwarded().await;
    assert!(sent.contains("Subject: [new] s\r\n"), "{sent}");
    assert!(sent.contains(field) && sent.contains(seal), "they stay: {sent}");
    assert_eq!(sent.matches("DKIM-Signature").count(), 1, "nobody signed it again: {sent}");
    let sent = signing.through("<ana@x.test>", PLAIN).await;
    assert!(sent.contains(field) && sent.contains(seal), "they stay: {sent}");
    assert_eq!(sent.matches("DKIM-Signature").count(), 3, "{sent}");
    let passed = signing.verify(&sent).into_iter().filter(|it| it.result == DkimResult::Pass);
    assert_eq!(passed.count(), 2, "{sent}");
}

/// Nobody gets a colleague's name signed by way of a filter.
#[tokio::test(start_paused = true)]
async fn an_author_that_a_filter_wrote_is_signed_only_if_the_account_may_use_it() {
    let signing =
        filtered(vec![made(b'm', b"\0\0\0\x01From\0info@x.test\0"), made(b'c', b"")]).await;
    let ours = &signing.two.ours;
    let alias = async |target: &str| {
        let (name, targets) = ("info@x.test".to_owned(), vec![target.to_owned()]);
        ours.admin.execute(Request::AliasSet { name, targets }).await.unwrap();
    };
    alias("bob@y.test").await;
    let mail = async || {
        let content = "From: ana@x.test\r\nSubject: s\r\n\r\nbody\r\n";
        let credentials = "AGFuYUB4LnRlc3QAcGFyb2xh";
        let dialogue = format!(
            "EHLO c.test\r\nAUTH PLAIN {credentials}\r\nMAIL FROM:<ana@x.test>\r\n\
             RCPT TO:<r@next.test>\r\nDATA\r\n{content}.\r\nQUIT\r\n"
        );
        let said = signing.two.say("127.0.0.1:587", &dialogue).await;
        assert!(said.contains("kept as"), "{said}");
        signing.arrived().await
    };
    let sent = mail().await;
    assert!(sent.contains("From: info@x.test\r\n") && !sent.contains("DKIM-Signature"), "{sent}");
    alias("ana@x.test").await;
    let sent = mail().await;
    assert_eq!(signing.signed(&sent), BOTH);
}
