use super::*;
use crate::receive::origin_dns::OriginDns;
use posta_net::dns::FixedZone;
use posta_origin::dkim::{Algorithm, KeyPair, Signer};
use std::sync::Arc;

const MESSAGE: &str = "From: Ana <ana@x.test>\r\nTo: bob@y.test\r\nSubject: hello\r\n\r\nHello\r\n";

fn now() -> Timestamp {
    "2027-01-10T12:00:00Z".parse().unwrap()
}

fn read(text: &[u8]) -> ReadMessage {
    let mut reader = MessageReader::default();
    reader.write(text);
    reader.finish()
}

/// The message with a signature of x.test above it, and a zone that has the key, SPF and DMARC.
fn signed() -> (String, FixedZone) {
    let key = KeyPair::generate(Algorithm::Ed25519Sha256).unwrap();
    let mut zone = FixedZone::default();
    txt(&mut zone, "s1._domainkey.x.test", &key.record().unwrap());
    txt(&mut zone, "x.test", "v=spf1 ip4:198.41.0.4 -all");
    txt(&mut zone, "mx.x.test", "v=spf1 a -all");
    txt(&mut zone, "_dmarc.x.test", "v=DMARC1; p=reject");
    zone.addresses.insert("mx.x.test".to_owned(), vec!["198.41.0.4".parse().unwrap()]);
    zone.names.insert("198.41.0.4".to_owned(), vec!["mx.x.test".to_owned()]);
    let signer = Signer::new("x.test".parse().unwrap(), "s1".to_owned(), key);
    let mut observer = Observer::new(Needs { verify: false, sign: true });
    observer.write(MESSAGE.as_bytes());
    let field = observer.finish().sign(&signer, now()).unwrap().unwrap();
    (field + MESSAGE, zone)
}

async fn examined(text: &str, zone: &FixedZone) -> Examination {
    let received =
        "Return-Path: <ana@x.test>\r\nReceived: from mx.x.test ([198.41.0.4]) by y.test\r\n";
    let message = read((received.to_owned() + text).as_bytes());
    let dns = OriginDns(Arc::new(zone.clone()));
    let arrival = message.arrival();
    examine(&message, arrival, &dns, "mail.y.test", now()).await
}

/// The results, in order, and everything that is told of them.
fn told(examination: &Examination) -> (String, String) {
    let checks = examination.checks.iter();
    let results = checks.clone().map(|check| format!("{}={}", check.method, check.result));
    let why = checks.flat_map(|check| check.why.clone()).chain([examination.says.clone()]);
    (results.collect::<Vec<_>>().join(" "), why.collect::<Vec<_>>().join("\n"))
}

/// What is changed in the message and in the zone, and what is told then: the results, how they are taken, and words.
struct Case {
    message: fn(&str) -> String,
    zone: fn(&mut FixedZone),
    results: &'static str,
    severity: Severity,
    words: &'static [&'static str],
}

fn txt(zone: &mut FixedZone, name: &str, text: &str) {
    zone.texts.insert(name.to_owned(), vec![text.to_owned()]);
}

const CASES: &[Case] = &[
    Case {
        message: str::to_owned,
        zone: |_| {},
        results: "iprev=pass spf=pass spf=pass dkim=pass arc=none dmarc=pass",
        severity: Severity::Ok,
        words: &[
            "it is mx.x.test",
            "by the term \"ip4:198.41.0.4\" of x.test",
            "from (and no more of it)",
            "cc (absent)",
            "DKIM: x.test is aligned with x.test (relaxed)",
            "SPF: x.test is aligned",
        ],
    },
    Case {
        message: |text| text.replace("\r\nHello", "\r\nGoodbye"),
        zone: |zone| txt(zone, "x.test", "v=spf1 -all"),
        results: "iprev=pass spf=pass spf=fail dkim=fail arc=none dmarc=fail",
        severity: Severity::Error,
        words: &["the body has been changed", "s1._domainkey.x.test", "p=reject", "neither SPF"],
    },
    Case {
        message: |text| text.replace("Subject: hello", "Subject: buy"),
        zone: |zone| txt(zone, "x.test", "v=spf1 -all"),
        results: "iprev=pass spf=pass spf=fail dkim=fail arc=none dmarc=fail",
        severity: Severity::Error,
        words: &["does not match the fields it covers"],
    },
    Case {
        message: str::to_owned,
        zone: |zone| drop(zone.texts.remove("s1._domainkey.x.test")),
        results: "iprev=pass spf=pass spf=pass dkim=permerror arc=none dmarc=pass",
        severity: Severity::Ok,
        words: &["there is no key record", "SPF of x.test shows"],
    },
    Case {
        message: str::to_owned,
        zone: |zone| txt(zone, "_dmarc.x.test", "v=DMARC1; p=quarantine; adkim=s; aspf=s"),
        results: "iprev=pass spf=pass spf=pass dkim=pass arc=none dmarc=pass",
        severity: Severity::Ok,
        words: &["(strict)"],
    },
    Case {
        message: |_| MESSAGE.replace("ana@x.test", "ana@z.test"),
        zone: |zone| txt(zone, "_dmarc.z.test", "v=DMARC1; p=quarantine"),
        results: "iprev=pass spf=pass spf=pass dkim=none arc=none dmarc=fail",
        severity: Severity::Warning,
        words: &["SPF: x.test is not aligned with z.test", "the message has no signature", "Junk"],
    },
    Case {
        message: str::to_owned,
        zone: |zone| zone.failing.push("s1._domainkey.x.test".to_owned()),
        results: "iprev=pass spf=pass spf=pass dkim=temperror arc=none dmarc=pass",
        severity: Severity::Ok,
        words: &["DKIM: x.test may be aligned"],
    },
];

#[tokio::test]
async fn each_result_says_why() {
    let (text, zone) = signed();
    for case in CASES {
        let (text, mut zone) = ((case.message)(&text), zone.clone());
        (case.zone)(&mut zone);
        let examination = examined(&text, &zone).await;
        let (found, why) = told(&examination);
        assert_eq!((found.as_str(), examination.severity), (case.results, case.severity), "{why}");
        for words in case.words {
            assert!(why.contains(words), "{words} is not told: {why}");
        }
    }
}

/// Faults for which the message would be refused when it came from a stranger.
#[tokio::test]
async fn faults_of_form_are_told() {
    let many = "X: y\r\n".repeat(1_001);
    let dns = OriginDns(Arc::new(FixedZone::default()));
    for (text, words) in [
        (format!("{many}{MESSAGE}"), "more than 256 KiB or 1,000 fields"),
        (format!("To: a@x.test\r\nno field\r\n{MESSAGE}"), "behind a line that is no header field"),
        (format!("From: b@x.test\r\n{MESSAGE}"), "several From fields"),
        ("Subject: s\r\n\r\nb\r\n".to_owned(), "no From field"),
        (MESSAGE.replace("Subject: hello", "Subject: a\rFrom: b@x.test"), "hides a line"),
    ] {
        let message = read(text.as_bytes());
        let examination = examine(&message, Arrival::default(), &dns, "y.test", now()).await;
        assert_eq!(examination.severity, Severity::Error, "{words}");
        assert!(examination.form.iter().any(|said| said.contains(words)), "{:?}", examination.form);
        assert!(examination.says.contains("refused for its form"), "{}", examination.says);
    }
    let message = read(MESSAGE.as_bytes());
    let examination = examine(&message, Arrival::default(), &dns, "y.test", now()).await;
    assert!(examination.form.is_empty());
}

#[tokio::test]
async fn what_is_not_known_is_not_checked() {
    let (text, zone) = signed();
    let message = read(text.as_bytes());
    let dns = OriginDns(Arc::new(zone));
    let examination = examine(&message, Arrival::default(), &dns, "y.test", now()).await;
    assert_eq!(told(&examination).0, "dkim=pass arc=none dmarc=pass");
}

/// As in a file, in an mbox, and in any pieces.
#[tokio::test]
async fn line_ends_and_pieces_change_nothing() {
    let (text, zone) = signed();
    let dns = OriginDns(Arc::new(zone));
    let unix = text.replace("\r\n", "\n");
    let mbox = format!("From ana@x.test Mon Jan  1 00:00:00 2027\n{unix}");
    for (text, has_bare_lf) in [(&text, false), (&unix, true), (&mbox, true)] {
        for size in [1, 2, 3, 5, 7, 4_096] {
            let mut reader = MessageReader::default();
            text.as_bytes().chunks(size).for_each(|piece| reader.write(piece));
            let message = reader.finish();
            assert_eq!(message.has_bare_lf, has_bare_lf);
            let arrival = Arrival::default();
            let examination = examine(&message, arrival, &dns, "y.test", now()).await;
            assert_eq!(told(&examination).0, "dkim=pass arc=none dmarc=pass", "{size}: {text}");
        }
    }
    for text in ["", "F", "From", "From ", "From \n", "\r", "\n"] {
        let _ = read(text.as_bytes());
    }
}
