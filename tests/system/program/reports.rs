//! `posta reports`: what other servers report, as the operator sees it.

use flate2::{Compression, write::GzEncoder};
use posta_mail::Timestamp;
use posta_net::clock::{Clock, SystemClock};
use posta_tests::{DnsRecords, Place, Wire, smtp, stdout};
use std::{io::Write as _, thread, time::Duration};

const DAY: u64 = 24 * 60 * 60;

/// The beginning of yesterday, in seconds since 1970.
fn yesterday() -> u64 {
    let now = SystemClock.now().as_second() as u64;
    (now / DAY - 1) * DAY
}

fn date(seconds: u64) -> String {
    let time = Timestamp::from_second(seconds as i64).unwrap().to_string();
    time[..10].to_owned()
}

/// A DMARC report about a day: source, messages, DKIM, SPF and disposition of each row.
fn dmarc(reporter: &str, begin: u64, rows: &[(&str, u64, &str, &str, &str)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(source, count, dkim, spf, disposition)| {
            format!(
                "<record><row><source_ip>{source}</source_ip><count>{count}</count><policy_evaluated>\
                 <disposition>{disposition}</disposition><dkim>{dkim}</dkim><spf>{spf}</spf>\
                 </policy_evaluated></row></record>"
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\"?><feedback><report_metadata><org_name>{reporter}</org_name>\
         <report_id>{begin}</report_id><date_range><begin>{begin}</begin><end>{}</end></date_range>\
         </report_metadata><policy_published><domain>x.test</domain><p>none</p></policy_published>\
         {rows}</feedback>",
        begin + DAY - 1
    )
}

fn tls(reporter: &str, begin: u64) -> String {
    let date = date(begin);
    format!(
        r#"{{"organization-name": "{reporter}", "report-id": "{begin}",
        "date-range": {{"start-datetime": "{date}T00:00:00Z", "end-datetime": "{date}T23:59:59Z"}},
        "policies": [{{"policy": {{"policy-type": "sts", "policy-domain": "x.test"}},
        "summary": {{"total-successful-session-count": 310, "total-failure-session-count": 4}},
        "failure-details": [{{"result-type": "certificate-expired",
        "receiving-mx-hostname": "mx2.x.test", "failed-session-count": 4}}]}}]}}"#
    )
}

/// Sends a report as mail, packed with gzip.
fn report(wire: &mut Wire, from: &str, kind: &str, text: &str) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    let standard = base64::engine::general_purpose::STANDARD;
    let packed = base64::Engine::encode(&standard, encoder.finish().unwrap());
    let lines: Vec<_> =
        packed.as_bytes().chunks(76).map(|it| str::from_utf8(it).unwrap()).collect();
    for line in [
        format!("MAIL FROM:<r@{from}>"),
        "RCPT TO:<postmaster@x.test>".to_owned(),
        "DATA".to_owned(),
    ] {
        let answer = wire.say(&line);
        assert!(answer.starts_with(['2', '3']), "{line}: {answer}");
    }
    wire.write(&format!(
        "From: <r@{from}>\r\nSubject: Report Domain: x.test Submitter: {from} Report-ID: <1>\r\n\
         MIME-Version: 1.0\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n.\r\n",
        lines.join("\r\n")
    ));
    let answer = wire.line();
    assert!(answer.starts_with("250"), "{answer}");
}

/// A server that checks the mail of everybody, and has the reports of three days.
fn reported(yesterday: u64) -> Place {
    let mut place = Place::new(&[("smtp", "none")]);
    let mut names = DnsRecords::default();
    for domain in ["mail.example.net", "isp.example"] {
        names = names.txt(domain, "v=spf1 +all");
    }
    // Only one of the names leads back to its address.
    let names = names
        .ptr("10.2.0.192.in-addr.arpa", "mail.x.test")
        .address("mail.x.test", [192, 0, 2, 10])
        .ptr("66.113.0.203.in-addr.arpa", "mail.bank.example");
    place.configure(&names.serve().configuration());
    place.configure("[submission]\ntrust-loopback = false\n");
    place.add_account("ana@x.test");
    place.start();
    let none = stdout(&place.posta(&["reports", "dmarc"], ""));
    assert_eq!(none, "No reports about these days have arrived.\n");
    let mut wire = smtp(place.address("smtp"));
    let gzip = "application/gzip";
    for (days, forged) in [(2, 3), (1, 40), (0, 5)] {
        let begin = yesterday - days * DAY;
        let rows = [
            ("192.0.2.10", 1_204 + 31 * days, "pass", "pass", "none"),
            ("198.51.100.7", 61, "pass", "fail", "none"),
            ("203.0.113.66", forged, "fail", "fail", "quarantine"),
        ];
        report(&mut wire, "mail.example.net", gzip, &dmarc("example.net", begin, &rows));
    }
    let rows =
        [("192.0.2.10", 77, "pass", "pass", "none"), ("2001:db8::25", 12, "fail", "fail", "none")];
    report(&mut wire, "isp.example", gzip, &dmarc("isp.example", yesterday, &rows));
    let forged = dmarc("evil", yesterday, &[("192.0.2.1", 9, "pass", "pass", "none")]);
    report(&mut wire, "evil.test", gzip, &forged);
    report(&mut wire, "isp.example", "application/tlsrpt+gzip", &tls("isp.example", yesterday));
    place
}

/// Waits until so many reports are counted, and returns what they say.
fn counted(place: &Place, subject: &str, count: u64) -> serde_json::Value {
    for _ in 0..100 {
        let json = stdout(&place.posta(&["reports", subject, "x.test", "--json"], ""));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        if json["reports"]["counted"] == count {
            return json;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("there are no {count} reports");
}

#[test]
fn reports_are_added_up_and_drawn() {
    let yesterday = yesterday();
    let place = reported(yesterday);
    let tls = counted(&place, "tls", 1);
    assert_eq!(tls["failures"][0]["reason"], "certificate-expired");
    let json = counted(&place, "dmarc", 4);
    assert_eq!(json["reports"]["unverified"], 1);
    assert_eq!(json["sources"][0]["source"], "192.0.2.10");
    assert_eq!(json["sources"][0]["name"], "mail.x.test");
    let named = json["sources"].as_array().unwrap().iter().filter(|it| !it["name"].is_null());
    assert_eq!(named.count(), 1, "{json:#}");
    assert_eq!(json["sources"][0]["messages"], 3 * 1_204 + 31 * 3 + 77);
    let svg = std::env::temp_dir().join(format!("posta-reports-{}.svg", std::process::id()));
    let file = svg.display().to_string();
    let shown = stdout(&place.posta(&["reports", "dmarc", "x.test", "--svg", &file], ""));
    for words in [
        "4025 messages from ",
        ", by 4 reports: 3965 passed DMARC, 60 failed\n",
        "Not counted: 1 more, since it is not shown which domain sent them\n",
        "SOURCE",
        "mail.x.test",
        "example.net, isp.example",
    ] {
        assert!(shown.contains(words), "{words}\n---\n{shown}");
    }
    let drawn = std::fs::read_to_string(&svg).unwrap();
    std::fs::remove_file(&svg).unwrap();
    let day = format!("<title>{}: 1296 passed, 40 failed</title>", date(yesterday - DAY));
    assert!(drawn.contains(&day), "{day}\n---\n{drawn}");
    let shown = stdout(&place.posta(&["reports", "dmarc", "x.test", "--since", "24h"], ""));
    assert!(shown.contains("by 2 reports"), "{shown}");
    let shown = stdout(&place.posta(&["reports", "tls"], ""));
    assert!(shown.contains("314 TLS sessions from ") && shown.contains("mx2.x.test"), "{shown}");
    let refused = place.posta(&["reports", "dmarc", "y.test"], "");
    assert!(!refused.status.success());
}
