//! What a domain's owner publishes, and what the world sees of it.

use crate::documents::documented;
use posta_tests::{Place, stdout};
use std::{net::UdpSocket, thread};

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

/// The zone that the name server of these tests has: name, type and data of each record.
#[derive(Default)]
struct Zone(Vec<(String, u16, Vec<u8>)>);

impl Zone {
    fn name(text: &str) -> Vec<u8> {
        let labels = text.split('.').filter(|label| !label.is_empty());
        let mut name: Vec<u8> =
            labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
        name.push(0);
        name
    }

    fn address(self, name: &str, address: [u8; 4]) -> Self {
        self.add(name, 1, address.to_vec())
    }

    fn ptr(self, name: &str, host: &str) -> Self {
        self.add(name, 12, Self::name(host))
    }

    fn mx(self, name: &str, host: &str) -> Self {
        self.add(name, 15, [vec![0, 10], Self::name(host)].concat())
    }

    fn txt(self, name: &str, text: &str) -> Self {
        let strings = text.as_bytes().chunks(255);
        let data = strings.flat_map(|string| [&[string.len() as u8], string].concat()).collect();
        self.add(name, 16, data)
    }

    fn add(mut self, name: &str, kind: u16, data: Vec<u8>) -> Self {
        self.0.push((name.to_owned(), kind, data));
        self
    }

    /// Answers a question (RFC 1035 §4.1): with what there is, with nothing, or that there is no such name.
    fn answer(&self, question: &[u8]) -> Vec<u8> {
        let mut name = String::new();
        let mut at = 12;
        while question[at] > 0 {
            let label = &question[at + 1..][..question[at].into()];
            name = name + str::from_utf8(label).unwrap() + ".";
            at += 1 + label.len();
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
        let below = format!(".{name}");
        let exists = self.0.iter().any(|(known, ..)| *known == name || known.ends_with(&below));
        let found = self.0.iter().filter(|(known, its, _)| *known == name && *its == kind);
        let mut count = 0;
        let mut records = Vec::new();
        for (_, _, data) in found {
            count += 1;
            // The name of the question, the type, IN, a minute.
            records.extend([0xc0, 12, (kind >> 8) as u8, kind as u8, 0, 1, 0, 0, 0, 60]);
            records.extend((data.len() as u16).to_be_bytes());
            records.extend(data);
        }
        let flags = [0x85, if exists { 0x80 } else { 0x83 }];
        let counts = [0, 1, 0, count, 0, 0, 0, 0];
        [&question[..2], &flags, &counts, &question[12..at + 5], &records].concat()
    }

    /// Serves the zone until the test ends, and returns the name server's address.
    fn serve(self) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let mut question = [0; 1_232];
            while let Ok((length, client)) = socket.recv_from(&mut question) {
                socket.send_to(&self.answer(&question[..length]), client).unwrap();
            }
        });
        address
    }
}

fn ask(place: &Place, zone: Zone) {
    let server = zone.serve();
    place.configure(&format!("[dns]\nservers = [\"{server}\"]\ndnssec = false\n"));
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
    let zone = Zone::default()
        .mx("x.test", "mail.x.test")
        .address("mail.x.test", [198, 41, 0, 4])
        .ptr("4.0.41.198.in-addr.arpa", "mail.x.test")
        .ptr(reverse, "elsewhere.test")
        .txt("x.test", "v=spf1 mx ip6:2001:500::53 ~all")
        .address("2.0.0.127.list.test", [127, 0, 0, 2])
        .address("4.0.41.198.list.test", [127, 0, 0, 3])
        .txt("4.0.41.198.list.test", "too much \u{1b}[2J mail");
    ask(&place, zone);
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
    let zone = Zone::default()
        .txt("x.test", "v=spf1 ip4:198.41.0.4 -all")
        .txt("_dmarc.x.test", "v=DMARC1; p=reject")
        .address("mx.x.test", [198, 41, 0, 4]);
    ask(&place, zone);
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
