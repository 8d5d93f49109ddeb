//! DKIM as a whole: the example of RFC 8463, signatures of every kind, and hostile ones.
#![allow(clippy::unwrap_used)]

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use posta_mail::Timestamp;
use posta_origin::{
    arc::ArcResult,
    dkim::{Algorithm, DkimResult, KeyPair, Keys, SIGNATURES, Signer, Verified},
    dns::{Record, Zone, now_or_never},
    observer::{Needs, Observed, Observer},
};
use proptest::prelude::*;

const BOTH: Needs = Needs { verify: true, sign: true };

fn observe(message: &[u8], size: usize) -> Observed {
    let mut observer = Observer::new(BOTH);
    message.chunks(size.max(1)).for_each(|piece| observer.write(piece));
    let early = observer.key_names();
    let observed = observer.finish();
    assert!(early.is_none_or(|names| names == observed.key_names()));
    observed
}

fn verify(message: &[u8], zone: &Zone, at: i64) -> Vec<Verified> {
    let observed = observe(message, usize::MAX);
    let keys = now_or_never(Keys::look_up(zone, &observed.key_names())).unwrap();
    observed.verify_dkim(&keys, Timestamp::from_second(at).unwrap())
}

/// RFC 8463 Appendix A.3, with the keys of A.2.
const RFC_8463: &str = "\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
";

fn rfc_8463() -> String {
    RFC_8463.replace('\n', "\r\n")
}

fn rfc_8463_keys() -> Zone {
    Zone::default()
        .with_txt(
            "brisbane._domainkey.football.example.com",
            "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        )
        .with_txt(
            "test._domainkey.football.example.com",
            "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6w\
             y5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9Pzo\
             xZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
        )
}

#[test]
fn the_example_of_rfc_8463_passes() {
    let message = rfc_8463();
    for size in [1, 2, 3, 7, 100, usize::MAX] {
        let observed = observe(message.as_bytes(), size);
        let keys = now_or_never(Keys::look_up(&rfc_8463_keys(), &observed.key_names())).unwrap();
        let verified = observed.verify_dkim(&keys, Timestamp::from_second(1_600_000_000).unwrap());
        let seen: Vec<_> = verified
            .iter()
            .map(|it| (it.result, &*it.reason, it.short_signature.as_str()))
            .collect();
        let expected = [(DkimResult::Pass, "", "/gCrinpc"), (DkimResult::Pass, "", "F45dVWDf")];
        assert_eq!(seen, expected, "in slices of {size}");
    }
}

/// What relaxed forms leave out may change; nothing else may.
#[test]
fn changes_on_the_way() {
    use DkimResult::{Fail, Pass};
    for (from, to, expected) in [
        ("Hi.\r\n", "Hi. \r\n", Pass),
        ("Joe.\r\n", "Joe.\r\n\r\n\r\n", Pass),
        ("Subject: Is", "SUBJECT :\r\n\tIs", Pass),
        ("Subject: ", "X-New: 1\r\nSubject: ", Pass),
        ("Hi.\r\n", "Ho.\r\n", Fail),
        ("Hi.\r\n\r\n", "Hi.\r\n", Fail),
        ("Subject: Is", "Subject: I s", Fail),
        ("To: Suzie", "To: Suzy", Fail),
        // Over-signed: a second one may not come, above or below.
        ("To: Suzie", "Subject: Other\r\nTo: Suzie", Fail),
        ("\r\n\r\nHi.", "\r\nFrom: Other <a@b.test>\r\n\r\nHi.", Fail),
        ("t=1528637909", "t=1528637908", Fail),
    ] {
        assert!(rfc_8463().contains(from), "{from}");
        let message = rfc_8463().replace(from, to);
        let verified = verify(message.as_bytes(), &rfc_8463_keys(), 1_600_000_000);
        assert_eq!(
            verified.iter().map(|it| it.result).collect::<Vec<_>>(),
            [expected; 2],
            "{to:?}"
        );
    }
}

/// Signs text that is in canonical form already, so that no code of this crate is needed for it.
struct Hand {
    key: Ed25519KeyPair,
    fields: &'static str,
    body: &'static str,
}

impl Hand {
    fn new() -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        Self { key, fields: "from:ana@x.test\r\nto:ben@y.test\r\n", body: "first\r\nsecond\r\n" }
    }

    fn record(&self) -> String {
        format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(self.key.public_key().as_ref()))
    }

    /// A message with a signature of these tags over the first `length` octets of the body.
    fn sign(&self, tags: &str, length: usize) -> String {
        let hash = |octets: &str| digest(&SHA256, octets.as_bytes());
        // A hash by SHA-1 is shorter; its octets do not matter, since it proves nothing.
        let octets = if tags.contains("rsa-sha1") { 20 } else { 32 };
        let body_hash = STANDARD.encode(&hash(&self.body[..length]).as_ref()[..octets]);
        let field = format!("dkim-signature:{tags}; bh={body_hash}; b=");
        let hashed = hash(&[self.fields, &field].concat());
        let signature = STANDARD.encode(self.key.sign(hashed.as_ref()));
        [&field, &signature, "\r\n", self.fields, "\r\n", self.body].concat()
    }
}

const TAGS: &str = "v=1; a=ed25519-sha256; d=x.test; s=k; h=from:to";

#[track_caller]
fn check(message: &str, record: &str, expected: DkimResult, reason: &str) {
    let zone = Zone::default().with_txt("k._domainkey.x.test", record);
    let verified = verify(message.as_bytes(), &zone, 1_000_000);
    let seen: Vec<_> = verified.iter().map(|it| (it.result, &*it.reason)).collect();
    assert_eq!(seen, [(expected, reason)], "{message}");
}

#[test]
fn tags_decide() {
    use DkimResult::{Neutral, Pass, PermError, Policy};
    let hand = Hand::new();
    let record = hand.record();
    for (more, expected, reason) in [
        ("", Pass, ""),
        ("; c=relaxed/simple", Pass, ""),
        ("; c=simple/relaxed", Pass, ""),
        ("; t=1000000; x=1000000000", Pass, ""),
        ("; x=1000000", Pass, ""),
        ("; x=999999", Policy, "the signature has expired"),
        ("; t=1080000", Pass, ""),
        ("; t=1090000", Policy, "the signature is of the future"),
        ("; i=ana@x.test", Pass, ""),
        ("; i=ana@mail.x.test", Pass, ""),
        ("; i=ana@y.test", Neutral, "the signature's tag i has no valid value"),
        ("; l=15", Pass, ""),
        ("; l=16", DkimResult::Fail, "the signature covers a longer body: some of it is missing"),
        ("; zz=unknown", Pass, ""),
    ] {
        check(&hand.sign(&format!("{TAGS}{more}"), 15), &record, expected, reason);
    }
    for (from, to, expected, reason) in [
        ("from:to", "from:to:from:cc:cc", Pass, ""),
        ("h=from:to", "h=to", PermError, "the signature does not cover the From field"),
        ("v=1", "v=2", Neutral, "the signature's tag v names something unknown"),
        ("ed25519-sha256", "rsa-sha256", PermError, "the key is for another algorithm"),
        ("ed25519-sha256", "rsa-sha1", Policy, "SHA-1 proves nothing any more"),
        ("ed25519-sha256", "rsa-md5", Neutral, "the signature's tag a names something unknown"),
    ] {
        check(&hand.sign(&TAGS.replace(from, to), 15), &record, expected, reason);
    }
}

/// What a signature with `l=` does not cover, anybody can have added.
#[test]
fn a_part_of_a_body_does_not_pass() {
    let hand = Hand::new();
    for length in [0, 7] {
        let message = hand.sign(&format!("{TAGS}; l={length}"), length);
        let reason = "the signature covers only the beginning of the body";
        check(&message, &hand.record(), DkimResult::Policy, reason);
        let changed = message.replace("from:ana", "from:eva");
        let reason = "the signature does not match the fields it covers";
        check(&changed, &hand.record(), DkimResult::Fail, reason);
    }
}

#[test]
fn the_key_decides() {
    use DkimResult::{Fail, Neutral, Pass, PermError};
    let hand = Hand::new();
    let message = hand.sign(&format!("{TAGS}; i=@a.x.test"), 15);
    let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
    let other = STANDARD.encode(other.public_key().as_ref());
    let key = hand.record();
    for (record, expected, reason) in [
        (format!("{key}; t=y"), Pass, "the domain is testing"),
        (
            format!("{key}; t=s"),
            PermError,
            "the key is not for identities of domains within its own",
        ),
        (format!("{key}; s=tlsrpt"), PermError, "the key is not for signatures like this"),
        (format!("{key}; h=sha1"), PermError, "the key is not for signatures like this"),
        ("v=DKIM1; k=ed25519; p=".into(), PermError, "the key has been revoked"),
        ("v=DKIM1; k=ed25519; p=YQ==".into(), PermError, "the key cannot be read"),
        ("v=DKIM1; k=rsa; p=YQ==".into(), PermError, "the key is for another algorithm"),
        ("v=spf1 -all".into(), PermError, "there is no key record"),
        (format!("p={}", "A".repeat(9_000)), PermError, "the key record is too long"),
        (
            format!("v=DKIM1; k=ed25519; p={other}"),
            Fail,
            "the signature does not match the fields it covers",
        ),
        (
            format!("v=DKIM1; k=ed25519; t=y; p={other}"),
            Neutral,
            "the signature does not match the fields it covers, and the domain is testing",
        ),
    ] {
        check(&message, &record, expected, reason);
    }
}

/// There should be one record; a wildcard of SPF beside it does no harm (RFC 6376 §3.6.2.2).
#[test]
fn other_texts_beside_the_key() {
    let hand = Hand::new();
    let name = "k._domainkey.x.test";
    let zone = |text: &str| Zone::default().with_txt(name, text).with_txt(name, &hand.record());
    for text in ["v=spf1 -all", "hello", "v=DKIM1; p="] {
        let verified = verify(hand.sign(TAGS, 15).as_bytes(), &zone(text), 0);
        assert_eq!(verified[0].result, DkimResult::Pass, "{text}");
    }
}

#[test]
fn dns_fails() {
    let hand = Hand::new();
    let message = hand.sign(TAGS, 15);
    let zone = Zone::default().with("k._domainkey.x.test", Record::Failure);
    assert_eq!(verify(message.as_bytes(), &zone, 0)[0].result, DkimResult::TempError);
    assert_eq!(verify(message.as_bytes(), &Zone::default(), 0)[0].result, DkimResult::PermError);
}

/// RFC 8301 §3.2: the key of 512 bits is of this test alone.
#[test]
fn short_and_long_rsa_keys_do_not_count() {
    let hand = Hand::new();
    let message = hand.sign(&TAGS.replace("ed25519", "rsa"), 15);
    for (octets, expected) in [
        (64, "the key has 512 bits: 1024 to 4096 count"),
        (1_000, "the key has 8000 bits: 1024 to 4096 count"),
    ] {
        let zone = Zone::default().with_txt("k._domainkey.x.test", &rsa_record(octets));
        let verified = verify(message.as_bytes(), &zone, 0);
        assert!(
            verified[0].reason == expected || verified[0].reason == "the key cannot be read",
            "{}",
            verified[0].reason
        );
        assert_ne!(verified[0].result, DkimResult::Pass);
    }
}

/// A key whose modulus has that many octets, in DER (RFC 8017 A.1.1).
fn rsa_record(octets: usize) -> String {
    let der = |tag: u8, content: &[u8]| {
        let length = content.len() as u16;
        let mut der = vec![tag, 0x82];
        der.extend_from_slice(&length.to_be_bytes());
        if length < 0x80 {
            der = vec![tag, length as u8];
        } else if length < 0x100 {
            der = vec![tag, 0x81, length as u8];
        }
        der.extend_from_slice(content);
        der
    };
    let modulus = [&[0][..], &vec![0xff; octets]].concat();
    let key = der(0x30, &[der(2, &modulus), der(2, &[1, 0, 1])].concat());
    format!("v=DKIM1; p={}", STANDARD.encode(key))
}

/// Ten thousand signatures cost as much as eight.
#[test]
fn signatures_are_bounded() {
    let hand = Hand::new();
    let message = hand.sign(TAGS, 15);
    let (field, rest) = message.split_at(message.find("\r\nfrom:").unwrap() + 2);
    for (count, expected) in [(3, 3), (8, 8), (9, SIGNATURES), (900, SIGNATURES)] {
        let message = [&field.repeat(count), rest].concat();
        let zone = Zone::default().with_txt("k._domainkey.x.test", &hand.record());
        let verified = verify(message.as_bytes(), &zone, 0);
        assert_eq!(verified.len(), expected);
        assert!(verified.iter().all(|it| it.result == DkimResult::Pass), "{count}");
        assert_eq!(zone.asked(), 1, "one key, one look-up");
    }
    let message = [&field.repeat(10_000), rest].concat();
    let zone = Zone::default().with_txt("k._domainkey.x.test", &hand.record());
    let verified = verify(message.as_bytes(), &zone, 0);
    assert_eq!(verified.len(), SIGNATURES);
    assert!(verified.iter().all(|it| it.result == DkimResult::Policy));
}

#[test]
fn signatures_that_begin_alike_are_told_apart() {
    let first = "dkim-signature:v=1; a=ed25519-sha256; d=x.test; s=k; h=from; bh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; b=AAAAAAAAAAAA\r\n";
    let second = first.replace("b=AAAAAAAAAAAA", "b=AAAAAAAAABAA");
    let verified =
        verify([first, &second, "from:a\r\n\r\n"].concat().as_bytes(), &Zone::default(), 0);
    let shown: Vec<_> = verified.iter().map(|it| it.short_signature.as_str()).collect();
    assert_eq!(shown, ["AAAAAAAAAA", "AAAAAAAAAB"]);
}

/// Comparing long signatures prefix by prefix would take seconds.
#[test]
fn long_signatures_that_begin_alike_cost_little() {
    let field = |letters: usize| {
        let letters = "A".repeat(letters);
        format!(
            "dkim-signature:v=1; a=rsa-sha256; d=x.test; s=k; h=from; \
             bh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; b={letters}"
        )
    };
    for (letters, is_read, short) in [(120_000, false, 0), (600, true, 64)] {
        let message =
            [&field(letters), "AAAA\r\n", &field(letters), "BBBB\r\nfrom:a\r\n\r\n"].concat();
        let verified = verify(message.as_bytes(), &Zone::default(), 0);
        assert_eq!(verified.len(), 2);
        for verified in verified {
            assert_eq!(verified.signature.is_some(), is_read);
            assert_eq!(verified.short_signature.len(), short);
        }
    }
}

fn signers() -> Vec<Signer> {
    let domain = || "x.test".parse().unwrap();
    let key = |algorithm| KeyPair::generate(algorithm).unwrap();
    vec![
        Signer::new(domain(), "r".into(), key(Algorithm::RsaSha256)),
        Signer::new(domain(), "e".into(), key(Algorithm::Ed25519Sha256)),
    ]
}

fn zone_of(signers: &[Signer]) -> Zone {
    let mut zone = Zone::default();
    for signer in signers {
        let name = format!("{}._domainkey.{}", signer.selector(), signer.domain().as_str());
        zone.add(&name, Record::Txt(signer.key().record().unwrap()));
    }
    zone
}

fn signed(message: &[u8], signers: &[Signer]) -> Vec<u8> {
    let observed = observe(message, usize::MAX);
    let time = Timestamp::from_second(1_000_000).unwrap();
    let fields = signers.iter().map(|signer| observed.sign(signer, time).unwrap().unwrap());
    let fields: String = fields.collect();
    for line in fields.split("\r\n") {
        assert!(line.len() <= 78, "{line}");
    }
    [fields.as_bytes(), message].concat()
}

#[test]
fn what_is_signed_verifies() {
    let signers = signers();
    let zone = zone_of(&signers);
    let message = "From: Ana <ana@x.test>\r\nTo: ben@y.test\r\nSubject:  Hello \r\n  there\r\n\r\nBody \t text\r\n\r\n";
    let message = signed(message.as_bytes(), &signers);
    let pass = |message: &[u8]| {
        verify(message, &zone, 1_000_000).iter().all(|it| it.result == DkimResult::Pass)
    };
    assert!(pass(&message), "{}", String::from_utf8_lossy(&message));
    let text = String::from_utf8(message).unwrap();
    // Nobody can add what is over-signed; a list may add its fields.
    for (field, is_harmless) in [
        ("Cc: eva@z.test", false),
        ("Subject: Other", false),
        ("Content-Type: text/html", false),
        ("Reply-To: eva@z.test", false),
        ("List-Id: <list.z.test>", true),
        ("X-Other: 1", true),
    ] {
        let changed = text.replace("From: Ana", &format!("{field}\r\nFrom: Ana"));
        assert_eq!(pass(changed.as_bytes()), is_harmless, "{field}");
    }
}

/// A signature must cover From (RFC 6376 §5.4), and one above ` text` would have it for its end.
#[test]
fn a_message_without_from_is_not_signed() {
    let signers = signers();
    for message in ["", " text\r\n", "To: a\r\n\r\nFrom: a\r\n"] {
        let observed = observe(message.as_bytes(), 3);
        assert_eq!(observed.sign(&signers[0], Timestamp::UNIX_EPOCH).unwrap(), None, "{message}");
        let none = observed.verify_arc(&Keys::default(), Timestamp::UNIX_EPOCH);
        let set =
            observed.seal(&none, "mx.test; none", &signers[0], Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(set.is_some(), message.starts_with("To"), "{message}");
    }
}

#[test]
fn keys_survive_being_kept() {
    for signer in signers() {
        let kept = signer.key().to_pkcs8().unwrap();
        let read = KeyPair::from_pkcs8(kept.expose()).unwrap();
        assert_eq!(read.record().unwrap(), signer.key().record().unwrap());
        assert_eq!(format!("{read:?}"), format!("KeyPair({})", read.algorithm().name()));
    }
    assert!(KeyPair::from_pkcs8(b"no key").is_err());
    assert!(KeyPair::generate(Algorithm::RsaSha1).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the fields and the body are, an Ed25519 signature of ours passes, in any slices.
    #[test]
    fn any_message_can_be_signed(
        fields in proptest::collection::vec(
            "(From|from|To|Subject|List-Id|X-a|Received)[ ]?:([ -~]|[ \t]|\r\n[ \t]){0,30}\r\n", 0..9),
        body in "([a-z .\t]|\r\n){0,80}",
        size in 1usize..200,
    ) {
        let signers = vec![Signer::new(
            "x.test".parse().unwrap(),
            "e".into(),
            KeyPair::generate(Algorithm::Ed25519Sha256).unwrap(),
        )];
        let message = ["From: ana@x.test\r\n".into(), fields.concat(), "\r\n".into(), body].concat();
        let message = signed(message.as_bytes(), &signers);
        let observed = observe(&message, size);
        let keys = now_or_never(Keys::look_up(&zone_of(&signers), &observed.key_names())).unwrap();
        let verified = observed.verify_dkim(&keys, Timestamp::from_second(1_000_000).unwrap());
        prop_assert_eq!(verified[0].result, DkimResult::Pass, "{:?}", verified);
    }

    #[test]
    fn nothing_panics(content in "(DKIM-Signature: |from:|[a-z]=|;|:|b=|=|\r\n|[ -~]){0,60}", size in 1usize..50) {
        let observed = observe(content.as_bytes(), size);
        let keys = now_or_never(Keys::look_up(&Zone::default(), &observed.key_names())).unwrap();
        let verified = observed.verify_dkim(&keys, Timestamp::UNIX_EPOCH);
        prop_assert!(verified.iter().all(|it| it.result != DkimResult::Pass));
        prop_assert_ne!(observed.verify_arc(&keys, Timestamp::UNIX_EPOCH).result, ArcResult::Pass);
    }
}
