//! ARC as a whole: chains as servers make them, and what strangers make of them.
//!
//! `arc_suite.rs` runs the published test suite.
#![allow(clippy::unwrap_used)]

use posta_mail::Timestamp;
use posta_origin::{
    arc::{ArcResult, ArcVerified, INSTANCES},
    dkim::{Algorithm, KeyPair, Keys, Signer},
    dns::{Record, Zone, now_or_never},
    observer::{Needs, Observed, Observer},
};
use std::sync::LazyLock;

const MESSAGE: &str =
    "From: Ana <ana@x.test>\r\nTo: list@y.test\r\nSubject: Hello\r\n\r\nHello \t there\r\n";

/// Servers that seal, each with its key.
static SEALERS: LazyLock<Vec<Signer>> = LazyLock::new(|| {
    let key = |algorithm| KeyPair::generate(algorithm).unwrap();
    vec![
        Signer::new("a.test".parse().unwrap(), "r".into(), key(Algorithm::RsaSha256)),
        Signer::new("b.test".parse().unwrap(), "e".into(), key(Algorithm::Ed25519Sha256)),
    ]
});

fn zone() -> Zone {
    let mut zone = Zone::default();
    for sealer in SEALERS.iter() {
        let name = format!("{}._domainkey.{}", sealer.selector(), sealer.domain().as_str());
        zone.add(&name, Record::Txt(sealer.key().record().unwrap()));
    }
    zone
}

fn time() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn observe(message: &str) -> Observed {
    let mut observer = Observer::new(Needs { verify: true, sign: true });
    message.as_bytes().chunks(7).for_each(|piece| observer.write(piece));
    observer.finish()
}

fn verify_with(message: &str, zone: &Zone) -> ArcVerified {
    let observed = observe(message);
    let keys = now_or_never(Keys::look_up(zone, &observed.key_names())).unwrap();
    observed.verify_arc(&keys, time())
}

fn verify(message: &str) -> ArcVerified {
    verify_with(message, &zone())
}

/// The message as a sealer passes it on; nothing if it adds no set.
fn sealed(message: &str, sealer: usize) -> Option<String> {
    let observed = observe(message);
    let verified = verify(message);
    let results = format!(" mx{sealer}.test;\r\n\tdmarc=pass header.from=x.test");
    let set = observed.seal(&verified, &results, &SEALERS[sealer], time()).unwrap()?;
    for line in set.split("\r\n") {
        assert!(line.len() <= 78, "{line}");
    }
    Some([&set, message].concat())
}

fn chain(length: usize) -> String {
    (0..length).fold(MESSAGE.to_owned(), |message, index| sealed(&message, index % 2).unwrap())
}

#[test]
fn a_message_without_sets_has_no_chain() {
    assert_eq!(verify(MESSAGE).result, ArcResult::None);
    assert_eq!(verify("").result, ArcResult::None);
}

#[test]
fn chains_pass_and_tell_what_sealers_found() {
    for length in [1, 2, 5] {
        let verified = verify(&chain(length));
        assert_eq!((verified.result, &*verified.reason), (ArcResult::Pass, ""));
        let told = |index: usize| ["a.test", "b.test"][index % 2];
        for (index, set) in verified.sets.iter().enumerate() {
            assert_eq!(set.domain, told(index));
            let results = format!("mx{}.test;\r\n\tdmarc=pass header.from=x.test", index % 2);
            assert_eq!(set.results, results);
        }
        assert_eq!(verified.sets.len(), length);
    }
}

#[test]
fn a_chain_has_fifty_sets_at_most() {
    let longest = chain(INSTANCES);
    assert_eq!(verify(&longest).result, ArcResult::Pass);
    assert_eq!(sealed(&longest, 0), None);
    let longer = longest.replace("i=50;", "i=51;");
    assert_eq!(verify(&longer).result, ArcResult::Fail);
}

/// A list that changes the message seals what it changed; the older signature need not hold.
#[test]
fn a_list_may_change_the_message() {
    let changed = chain(1).replace("Subject: Hello", "Subject: [list] Hello");
    assert_eq!(verify(&changed).result, ArcResult::Fail);
    let before = verify(&chain(1));
    let set = observe(&changed)
        .seal(&before, "mx1.test; arc=pass", &SEALERS[1], time())
        .unwrap()
        .unwrap();
    assert_eq!(verify(&[&set, &*changed].concat()).result, ArcResult::Pass);
}

#[test]
fn changes_break_a_chain() {
    let whole = chain(2);
    for (from, to, reason) in [
        ("Hello \t there", "Hello you", "ARC-Message-Signature 2: the body has been changed"),
        (
            "Subject: Hello",
            "Subject: Other",
            "ARC-Message-Signature 2: the signature does not match the fields it covers",
        ),
        (
            "i=1; mx0.test;\r\n\tdmarc=pass",
            "i=1; mx0.test;\r\n\tdmarc=fail",
            "ARC-Seal 2: the signature does not match the fields it covers",
        ),
        (
            "i=2; mx1.test",
            "i=2; mx2.test",
            "ARC-Seal 2: the signature does not match the fields it covers",
        ),
        ("i=1; mx0", "mx0", "ARC-Authentication-Results has no instance"),
        ("i=1; mx0", "i=0; mx0", "ARC-Authentication-Results has no instance"),
        ("i=1; mx0", "i=2; mx0", "ARC-Authentication-Results 2 appears twice"),
        ("i=1; mx0", "i=3; mx0", "set 1 is not whole"),
        ("ARC-Authentication-Results: i=1", "X: i=1", "set 1 is not whole"),
        ("ARC-Seal: i=2", "X: i=2", "set 2 is not whole"),
        ("ARC-Seal: i=1; ", "ARC-Seal: ", "ARC-Seal has no instance"),
        ("ARC-Seal: i=1; ", "ARC-Seal: i=1; i=1; ", "ARC-Seal has no instance"),
        ("cv=none", "cv=pass", "the seal of set 1 has another cv than it can have"),
        ("cv=pass", "cv=none", "the seal of set 2 has another cv than it can have"),
        ("cv=pass", "cv=maybe", "set 2: the signature's tag cv names something unknown"),
        ("cv=pass", "h=from; cv=pass", "set 2: the signature's tag h has no valid value"),
        ("h=From", "h=ARC-Seal:From", "set 1: the signature's tag h has no valid value"),
        ("cv=pass", "cv=fail", "a sealer found the chain broken"),
        ("cv=none", "cv=fail", "a sealer found the chain broken"),
    ] {
        let at = whole.rfind(from).unwrap();
        let broken = [&whole[..at], to, &whole[at + from.len()..]].concat();
        let verified = verify(&broken);
        assert_eq!((verified.result, &*verified.reason), (ArcResult::Fail, reason), "{to}");
        assert!(verified.sets.is_empty(), "a broken chain tells nothing");
    }
}

#[test]
fn keys_that_are_not_there() {
    let whole = chain(2);
    let verified = verify_with(&whole, &Zone::default());
    assert_eq!(verified.result, ArcResult::Fail);
    assert_eq!(verified.reason, "ARC-Message-Signature 2: there is no key record");
    assert!(!verified.is_temporary);
    let newest = SEALERS[1].key().record().unwrap();
    let failing = Zone::default()
        .with("r._domainkey.a.test", Record::Failure)
        .with_txt("e._domainkey.b.test", &newest);
    let verified = verify_with(&whole, &failing);
    assert_eq!(verified.result, ArcResult::Fail);
    assert_eq!(verified.reason, "ARC-Seal 1: the key could not be looked up");
    assert!(verified.is_temporary);
}

/// The seal over a broken chain says so, and nobody goes on with it (RFC 8617 §5.1.2).
#[test]
fn a_broken_chain_is_given_up() {
    let broken = chain(1).replace("Subject: Hello", "Subject: Other");
    let given_up = sealed(&broken, 1).unwrap();
    assert!(given_up.contains("cv=fail"), "{given_up}");
    let verified = verify(&given_up);
    assert_eq!((verified.result, verified.is_given_up), (ArcResult::Fail, true));
    assert_eq!(sealed(&given_up, 0), None);
}

/// Ten thousand sets form no chain, and ask DNS for nothing.
#[test]
fn many_sets_cost_nothing() {
    let set = chain(1);
    let (set, _) = set.split_at(set.find("From:").unwrap());
    let sets: String =
        (0..10_000).map(|index| set.replace("i=1;", &format!("i={index};"))).collect();
    let zone = zone();
    let verified = verify_with(&[&sets, MESSAGE].concat(), &zone);
    assert_eq!((verified.result, zone.asked()), (ArcResult::Fail, 0));
}
