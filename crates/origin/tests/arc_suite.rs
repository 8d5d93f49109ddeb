//! The published test suite for ARC (`tests/rfc8617`), every case of it.
#![allow(clippy::unwrap_used)]

use posta_mail::Timestamp;
use posta_origin::{
    arc::{ArcResult, ArcVerified},
    dkim::{Algorithm, KeyPair, Keys, Signer},
    dns::{Record, Zone, now_or_never},
    observer::{Needs, Observed, Observer},
};
use serde_json::Value;

/// The cases with another outcome than the suite's, each with the outcome and its reason.
const DEPARTURES: [(&str, ArcResult, &str); 4] = [
    ("ams_fields_a_sha1", ArcResult::Fail, "SHA-1 proves nothing any more (RFC 8301 §3.1)"),
    ("as_fields_a_sha1", ArcResult::Fail, "SHA-1 proves nothing any more (RFC 8301 §3.1)"),
    ("ams_fields_h_empty", ArcResult::Fail, "h= names at least one field (RFC 6376 §3.5)"),
    ("ams_fields_h_mis_hdr", ArcResult::Fail, "each field in h= has a name (RFC 6376 §3.5)"),
];

fn suite(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

/// Returns the cases of a scenario with their names.
fn cases(scenario: &Value) -> impl Iterator<Item = (&String, &Value)> {
    scenario["tests"].as_object().unwrap().iter()
}

fn zone(scenario: &Value) -> Zone {
    let records = scenario["txt-records"].as_object().unwrap();
    records
        .iter()
        .fold(Zone::default(), |zone, (name, record)| zone.with_txt(name, record.as_str().unwrap()))
}

fn text(case: &Value, field: &str) -> String {
    case[field].as_str().unwrap_or_default().replace('\n', "\r\n")
}

fn observe(message: &str) -> Observed {
    let mut observer = Observer::new(Needs { verify: true, sign: true });
    message.as_bytes().chunks(13).for_each(|piece| observer.write(piece));
    observer.finish()
}

fn verify(message: &str, zone: &Zone, time: Timestamp) -> ArcVerified {
    let observed = observe(message);
    let keys = now_or_never(Keys::look_up(zone, &observed.key_names())).unwrap();
    observed.verify_arc(&keys, time)
}

#[test]
fn the_published_suite_agrees_on_chains() {
    let time = Timestamp::from_second(1_700_000_000).unwrap();
    let (mut count, mut departed, mut wrong) = (0, 0, Vec::new());
    for scenario in suite(include_str!("rfc8617/arc-draft-validation-tests.json")) {
        let zone = zone(&scenario);
        for (name, case) in cases(&scenario) {
            count += 1;
            let expected = match case["cv"].as_str().unwrap() {
                "None" => ArcResult::None,
                "Pass" => ArcResult::Pass,
                // Where the suite leaves the outcome open, a sealer declared the chain broken: such a
                // chain fails (RFC 8617 §5.2).
                "Fail" | "" => ArcResult::Fail,
                other => unreachable!("{other}"),
            };
            let departure = DEPARTURES.iter().find(|(departing, ..)| departing == name);
            let expected = departure.map_or(expected, |(_, outcome, _)| {
                departed += 1;
                assert_ne!(*outcome, expected, "{name} departs from nothing");
                *outcome
            });
            let verified = verify(&text(case, "message"), &zone, time);
            if verified.result != expected {
                let (result, reason) = (verified.result, verified.reason);
                wrong.push(format!("{name}: {result:?}, not {expected:?}: {reason}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((count, departed), (170, DEPARTURES.len()), "cases, departures");
}

/// Returns the value of a tag in a list of tags, without white space.
fn tag(list: &str, name: &str) -> Option<String> {
    let mut tags = list.split(';').filter_map(|tag| tag.trim().split_once('='));
    tags.find(|(known, _)| *known == name).map(|(_, value)| words(value).concat())
}

/// Folds the lines of a value, at whose beginnings the suite has no white space.
fn folded(value: &str) -> String {
    value.trim_end().replace("\r\n", "\r\n ")
}

/// Returns a list of tags in the suite's standard form: without white space but for one space after each semicolon.
fn standard(list: &str) -> String {
    words(list).concat().replace(';', "; ")
}

fn words(text: &str) -> Vec<&str> {
    text.split_ascii_whitespace().collect()
}

/// Returns the values of the three fields of a set: results, signature, seal.
fn fields(set: &str) -> [String; 3] {
    let unfolded = set.replace("\r\n\t", " ").replace("\r\n ", " ");
    ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"].map(|name| {
        let is_it = |line: &&str| line.starts_with(&format!("{name}:"));
        let line = unfolded.lines().find(is_it).unwrap();
        line[name.len() + 1..].to_owned()
    })
}

/// The state of the chain, which the suite has in the message's own Authentication-Results.
fn stamped(message: &str) -> ArcResult {
    let states = [ArcResult::None, ArcResult::Pass, ArcResult::Fail];
    let (_, rest) = message.split_once("arc=").unwrap();
    states.into_iter().find(|state| rest.starts_with(state.name())).unwrap()
}

/// The suite assumes one order of the tags and one list of signed fields. Which ones a sealer chooses is
/// its own affair, so what is compared is what follows from the message: whether a set is added at all,
/// its instance, the state of the chain, the hash of the body, and the results. Where the set is the
/// first, the suite's must validate, and so must ours in its place. Above older sets they cannot: the
/// edition of Mail::DKIM has new signatures for its own folding of these, which the messages do not have.
#[test]
fn the_published_suite_agrees_on_seals() {
    let key = KeyPair::generate(Algorithm::RsaSha256).unwrap();
    let signer = Signer::new("ours.test".parse().unwrap(), "k".into(), key);
    let (mut count, mut first) = (0, 0);
    for scenario in suite(include_str!("rfc8617/arc-draft-sign-tests.json")) {
        let zone = zone(&scenario)
            .with("k._domainkey.ours.test", Record::Txt(signer.key().record().unwrap()));
        for (name, case) in cases(&scenario) {
            count += 1;
            first += usize::from(seals_alike(name, case, &signer, &zone));
        }
    }
    assert_eq!((count, first), (17, 12), "cases, first sets");
}

/// Compares a set of ours with the suite's. Returns whether it is the first.
fn seals_alike(name: &str, case: &Value, signer: &Signer, zone: &Zone) -> bool {
    let [message, results, signature, seal] =
        ["message", "AAR", "AMS", "AS"].map(|field| text(case, field));
    let time = Timestamp::from_second(case["t"].as_i64().unwrap()).unwrap();
    let found = ArcVerified { result: stamped(&message), ..verify(&message, zone, time) };
    let told = results.split_once(';').map_or("x.test; none", |(_, told)| told);
    let ours = observe(&message).seal(&found, &folded(told), signer, time).unwrap();
    let Some(instance) = tag(&seal, "i") else {
        assert_eq!(ours, None, "{name}: nothing is added");
        return false;
    };
    let ours = ours.unwrap();
    let [our_results, our_signature, our_seal] = fields(&ours);
    assert_eq!(words(&our_results), words(&results), "{name}");
    for (ours, theirs, tags) in [
        (&our_signature, &signature, &["i", "a", "c", "t", "bh"][..]),
        (&our_seal, &seal, &["i", "a", "cv", "t"]),
    ] {
        for one in tags {
            assert_eq!(tag(ours, one), tag(theirs, one), "{name}: {one}");
        }
    }
    if instance != "1" {
        return false;
    }
    let theirs = format!(
        "ARC-Seal: {}\r\nARC-Message-Signature: {}\r\nARC-Authentication-Results: {}\r\n",
        standard(&seal),
        standard(&signature),
        folded(&results),
    );
    for set in [ours, theirs] {
        let verified = verify(&[&set, &*message].concat(), zone, time);
        assert_eq!(verified.result, ArcResult::Pass, "{name}: {}\n{set}", verified.reason);
    }
    true
}
