//! The parts of a message's envelope that the next server receives, and the extensions that it need not
//! have.

use super::*;
use crate::settings::relay_settings;
use std::sync::Mutex;
use tokio::io::{AsyncBufReadExt, BufReader};

/// All lines that a server of `next.test` received, content included.
pub(super) type Heard = Arc<Mutex<Vec<String>>>;

/// Starts a server that answers everything and offers these extensions.
pub(super) async fn next_hop(two: &Two, offers: &'static str) -> Heard {
    let heard = Heard::default();
    let mut listener = two.net.bind(&"192.0.2.30:25".parse().unwrap()).await.unwrap();
    let noted = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let noted = noted.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                stream.write_all(b"220 next.test\r\n").await.unwrap();
                let (mut line, mut in_content) = (String::new(), false);
                while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                    let said = line.trim_end().to_owned();
                    let reply = match (in_content, said.split(' ').next().unwrap()) {
                        (true, ".") => "250 Ok\r\n".to_owned(),
                        (true, _) => String::new(),
                        (false, "EHLO") => format!("250-next.test\r\n{offers}"),
                        (false, "DATA") => "354 Go on\r\n".to_owned(),
                        (false, "QUIT") => "221 Bye\r\n".to_owned(),
                        (false, _) => "250 Ok\r\n".to_owned(),
                    };
                    in_content = reply.is_empty() || reply.starts_with("354");
                    noted.lock().unwrap().push(said);
                    stream.write_all(reply.as_bytes()).await.unwrap();
                    line.clear();
                }
            });
        }
    });
    heard
}

const OLD: &str = "250-PIPELINING\r\n250 8BITMIME\r\n";

/// What DNS says where there is a server of `next.test`.
pub(super) fn zone_with_next_hop() -> FixedZone {
    let mut zone = zone();
    zone.exchangers.insert("next.test".into(), vec![(10, "mx.next.test".to_owned())]);
    zone.addresses.insert("mx.next.test".into(), vec![[192, 0, 2, 30].into()]);
    zone
}

async fn with_next_hop(offers: &'static str) -> (Two, Heard) {
    let zone = zone_with_next_hop();
    let private_addresses = PrivateAddresses::Allow;
    let two = two_with(zone, RelaySettings { private_addresses, ..relay_settings() }).await;
    let heard = next_hop(&two, offers).await;
    (two, heard)
}

impl Two {
    /// Submits a message unchanged.
    pub(super) async fn submit(&self, mail: &str, recipient: &str, content: &str) {
        let dialogue = format!(
            "EHLO c.test\r\nMAIL FROM:{mail}\r\nRCPT TO:{recipient}\r\nDATA\r\n{content}\r\n.\r\nQUIT\r\n"
        );
        let said = self.say("127.0.0.1:25", &dialogue).await;
        assert!(said.contains("kept as "), "{said}");
    }
}

fn envelopes(heard: &Heard) -> Vec<String> {
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    let is_path = |line: &String| line.starts_with("MAIL ") || line.starts_with("RCPT ");
    heard.into_iter().filter(is_path).collect()
}

/// RFC 6531 §3.2: Go's net/smtp requests SMTPUTF8 for everything. A message in ASCII is sent without it.
#[tokio::test(start_paused = true)]
async fn smtputf8_is_asked_of_others_only_where_it_is_needed() {
    let (two, heard) = with_next_hop(OLD).await;
    let fields = "From: <ana@x.test>\r\nTo: <r@next.test>\r\n";
    let both = "<ana@x.test> BODY=8BITMIME SMTPUTF8";
    let text = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    for (content, mail) in [
        (format!("{fields}Subject: plain\r\n\r\nall ASCII"), "MAIL FROM:<ana@x.test>"),
        (
            format!("{fields}Subject: plain\r\nMIME-Version: 1.0\r\n{text}\r\ngrüße"),
            "MAIL FROM:<ana@x.test> BODY=8BITMIME",
        ),
        (
            format!(
                "{fields}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{text}\r\ngrüße\r\n--b--"
            ),
            "MAIL FROM:<ana@x.test> BODY=8BITMIME",
        ),
    ] {
        two.submit(both, "<r@next.test>", &content).await;
        two.tried(None).await;
        assert_eq!(envelopes(&heard), [mail, "RCPT TO:<r@next.test>"], "{content}");
    }
    // An alias outside ASCII concerns this server only.
    let (name, targets) = ("dragă@x.test".to_owned(), vec!["r@next.test".to_owned()]);
    two.ours.admin.execute(Request::AliasAdd { name, targets }).await.unwrap();
    two.submit("<ana@x.test> SMTPUTF8", "<dragă@x.test>", fields).await;
    two.tried(None).await;
    assert_eq!(envelopes(&heard), ["MAIL FROM:<ana@x.test>", "RCPT TO:<r@next.test>"]);

    let part = "Content-Description: grüße";
    for (number, (recipient, content)) in [
        ("<dragă@next.test>", format!("{fields}\r\nall ASCII")),
        ("<r@next.test>", format!("{fields}Subject: grüße\r\n\r\nall ASCII")),
        (
            "<r@next.test>",
            format!(
                "{fields}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{part}\r\n\r\n--b--"
            ),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        two.submit(both, recipient, &content).await;
        let report = two.inbox("127.0.0.1", "ana", number + 1).await;
        assert!(report.contains("Action: failed\r\nStatus: 5.6.7\r\n"), "{content}: {report}");
        assert_eq!(envelopes(&heard), [""; 0], "{content}");
    }
}

/// A server with the extension gets the parameter if the message needs it.
#[tokio::test(start_paused = true)]
async fn smtputf8_is_said_where_it_is_needed() {
    let (two, heard) = with_next_hop("250-8BITMIME\r\n250 SMTPUTF8\r\n").await;
    two.submit("<ana@x.test> SMTPUTF8", "<r@next.test>", "Subject: grüße\r\n\r\nb").await;
    two.tried(None).await;
    assert_eq!(
        envelopes(&heard),
        ["MAIL FROM:<ana@x.test> BODY=8BITMIME SMTPUTF8", "RCPT TO:<r@next.test>"]
    );
}

/// RFC 5321 §4.5.3.1: the addresses of forwarders and mailing lists are longer than 64 octets.
#[tokio::test(start_paused = true)]
async fn long_local_parts_are_taken_and_handed_on() {
    let (two, heard) = with_next_hop(OLD).await;
    let mut long: Vec<_> = [65, 128, 200, 256]
        .map(|length| {
            let local = "bounces+SRS0=abcd=";
            format!("<{local}{}@next.test>", "x".repeat(length - local.len()))
        })
        .into();
    let srs =
        "SRS0=fGv9=BC=a.ccdefghijklmn.com=bounce-4IDNASXYtY_FG21s4IoV1XzCfCtHkb2RZY_qdGZ8Q-6A";
    long.push(format!("<{srs}@next.test>"));
    long.push(format!("<list-confirm+{}@next.test>", "0123456789abcdef".repeat(4)));
    for path in &long {
        two.submit(path, path, "Subject: s\r\n\r\nb").await;
        two.tried(None).await;
        assert_eq!(envelopes(&heard), [format!("MAIL FROM:{path}"), format!("RCPT TO:{path}")]);
    }
    // A subaddress leads to the mailbox; a sender elsewhere gets an SRS address that leads back.
    let tagged = format!("<ana+{}@x.test>", "y".repeat(252));
    two.submit(&long[3], &tagged, "Subject: s\r\n\r\nb").await;
    let got = two.inbox("127.0.0.1", "ana", 1).await;
    assert!(got.starts_with(&format!("Return-Path: {}\r\n", long[3])), "{got}");
    let (name, targets) = ("all@x.test".to_owned(), vec!["r@next.test".to_owned()]);
    two.ours.admin.execute(Request::AliasAdd { name, targets }).await.unwrap();
    two.submit(&long[1], "<all@x.test>", "Subject: s\r\n\r\nb").await;
    two.tried(None).await;
    let said = envelopes(&heard);
    let back = said[0].strip_prefix("MAIL FROM:").unwrap();
    assert!(back.starts_with("<SRS0=") && back.ends_with("@mail.x.test>"), "{back}");
    two.submit("<>", back, "Subject: returned\r\n\r\nb").await;
    two.tried(None).await;
    assert_eq!(envelopes(&heard)[1], format!("RCPT TO:{}", long[1]));
}
