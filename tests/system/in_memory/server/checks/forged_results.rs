//! Fields that claim to be our own results.

use super::*;

const FORGED: [&str; 7] = [
    "Authentication-Results: mail.x.test; dmarc=pass\r\n",
    "authentication-results : MAIL.x.test 1; dmarc=pass\r\n",
    "Authentication-Results:\r\n\t(a (b) c)\r\n \"mail.x\\.test\"\r\n ; dmarc=pass\r\n",
    "Authentication-Results: mail . x . test; dmarc=pass\r\n",
    "Authentication-Results:mail.x.test.; dmarc=pass\r\n",
    "Authentication-Results\r\n : mail.x.test; dmarc=pass\r\n",
    "AUTHENTICATION-RESULTS:\r\n \r\n (unclosed mail.x.test; dmarc=pass\r\n",
];

#[tokio::test]
async fn they_are_taken_out_whoever_brings_them() {
    for forged in FORGED {
        for (port, hello) in [(25, "EHLO c"), (24, "LHLO c"), (587, "EHLO c")] {
            let system = system_with(|settings| {
                settings.proxies = vec!["127.0.0.0/8".parse().unwrap()];
                settings.checks = Some(obeying());
            });
            let system = system.await;
            let login = match port {
                587 => "AUTH PLAIN AGFuYUB4LnRlc3QAcGFyb2xh\r\n",
                _ => "",
            };
            let text = format!(
                "PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n{hello}\r\n{login}MAIL FROM:<ana@x.test>\r\n\
                 RCPT TO:<ana@x.test>\r\nDATA\r\nSubject: s\r\nFrom: ana@x.test\r\n{forged}\
                 Authentication-Results: other.test; none\r\n\r\n{forged}\r\n.\r\nQUIT\r\n"
            );
            let said = system.say(port, &text).await;
            assert!(said.contains("kept as"), "{port} {forged}: {said}");
            let message = system.read(1).await;
            let (head, body) = message.split_once("\r\n\r\n").unwrap();
            let kept = "Subject: s\r\nFrom: ana@x.test\r\nAuthentication-Results: other.test; none";
            assert!(head.contains(kept), "{port} {forged}: {message}");
            let ours = usize::from(port == 25);
            assert_eq!(head.matches("mail.x.test;").count(), ours, "{port} {forged}: {message}");
            assert!(body.starts_with(forged), "the body is the sender's: {message}");
            system.server.stop().await;
        }
    }
}

/// Returns forged fields in every combination of case, folding, comments, quoting and versions.
fn disguised() -> Vec<String> {
    let mut fields = Vec::new();
    for name in ["Authentication-Results", "AUTHENTICATION-results"] {
        for colon in [":", " :", "\t:", "\r\n :", " \r\n\t:"] {
            for space in ["", " ", "\r\n ", "\r\n \r\n\t", " (a (b \\) c))", "\r\n\t(c)\r\n "] {
                for id in [
                    "mail.x.test",
                    "MAIL.X.test",
                    "mail.x.test.",
                    "\"mail.x.test\"",
                    "\"mail\\.x.test\"",
                    "\"mail.\"x.test",
                    "mail . x\r\n . test",
                    "mail(c).\r\n\tx.test",
                ] {
                    for end in [";", " 1;", "/1;", "(c)\r\n ;", "\r\n\t1\r\n ;"] {
                        fields.push(format!("{name}{colon}{space}{id}{end} dmarc=pass\r\n"));
                    }
                }
            }
        }
    }
    fields
}

#[tokio::test]
async fn none_is_left_in_any_disguise() {
    let system = checking().await;
    let fields = disguised();
    assert_eq!(fields.len(), 2 * 5 * 6 * 8 * 5);
    for (index, some) in fields.chunks(100).enumerate() {
        let content = format!(
            "Subject: s\r\nFrom: sue@n.test\r\n{}Authentication-Results: other.test; none\r\n\r\nbody",
            some.concat()
        );
        let said = system.bring(A, "sue@n.test", &content).await;
        assert!(said.starts_with("250 2.0.0"), "{said}");
        let message = system.read(index + 1).await;
        let (head, _) = message.split_once("\r\n\r\n").unwrap();
        let (_, theirs) = head.split_once("Subject: s\r\n").unwrap();
        assert_eq!(theirs, "From: sue@n.test\r\nAuthentication-Results: other.test; none");
        assert_eq!(head.matches("mail.x.test;").count(), 1, "{head}");
    }
    system.server.stop().await;
}

/// A server in front of this one may go by its name.
#[tokio::test]
async fn those_of_a_server_in_front_stay() {
    let system = system().await;
    let said = system
        .say(24, &format!("LHLO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\n{}\r\nb\r\n.\r\nQUIT\r\n", FORGED[0]))
        .await;
    assert!(said.contains("kept as"), "{said}");
    let read = system.say(110, &format!("{LOGIN}RETR 1\r\nQUIT\r\n")).await;
    assert!(read.contains(FORGED[0]), "{read}");
    system.server.stop().await;
}

/// A message whose header section never ends, and one that ends in it.
#[tokio::test]
async fn nothing_is_lost_of_a_message_without_a_body() {
    let system = system_with(|settings| settings.checks = Some(obeying())).await;
    for content in ["A: b", "Authentication-Results: other.test; none", "Authentication-Res"] {
        let said = system
            .say(25, &format!("EHLO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nBDAT {} LAST\r\n{content}QUIT\r\n", content.len()))
            .await;
        assert!(said.contains("kept as"), "{content}: {said}");
    }
    for (number, content) in [(1, "A: b"), (2, "other.test; none"), (3, "Authentication-Res")] {
        let read = system.say(110, &format!("{LOGIN}RETR {number}\r\nQUIT\r\n")).await;
        assert!(read.contains(content), "{read}");
    }
    system.server.stop().await;
}
