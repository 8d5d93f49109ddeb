//! DMARC reports from one server to the other (RFC 9990), and what the operator sees of them.

use super::*;
use flate2::read::GzDecoder;
use posta_server::{
    admin::{ReportSubject, ReportsQuery},
    deliver::checked::OriginPolicy,
    reports::received::statistics::{DayCount, DmarcStatistics, ReportCount},
    settings::LoopbackTrust,
};
use std::io::Read;

/// Both servers check the mail of everybody, and `x.test` and `y.test` want reports.
async fn reporting() -> Two {
    let mut zone = zone();
    for (name, text) in [
        ("x.test", "v=spf1 +all"),
        ("_dmarc.x.test", "v=DMARC1; p=none; rua=mailto:postmaster@x.test!1m"),
        ("mx.y.test", "v=spf1 +all"),
        ("_dmarc.y.test", "v=DMARC1; p=reject; rua=mailto:bob@y.test"),
    ] {
        zone.texts.insert(name.to_owned(), vec![text.to_owned()]);
    }
    let change = |settings: &mut Settings| {
        settings.relay =
            RelaySettings { private_addresses: PrivateAddresses::Allow, ..relay_settings() };
        settings.relays_for = Vec::new();
        settings.trust_loopback = LoopbackTrust::Nothing;
        settings.checks = Some(OriginPolicy { obey: true, trusted_sealers: Vec::new() });
    };
    two_under(Arc::new(zone), Box::new(change)).await
}

impl Two {
    /// Brings a stranger's message from `ana@x.test` to a server.
    async fn bring(&self, host: &str, sender: &str, to: &str) {
        let said = self
            .say(
                &format!("{host}:25"),
                &format!(
                    "EHLO c.test\r\nMAIL FROM:<{sender}>\r\nRCPT TO:<{to}>\r\nDATA\r\n\
                     From: <ana@x.test>\r\nSubject: s\r\n\r\nbody\r\n.\r\nQUIT\r\n"
                ),
            )
            .await;
        assert!(said.contains("kept as "), "{said}");
    }

    /// Waits until our operator sees the figures of this many reports.
    async fn reported(&self, count: u64) -> DmarcStatistics {
        let request = || {
            Request::Reports(ReportsQuery {
                subject: ReportSubject::Dmarc,
                domain: None,
                within: None,
            })
        };
        for _ in 0..PATIENCE.as_secs() {
            match self.ours.admin.execute(request()).await.unwrap() {
                Response::DmarcReports(statistics) if statistics.reports.counted == count => {
                    return statistics;
                }
                Response::DmarcReports(_) => sleep(Duration::from_secs(1)).await,
                other => panic!("{other:?}"),
            }
        }
        panic!("there are no {count} reports");
    }
}

/// Returns the report in a message.
pub(super) fn unpacked(message: &str) -> String {
    let (_, attachment) = message.split_once(".xml.gz\"\r\n\r\n").unwrap();
    let (packed, _) = attachment.split_once("\r\n--report--").unwrap();
    let standard = base64::engine::general_purpose::STANDARD;
    let packed = base64::Engine::decode(&standard, packed.replace("\r\n", "")).unwrap();
    let mut text = String::new();
    GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    text
}

/// A day later, the domain hears who sent mail in its name, and its operator sees it.
#[tokio::test(start_paused = true)]
async fn a_domain_hears_who_sends_in_its_name() {
    let two = reporting().await;
    two.bring("192.0.2.25", "ana@x.test", "bob@y.test").await;
    two.bring("192.0.2.25", "ana@x.test", "bob@y.test").await;
    two.bring("192.0.2.25", "s@evil.test", "bob@y.test").await;
    two.inbox("192.0.2.25", "bob", 3).await;
    two.pass(24 * HOUR);
    let report = two.inbox("127.0.0.1", "ana", 1).await;
    for part in [
        "Return-Path: <>\r\n",
        "From: DMARC reports <postmaster@y.test>\r\n",
        "Subject: Report Domain: x.test Submitter: mx.y.test Report-ID:\r\n <2027-01-15.x.test@mx.y.test>\r\n",
        "Content-Type: application/gzip\r\n",
        "filename=\"mx.y.test!x.test!1799971200!1800057599.xml.gz\"\r\n",
        "dmarc=pass header.from=y.test policy.dmarc=reject\r\n",
    ] {
        assert!(report.contains(part), "{part}\n---\n{report}");
    }
    let text = unpacked(&report);
    for part in [
        "<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">",
        "<begin>1799971200</begin>",
        "<domain>x.test</domain>",
        "<p>none</p>",
        "<count>2</count>\n      <policy_evaluated>\n        <disposition>none</disposition>\n        \
         <dkim>fail</dkim>\n        <spf>pass</spf>\n",
        "<count>1</count>\n      <policy_evaluated>\n        <disposition>none</disposition>\n        \
         <dkim>fail</dkim>\n        <spf>fail</spf>\n",
        "<envelope_from>evil.test</envelope_from>",
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
    let statistics = two.reported(1).await;
    let day = DayCount { date: "2027-01-15".to_owned(), passed: 2, failed: 1 };
    assert_eq!(statistics.days, [day]);
    let [source] = &statistics.sources[..] else { panic!("{statistics:?}") };
    assert_eq!((source.messages, source.passed, source.spf, source.dkim), (3, 2, 2, 0));
    assert_eq!(source.reporters, ["mx.y.test"]);
    // The report itself is not reported upon, or the two would go on for ever.
    two.pass(24 * HOUR);
    sleep(Duration::from_secs(20 * 60)).await;
    let said = two.say("192.0.2.25:110", "USER bob\r\nPASS parola\r\nSTAT\r\nQUIT\r\n").await;
    assert!(said.contains("+OK 3 "), "{said}");
}

/// What a server finds about its own domain is in its statistics without a mail.
#[tokio::test(start_paused = true)]
async fn forgeries_of_our_own_domain_are_counted_here() {
    let two = reporting().await;
    two.bring("127.0.0.1", "s@evil.test", "ana@x.test").await;
    two.pass(24 * HOUR);
    let statistics = two.reported(1).await;
    assert_eq!(statistics.sources[0].reporters, ["mail.x.test"]);
    assert_eq!((statistics.sources[0].messages, statistics.sources[0].passed), (1, 0));
    let said = two.say("127.0.0.1:110", "USER ana\r\nPASS parola\r\nSTAT\r\nQUIT\r\n").await;
    assert!(said.contains("+OK 1 "), "{said}");
}

/// A report that nobody vouches for is counted, but its figures are not.
#[tokio::test(start_paused = true)]
async fn reports_of_unknown_senders_are_not_believed() {
    let two = reporting().await;
    let xml = "<feedback><report_metadata><org_name>r</org_name><report_id>1</report_id><date_range>\
               <begin>1799971200</begin><end>1800057599</end></date_range></report_metadata>\
               <policy_published><domain>x.test</domain></policy_published><record><row>\
               <source_ip>192.0.2.7</source_ip><count>1000000</count><policy_evaluated><dkim>pass</dkim>\
               </policy_evaluated></row></record></feedback>";
    for sender in ["s@evil.test", "s@evil.test", "s@x.test"] {
        let said = two
            .say(
                "127.0.0.1:25",
                &format!(
                    "EHLO c.test\r\nMAIL FROM:<{sender}>\r\nRCPT TO:<postmaster@x.test>\r\nDATA\r\n\
                     From: <s@evil.test>\r\nSubject: Report domain: x.test Submitter: r\r\n\
                     Content-Type: text/xml\r\n\r\n{xml}\r\n.\r\nQUIT\r\n"
                ),
            )
            .await;
        assert!(said.contains("kept as "), "{said}");
    }
    let statistics = two.reported(1).await;
    assert_eq!(statistics.reports, ReportCount { counted: 1, unverified: 1 });
    assert_eq!(statistics.days[0].passed, 1_000_000);
    two.inbox("127.0.0.1", "ana", 3).await;
}
