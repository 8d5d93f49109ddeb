//! What a domain's owner publishes, and what the world sees of it.

use crate::documents::documented;
use posta_tests::{DnsRecords, Place, stdout};

/// A place whose configuration names addresses and services that others could reach.
fn place() -> Place {
    let place = Place::new(&[]);
    place.configure(
        "[relay]\nsource = [\"198.41.0.4\", \"2001:500::53\"]\n\
         [[listen]]\nprotocol = \"submission\"\naddress = \"0.0.0.0:465\"\ntls = \"implicit\"\n\
         [[listen]]\nprotocol = \"pop3\"\naddress = \"0.0.0.0:110\"\ntls = \"starttls\"\n\
         [[listen]]\nprotocol = \"pop3\"\naddress = \"127.0.0.1:995\"\ntls = \"implicit\"\n\
         [[listen]]\nprotocol = \"https\"\naddress = \"0.0.0.0:443\"\ntls = \"implicit\"\n",
    );
    stdout(&place.posta(&["domain", "add", "x.test"], ""));
    place
}

#[test]
fn the_records_of_a_domain_are_those_of_the_configuration() {
    let place = place();
    let zone = stdout(&place.posta(&["domain", "dns", "X.test"], ""));
    for line in [
        "x.test. 3600 IN MX 10 mail.x.test.",
        "mail.x.test. 3600 IN A 198.41.0.4",
        "mail.x.test. 3600 IN AAAA 2001:500::53",
        "; 4.0.41.198.in-addr.arpa. 3600 IN PTR mail.x.test.",
        "x.test. 3600 IN TXT \"v=spf1 mx ~all\"",
        "mta-sts.x.test. 3600 IN CNAME mail.x.test.",
        "_submissions._tcp.x.test. 3600 IN SRV 0 1 465 mail.x.test.",
        "_pop3._tcp.x.test. 3600 IN SRV 10 1 110 mail.x.test.",
        "_pop3s._tcp.x.test. 3600 IN SRV 0 0 0 .",
        "_imaps._tcp.x.test. 3600 IN SRV 0 0 0 .",
    ] {
        assert!(zone.lines().any(|found| found == line), "{line}\n{zone}");
    }
    let json = stdout(&place.posta(&["domain", "dns", "x.test", "--json"], ""));
    let records: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let dmarc = records.iter().find(|record| record["purpose"] == "dmarc").unwrap();
    assert_eq!(dmarc["name"], "_dmarc.x.test");
    assert_eq!(dmarc["data"], "\"v=DMARC1; p=none; rua=mailto:postmaster@x.test\"");
    let refused = place.posta(&["domain", "dns", "y.test"], "");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(words.contains("y.test is no local domain: `posta domain add y.test`"), "{words}");
}

fn ask(place: &Place, names: DnsRecords) {
    place.configure(&names.serve().configuration());
}

#[test]
fn a_domain_is_checked_and_the_exit_status_tells() {
    let place = place();
    let status = |arguments: &[&str]| {
        let checked = place.posta(&[&["check"], arguments].concat(), "");
        (checked.status.code(), String::from_utf8_lossy(&checked.stdout).into_owned())
    };
    assert_eq!(status(&["y.test"]).0, Some(3), "it is not local");
    let reverse = "3.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.5.0.1.0.0.2.ip6.arpa";
    let names = DnsRecords::default()
        .mx("x.test", "mail.x.test")
        .address("mail.x.test", [198, 41, 0, 4])
        .ptr("4.0.41.198.in-addr.arpa", "mail.x.test")
        .ptr(reverse, "elsewhere.test")
        .txt("x.test", "v=spf1 mx ip6:2001:500::53 ~all")
        .address("2.0.0.127.list.test", [127, 0, 0, 2])
        .address("4.0.41.198.list.test", [127, 0, 0, 3])
        .txt("4.0.41.198.list.test", "too much \u{1b}[2J mail");
    ask(&place, names);
    let arguments = ["x.test", "--no-ports", "--block-list", "list.test"];
    let (code, text) = status(&arguments);
    assert_eq!(code, Some(2), "{text}");
    for words in [
        "x.test, whose server is mail.x.test",
        "ok      MX           mail goes to mail.x.test",
        "warning addresses    mail.x.test has 198.41.0.4, and lacks addresses of this machine",
        "mail.x.test. 3600 IN AAAA 2001:500::53",
        "error   reverse DNS  2001:500::53 has the name elsewhere.test, which does not lead back to it",
        "ok      SPF          lets 198.41.0.4, 2001:500::53 send (1 of 10 look-ups)",
        "_dmarc.x.test. 3600 IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@x.test\"",
        "error   block lists  198.41.0.4 is on list.test: too much [2J mail",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let (code, json) = status(&[&arguments[..], &["--json"]].concat());
    let checked: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &checked[0]["severity"]), (Some(2), &"error".into()));
    assert_eq!(checked[0]["domain"], "x.test");
    let names = checked[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(documented("check [DOMAIN]").0, names);
}

#[test]
fn a_message_is_checked() {
    let place = Place::new(&[]);
    let names = DnsRecords::default()
        .txt("x.test", "v=spf1 ip4:198.41.0.4 -all")
        .txt("_dmarc.x.test", "v=DMARC1; p=reject")
        .address("mx.x.test", [198, 41, 0, 4]);
    ask(&place, names);
    let message = "Return-Path: <ana@x.test>\nReceived: from mx.x.test (mx.x.test [198.41.0.4])\n\tby \
                   mail.y.test with ESMTP\nFrom: ana@x.test\nSubject: hello\n\nHello\n";
    let checked = |arguments: &[&str]| {
        let output = place.posta(&[&["check", "message", "-"], arguments].concat(), message);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = checked(&[]);
    assert_eq!(code, Some(0), "{text}");
    for words in [
        "client 198.41.0.4, greeting mx.x.test, sender ana@x.test",
        "Lines end with LF",
        "warning iprev=permerror policy.iprev=198.41.0.4",
        "ok      spf=pass smtp.mailfrom=ana@x.test",
        "by the term \"ip4:198.41.0.4\" of x.test",
        "ok      dmarc=pass header.from=x.test policy.dmarc=reject",
        "The message passes: SPF of x.test shows that it is from x.test.",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let (code, text) = checked(&["--ip", "198.41.0.5"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("spf=fail") && text.contains("wants such mail refused"), "{text}");
    let (code, json) = checked(&["--from", "<>", "--json"]);
    let examined: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(examined["arrival"]["sender"], "");
    assert_eq!(code, Some(2), "SPF of the greeting has no record: {json}");
    let names = examined.as_object().unwrap().keys().cloned().collect();
    assert_eq!(documented("check message FILE").0, names);
    let missing = place.posta(&["check", "message", "/nowhere"], "");
    assert_eq!(missing.status.code(), Some(3));
}
