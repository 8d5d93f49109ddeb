//! The content of reports to senders: only a server's own answer is quoted as such, and the part of the
//! message that a report mentions is attached.

use super::{
    hops::{Protection, hop},
    *,
};
use crate::settings::{relay_settings, rules};
use posta_net::transport::{Endpoint, Stream};
use posta_server::send::{Rules, Smarthost, SmarthostTls};
use tokio::io::{AsyncBufReadExt, BufReader};

/// The address of the odd servers.
const ODD: [u8; 4] = [192, 0, 2, 77];

/// A server with these answers to EHLO and to RCPT.
#[derive(Clone, Copy)]
struct Odd {
    hello: &'static str,
    rcpt: &'static str,
}

impl Odd {
    async fn start(self, net: &MemoryNet) {
        let endpoint: Endpoint = "192.0.2.77:25".parse().unwrap();
        let mut listener = net.bind(&endpoint).await.unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.serve(stream));
            }
        });
    }

    async fn serve(self, stream: Box<dyn Stream>) -> std::io::Result<()> {
        let (reading, mut writing) = tokio::io::split(stream);
        writing.write_all(b"220 mx.odd.test\r\n").await?;
        let mut lines = BufReader::new(reading).lines();
        while let Some(line) = lines.next_line().await? {
            let answer = match line.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" => self.hello,
                "RCPT" => self.rcpt,
                "DATA" => "503 nobody is left",
                "QUIT" => "221 bye",
                _ => "250 ok",
            };
            writing.write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
        Ok(())
    }
}

async fn with(odd: Odd) -> Two {
    let mut zone = zone();
    zone.exchangers.insert("odd.test".to_owned(), vec![(10, "mx.odd.test".to_owned())]);
    zone.addresses.insert("mx.odd.test".to_owned(), vec![ODD.into()]);
    let private_addresses = PrivateAddresses::Allow;
    let two = two_with(zone, RelaySettings { private_addresses, ..relay_settings() }).await;
    odd.start(&two.net).await;
    two
}

const PLAIN: Odd = Odd { hello: "250 mx.odd.test", rcpt: "550 5.1.1 nobody" };

/// RFC 3464 §2.3.6: the server made no statement about the message.
#[tokio::test(start_paused = true)]
async fn what_we_decide_is_not_told_as_an_answer() {
    let two = with(Odd { hello: "250-mx.odd.test\r\n250 SIZE 10", ..PLAIN }).await;
    two.send("<ana@x.test>", &["<bob@odd.test>"]).await;
    let report = two.inbox("127.0.0.1", "ana", 1).await;
    for part in [
        "Status: 5.3.4\r\nRemote-MTA: dns; mx.odd.test\r\nDiagnostic-Code: x-posta; The message has ",
        "The reason:\r\n    The message has ",
        " octets, and the server takes 10 at most\r\n",
    ] {
        assert!(report.contains(part), "{part}\n---\n{report}");
    }
    assert!(!report.contains(" answered") && !report.contains("552"), "{report}");
    let story = two.trace("bob@odd.test").await;
    let is_ours = |event: &Event| match &event.what {
        What::Attempted { recipients, .. } => recipients[0].ours,
        _ => false,
    };
    assert!(story.iter().any(is_ours), "{story:?}");
}

/// RFC 3463 §3.8: failures of TLS have a security status, both while the mail is tried and when it is
/// given up, and the certificate's fault is reported.
#[tokio::test(start_paused = true)]
async fn faults_of_tls_are_about_security() {
    let smarthost = Smarthost {
        host: "out.test".to_owned(),
        port: 587,
        tls: SmarthostTls::StartTls,
        login: None,
    };
    let all = Rules { route: Some(Arc::new(smarthost)), ..rules() };
    let mut zone = zone();
    zone.addresses.insert("out.test".to_owned(), vec![[192, 0, 2, 40].into()]);
    for (name, protection, words) in [
        ("other.test", Protection::Tls, "the certificate is for other.test, not for out.test"),
        ("out.test", Protection::None, "no TLS: it is not offered"),
    ] {
        let settings = RelaySettings { all: all.clone(), ..relay_settings() };
        let two = two_with(zone.clone(), settings).await;
        hop(&two.net, (name, "192.0.2.40:587"), protection, &[]).await;
        two.send("<ana@x.test>", &["<a@far.test> NOTIFY=FAILURE"]).await;
        let line = two.tried(Some(1)).await.unwrap();
        let reply = line.recipients[0].reply.clone().unwrap();
        let status = if protection == Protection::Tls { "7.5" } else { "7.4" };
        assert!(reply.starts_with(&format!("451 4.{status} ")) && reply.contains(words), "{reply}");
        two.pass(6 * 24 * HOUR);
        let report = two.inbox("127.0.0.1", "ana", 1).await;
        for part in [&*format!("Status: 5.{status}\r\n"), words, "Diagnostic-Code: x-posta; "] {
            assert!(report.contains(part), "{part}\n{report}");
        }
        assert!(!report.contains(" answered"), "{report}");
    }
}

/// RFC 3463 §3.5: the end of all attempts has its own status. The last answer of the server is quoted.
#[tokio::test(start_paused = true)]
async fn what_is_given_up_has_its_own_status() {
    let two = with(Odd { rcpt: "450 4.2.0 later", ..PLAIN }).await;
    two.send("<ana@x.test>", &["<bob@odd.test> NOTIFY=FAILURE"]).await;
    two.tried(Some(1)).await;
    two.pass(6 * 24 * HOUR);
    let report = two.inbox("127.0.0.1", "ana", 1).await;
    for part in [
        "Status: 5.4.7\r\nRemote-MTA: dns; mx.odd.test\r\nDiagnostic-Code: smtp; 450 4.2.0 later\r\n",
        "\r\nThe server mx.odd.test last answered:\r\n    450 4.2.0 later\r\n",
        "Delivery has been attempted since ",
    ] {
        assert!(report.contains(part), "{part}\n---\n{report}");
    }
}

/// RFC 3461 §4.3: the report includes the whole message, unless it is long or has RET=HDRS, and says
/// which.
#[tokio::test(start_paused = true)]
async fn a_report_brings_back_what_it_says() {
    let two = with(PLAIN).await;
    let long = format!("{}\r\n", "x".repeat(70)).repeat(900);
    for (number, (ret, body, is_whole)) in [
        ("", "body", true),
        (" RET=FULL", "body", true),
        (" RET=HDRS", "body", false),
        (" RET=FULL", long.as_str(), false),
    ]
    .into_iter()
    .enumerate()
    {
        let said = format!(
            "EHLO c.test\r\nMAIL FROM:<ana@x.test>{ret}\r\nRCPT TO:<bob@odd.test>\r\nDATA\r\n\
             Subject: s\r\n\r\n{body}\r\n.\r\nQUIT\r\n"
        );
        two.say("127.0.0.1:587", &said).await;
        let report = two.inbox("127.0.0.1", "ana", number + 1).await;
        let (kind, words) = match is_whole {
            true => ("message/rfc822", "Your message is attached.\r\n"),
            false => ("text/rfc822-headers", "The header section of your message is attached,"),
        };
        assert!(report.contains(&format!("Content-Type: {kind}\r\n")), "{ret}: {report}");
        assert!(report.contains(words), "{ret}: {report}");
        assert_eq!(report.contains("\r\nbody\r\n"), is_whole && body == "body", "{ret}: {report}");
        assert!(report.contains("\r\nSubject: s\r\n"), "{ret}: {report}");
    }
}

/// A message that is damaged in the queue is reported at once, and not tried for days.
#[tokio::test(start_paused = true)]
async fn a_message_that_is_damaged_is_reported() {
    let two = with(PLAIN).await;
    let id = two.send("<ana@x.test> HOLDFOR=3600", &["<bob@y.test>"]).await;
    two.ours.store.discard(id.parse().unwrap()).await.unwrap();
    two.pass(HOUR);
    let report = two.inbox("127.0.0.1", "ana", 1).await;
    assert!(report.contains("Status: 5.3.0\r\n"), "{report}");
    assert!(report.contains("damaged"), "{report}");
    two.tried(None).await;
}

/// RFC 3464 §2: a reply to a report reaches a person, if anyone looks after the server at all.
#[tokio::test(start_paused = true)]
async fn a_report_comes_from_an_address_that_can_be_answered() {
    let two = with(PLAIN).await;
    let (name, targets) = ("postmaster@x.test".into(), vec!["ana@x.test".into()]);
    two.ours.admin.execute(Request::AliasAdd { name, targets }).await.unwrap();
    let field = "\r\nFrom: Mail Delivery System <postmaster@x.test>\r\n";
    two.send("<ana@x.test>", &["<bob@odd.test>"]).await;
    let report = two.inbox("127.0.0.1", "ana", 1).await;
    assert!(report.contains(field), "{report}");
    // For a sender elsewhere, since this server's name is not a local domain.
    two.send("<bob@y.test>", &["<ana@x.test> NOTIFY=SUCCESS"]).await;
    let report = two.inbox("192.0.2.25", "bob", 1).await;
    assert!(report.contains(field), "{report}");
    assert!(report.contains("Action: delivered\r\n"), "{report}");
}

/// RFC 8460: a day later, the domain gets a report about TLS.
#[tokio::test(start_paused = true)]
async fn a_domain_hears_how_its_servers_were_reached() {
    let two = two().await;
    two.send("<ana@x.test>", &["<bob@y.test>"]).await;
    two.inbox("192.0.2.25", "bob", 1).await;
    two.tried(None).await;
    two.pass(24 * HOUR);
    let report = two.inbox("127.0.0.1", "ana", 1).await;
    assert!(report.starts_with("Return-Path: <>\r\n"), "{report}");
    for part in
        ["report-type=\"tlsrpt\"", "TLS-Report-Domain: y.test\r\n", "application/tlsrpt+gzip"]
    {
        assert!(report.contains(part), "{part}\n{report}");
    }
    let (_, attachment) = report.split_once(".json.gz\"\r\n\r\n").unwrap();
    let (packed, _) = attachment.split_once("\r\n--report--").unwrap();
    let packed = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        packed.replace("\r\n", ""),
    );
    let mut text = String::new();
    let packed = packed.unwrap();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut text)
        .unwrap();
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["organization-name"], "mail.x.test");
    let policies = read["policies"].as_array().unwrap();
    let of_kind = |kind: &str| policies.iter().find(|told| told["policy"]["policy-type"] == kind);
    let vain = &of_kind("sts").unwrap()["failure-details"][0];
    assert_eq!(vain["result-type"], "sts-policy-fetch-error");
    assert!(vain["receiving-mx-hostname"].is_null(), "{vain}");
    let policy = of_kind("no-policy-found").unwrap();
    assert_eq!(policy["policy"]["mx-host"][0], "mx.y.test");
    assert_eq!(policy["summary"]["total-failure-session-count"], 1);
    assert_eq!(policy["failure-details"][0]["result-type"], "starttls-not-supported");
}
