//! What becomes of mail by what its origin turns out to be.

use super::*;

fn content(from: &str) -> String {
    format!("From: {from}\r\nTo: ana@x.test\r\n\r\nbody\r\n")
}

#[tokio::test]
async fn a_forgery_is_refused_with_the_reason() {
    let system = checking().await;
    let forged = signed(&content("sue@a.test"), &[signer("evil.test", "e")]);
    let said = system.bring(EVIL, "eve@evil.test", &forged).await;
    assert_eq!(
        said,
        "550 5.7.1 a.test wants mail refused that is not shown to be from a.test (DMARC p=reject). \
         SPF: pass for evil.test, which is not aligned. DKIM: pass for evil.test, which is not aligned"
    );
    let story = system.story("eve@evil.test").await;
    let [Event { what: What::Refused { refused, .. }, .. }] = &story[..] else {
        panic!("{story:?}")
    };
    assert_eq!(
        refused[0].why.as_deref(),
        Some(
            "iprev permerror, spf pass for eve@evil.test, dkim pass for evil.test, dmarc fail for a.test"
        )
    );
    assert_eq!((system.count("INBOX").await, system.count("Junk").await), (0, 0));
    system.server.stop().await;
}

#[tokio::test]
async fn each_policy_is_obeyed() {
    for (client, sender, from, reply, folder) in [
        (A, "sue@a.test", "sue@a.test", "250 2.0.0", "INBOX"),
        (EVIL, "sue@a.test", "sue@a.test", "550 5.7.1", ""),
        // A subdomain is under the policy of its organization.
        (EVIL, "eve@evil.test", "sue@www.a.test", "550 5.7.1", ""),
        (EVIL, "sue@q.test", "sue@q.test", "250 2.0.0", "Junk"),
        (EVIL, "sue@n.test", "sue@n.test", "250 2.0.0", "INBOX"),
        // SPF alone never refuses ...
        (EVIL, "sue@a.test", "eve@evil.test", "250 2.0.0", "INBOX"),
        // ... but for a domain that sends no mail.
        (EVIL, "sue@parked.test", "eve@evil.test", "550 5.7.1", ""),
        (EVIL, "", "eve@evil.test", "250 2.0.0", "INBOX"),
        (EVIL, "eve@evil.test", "eve@nobody.test", "250 2.0.0", "INBOX"),
    ] {
        let system = checking().await;
        let said = system.bring(client, sender, &content(from)).await;
        assert!(said.starts_with(reply), "{client} {sender} {from}: {said}");
        for name in ["INBOX", "Junk"] {
            assert_eq!(
                system.count(name).await,
                u64::from(name == folder),
                "{sender} {from}: {name}"
            );
        }
        system.server.stop().await;
    }
}

#[tokio::test]
async fn the_history_says_why_a_message_is_junk() {
    let system = checking().await;
    system.bring(EVIL, "sue@q.test", &content("sue@q.test")).await;
    let story = system.story("sue@q.test").await;
    let decision = story.iter().find_map(|event| match &event.what {
        What::Checked { decision, .. } => decision.clone(),
        _ => None,
    });
    assert_eq!(
        decision.as_deref(),
        Some(
            "into the folder for junk: q.test wants that of mail that is not shown to be from q.test. \
             SPF: fail for q.test. DKIM: no signature"
        )
    );
    system.server.stop().await;
}

#[tokio::test]
async fn results_may_be_told_only() {
    let system = system_of(zone(), OriginPolicy { obey: false, ..obeying() }).await;
    for content in
        [content("sue@a.test"), content("sue@q.test"), "To: ana@x.test\r\n\r\nb".to_owned()]
    {
        let said = system.bring(EVIL, "sue@parked.test", &content).await;
        assert!(said.starts_with("250 2.0.0"), "{said}");
    }
    assert_eq!(system.count("INBOX").await, 3);
    let message = system.read(1).await;
    assert!(message.contains("dmarc=fail header.from=a.test policy.dmarc=reject"), "{message}");
    system.server.stop().await;
}

/// RFC 5322 §3.6, RFC 6854, RFC 9989 §11.5.
#[tokio::test]
async fn authors_that_cannot_be_made_out() {
    let many: Vec<_> = (0..9).map(|n| format!("x@n{n}.test")).collect();
    for (fields, reply, folder) in [
        ("To: ana@x.test".to_owned(), "550 5.6.0", ""),
        ("From: eve@evil.test\r\nFrom: sue@n.test".to_owned(), "550 5.6.0", ""),
        ("From: a group:;".to_owned(), "250 2.0.0", "INBOX"),
        ("From: nobody".to_owned(), "250 2.0.0", "INBOX"),
        ("From: eve@evil.test, sue@a.test".to_owned(), "550 5.7.1", ""),
        ("From: sue@a.test <eve@evil.test>".to_owned(), "550 5.7.1", ""),
        ("From: sue@a.test via List <eve@evil.test>".to_owned(), "250 2.0.0", "INBOX"),
        (format!("From: {}", many.join(",")), "250 2.0.0", "Junk"),
        // Programs drop the comment, the quotes or what cannot be seen.
        ("From: sue@(x)a.test".to_owned(), "250 2.0.0", "Junk"),
        ("From: eve@evil.test, sue@a (x).test".to_owned(), "250 2.0.0", "Junk"),
        ("From: sue@\"a.test\"".to_owned(), "250 2.0.0", "Junk"),
        // A second From where not every program reads.
        (
            format!("From: eve@evil.test\r\n{}From: sue@a.test", "A:\r\n".repeat(1_000)),
            "550 5.6.0 The header section is too large",
            "",
        ),
        (
            "From: eve@evil.test\r\nno field\r\nFrom: sue@a.test".to_owned(),
            "550 5.6.0 A From field follows",
            "",
        ),
        ("From: eve@evil.test\r\nno field\r\nTo: ana@x.test".to_owned(), "250 2.0.0", "INBOX"),
        (
            "From: eve@evil.test\r\n\r\nno field\r\nFrom: sue@a.test".to_owned(),
            "250 2.0.0",
            "INBOX",
        ),
        ("From: eve@evil.test\r\nSubject: no body".to_owned(), "250 2.0.0", "INBOX"),
    ] {
        let system = checking().await;
        let said = system.bring(EVIL, "eve@evil.test", &format!("{fields}\r\n\r\nbody")).await;
        assert!(said.starts_with(reply), "{fields}: {said}");
        for name in ["INBOX", "Junk"] {
            assert_eq!(system.count(name).await, u64::from(name == folder), "{fields}: {name}");
        }
        system.server.stop().await;
    }
}

/// Other programs would show a line behind a bare LF as a field that nobody checked.
#[tokio::test]
async fn hidden_lines_are_refused() {
    let system = checking().await;
    let content = "From: eve@evil.test\r\nSubject: s\nFrom: sue@a.test\r\n\r\nbody";
    let text = format!(
        "PROXY TCP4 {EVIL} 127.0.0.1 1 2\r\nEHLO c\r\nMAIL FROM:<eve@evil.test> BODY=BINARYMIME\r\n\
         RCPT TO:<ana@x.test>\r\nBDAT {} LAST\r\n{content}QUIT\r\n",
        content.len()
    );
    let said = system.say(25, &text).await;
    assert!(said.contains("\r\n550 5.6.0 A header field has NUL, or CR or LF alone"), "{said}");
    system.server.stop().await;
}

/// Mail that a list changed, and sealed.
fn sealed(results: &str, sealers: &[&str]) -> String {
    let mut content =
        signed(HELLO, &[signer("a.test", "e")]).replace("hello\r\n", "hello\r\n-- list\r\n");
    for (number, sealer) in sealers.iter().enumerate() {
        let mut observer = Observer::new(Needs { verify: true, sign: true });
        observer.write(content.as_bytes());
        let observed = observer.finish();
        let keys = SIGNERS.iter().fold(posta_origin::dns::Zone::default(), |zone, signer| {
            let name = format!("{}._domainkey.{}", signer.selector(), signer.domain().as_str());
            zone.with_txt(&name, &signer.key().record().unwrap())
        });
        let names = observed.key_names();
        let keys =
            posta_origin::dns::now_or_never(posta_origin::dkim::Keys::look_up(&keys, &names));
        let time = Timestamp::from_second(NOW).unwrap();
        let verified = observed.verify_arc(&keys.unwrap(), time);
        let told =
            if number == 0 { results } else { "mx.test; arc=pass; dmarc=fail header.from=a.test" };
        let set = observed.seal(&verified, told, signer(sealer, "e"), time).unwrap().unwrap();
        content = set + &content;
    }
    content
}

#[tokio::test]
async fn a_list_that_is_trusted_vouches_for_what_it_changed() {
    let passed = "lists.test; dmarc=pass (p=reject) header.from=a.test";
    for (results, sealers, is_taken) in [
        (passed, &["lists.test"][..], true),
        (passed, &["evil.test"], false),
        (passed, &["evil.test", "lists.test"], false),
        (passed, &["lists.test", "evil.test"], false),
        (passed, &["lists.test", "lists.test"], true),
        ("lists.test; dmarc=fail header.from=a.test", &["lists.test"], false),
        ("lists.test; dmarc=pass header.from=b.test", &["lists.test"], false),
        ("lists.test; dmarc=pass", &["lists.test"], false),
        ("lists.test; spf=pass (dmarc=pass header.from=a.test)", &["lists.test"], false),
    ] {
        let system = checking().await;
        let said = system.bring(EVIL, "list@evil.test", &sealed(results, sealers)).await;
        let code = if is_taken { "250 2.0.0" } else { "550 5.7.1" };
        assert!(said.starts_with(code), "{results} {sealers:?}: {said}");
        if is_taken {
            let story = system.story("list@evil.test").await;
            let words = "taken, since lists.test sealed that it came from its author";
            let is_told = |event: &Event| matches!(&event.what, What::Checked { decision: Some(told), .. } if told == words);
            assert!(story.iter().any(is_told), "{story:?}");
            assert!(system.read(1).await.contains(";\r\n\tarc=pass"));
        }
        system.server.stop().await;
    }
    // What is changed behind the seal is nobody's word any more.
    let system = checking().await;
    let changed = sealed(passed, &["lists.test"]).replace("-- list", "-- lust");
    let said = system.bring(EVIL, "list@evil.test", &changed).await;
    assert!(said.starts_with("550 5.7.1"), "{said}");
    system.server.stop().await;
}
