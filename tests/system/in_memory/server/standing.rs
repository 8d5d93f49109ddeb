//! Sessions whose account is removed, renamed or disabled, or gets another password, while they are
//! open.

use super::*;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// Returns the changes to Ana's account while her sessions are open, and whether each ends them.
fn changes() -> [(Request, bool); 6] {
    let address = || "ana@x.test".to_owned();
    [
        (Request::AccountQuota { address: address(), quota: Some(1_000_000) }, false),
        (
            Request::AccountPassword {
                address: address(),
                password: "noua".to_owned(),
                apop: false,
            },
            true,
        ),
        (Request::AccountRemove { address: address() }, true),
        (Request::AccountDisable { address: address(), disabled: false }, false),
        (Request::AccountDisable { address: address(), disabled: true }, true),
        (
            Request::AccountRename {
                address: address(),
                new: "ana@new.test".to_owned(),
                alias: true,
            },
            true,
        ),
    ]
}

/// Sends text in an open session and reads the reply, until some text occurs or the session ends.
async fn answer(stream: &mut Box<dyn Stream>, text: &str, words: &str) -> String {
    let _ = stream.write_all(text.as_bytes()).await;
    let mut said = String::new();
    let reading = async {
        while !said.contains(words) {
            let Ok(octet) = stream.read_u8().await else { break };
            said.push(char::from(octet));
        }
    };
    // Without a limit, the test would wait for a session that does not end.
    let _ = tokio::time::timeout(Duration::from_secs(5), reading).await;
    said
}

const HEADER: &str = "From: ana@x.test\r\n\r\nbody\r\n.\r\n";

#[tokio::test]
async fn a_submission_session_ends_with_its_login() {
    for (change, ends) in changes() {
        for within in [false, true] {
            let system = system().await;
            let mut stream = system.connect(587).await;
            let login = BASE64.encode("\0ana@x.test\0parola");
            let login = format!("EHLO c\r\nAUTH PLAIN {login}\r\n");
            assert!(answer(&mut stream, &login, "235 ").await.contains("235 "));
            let begin = "MAIL FROM:<ana@x.test>\r\nRCPT TO:<bob@x.test>\r\nDATA\r\n";
            if within {
                assert!(answer(&mut stream, begin, "354 ").await.contains("354 "));
            }
            system.admin.execute(change.clone()).await.unwrap();
            let (text, good) = if within { (HEADER, "250 2.0.0") } else { (begin, "354 ") };
            let said = answer(&mut stream, text, if ends { "no such words" } else { good }).await;
            if ends {
                let last = said.lines().last().unwrap();
                assert!(last.starts_with("421 4.7.0 ") && last.contains("log in again"), "{said}");
            } else {
                assert!(said.contains(good), "{said}");
            }
            system.server.stop().await;
        }
    }
}

#[tokio::test]
async fn a_maildrop_session_ends_with_its_login() {
    for (change, ends) in changes() {
        for command in
            ["STAT", "LIST", "UIDL", "RETR 1", "TOP 1 0", "DELE 1", "NOOP", "CAPA", "QUIT"]
        {
            let system = system().await;
            let send = "HELO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\nA: b\r\n\r\nc\r\n.\r\nQUIT\r\n";
            assert!(system.say(25, send).await.contains("kept as"));
            let mut stream = system.connect(110).await;
            answer(&mut stream, LOGIN, "1 messages ").await;
            if command == "QUIT" {
                assert!(answer(&mut stream, "DELE 1\r\n", "marked").await.contains("marked"));
            }
            system.admin.execute(change.clone()).await.unwrap();
            let text = format!("{command}\r\nQUIT\r\n");
            let said = answer(&mut stream, &text, "no such words").await;
            let answered = said.lines().find(|line| line.starts_with("-ERR")).unwrap_or_default();
            assert_eq!(answered.starts_with("-ERR [AUTH] "), ends, "{command}: {said}");
            assert_eq!(said.contains("+OK bye"), !ends, "{command}: {said}");
            if matches!(change, Request::AccountPassword { .. }) {
                let read = system.say(110, "USER ana\r\nPASS noua\r\nQUIT\r\n").await;
                assert!(read.contains("+OK 1 messages"), "{command}: nothing was removed: {read}");
            }
            system.server.stop().await;
        }
    }
}

/// Open sessions lose the rights that the account loses.
#[tokio::test]
async fn a_session_has_the_rights_that_its_account_has_now() {
    let system = system().await;
    let (address, from) = ("ana@x.test".to_owned(), "@y.test".to_owned());
    let allow = Request::AccountAllow { address: address.clone(), from: from.clone() };
    system.admin.execute(allow).await.unwrap();
    let login = BASE64.encode("\0ana@x.test\0parola");
    let begin = "MAIL FROM:<info@y.test>\r\nRCPT TO:<bob@x.test>\r\nDATA\r\n";
    let mut stream = system.connect(587).await;
    let login = format!("EHLO c\r\nAUTH PLAIN {login}\r\n{begin}");
    assert!(answer(&mut stream, &login, "<CR><LF>\r\n").await.contains("354 "));
    system.admin.execute(Request::AccountDisallow { address, from }).await.unwrap();
    let said = answer(&mut stream, "From: info@y.test\r\n\r\nbody\r\n.\r\n", "\r\n").await;
    assert!(said.starts_with("550 5.7.1 info@y.test is not an address of ana@x.test"), "{said}");
    let said = answer(&mut stream, begin, "554 ").await;
    assert!(said.starts_with("553 5.7.1 ana@x.test may not send as info@y.test"), "{said}");
    system.server.stop().await;
}

/// A message in transfer when the login ends is broken off, and does not look complete.
#[tokio::test]
async fn a_message_breaks_off_when_the_login_ends() {
    for ends in [false, true] {
        let system = system().await;
        let body = "0123456789abcde\r\n".repeat(80_000);
        let send = format!(
            "HELO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\n\r\n{body}.\r\nQUIT\r\n"
        );
        assert!(system.say(25, &send).await.contains("kept as"));
        let mut stream = system.connect(110).await;
        let said = answer(&mut stream, &format!("{LOGIN}RETR 1\r\nQUIT\r\n"), "abcde").await;
        assert!(said.contains("abcde"), "{said}");
        if ends {
            let [_, _, (removal, _), ..] = changes();
            system.admin.execute(removal).await.unwrap();
        }
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest.contains("\r\n.\r\n"), !ends, "{}", rest.len());
        system.server.stop().await;
    }
}

/// A proxy that reuses a connection for another client does not pass on the login of the previous one,
/// however that one logged in.
#[tokio::test]
async fn a_login_is_not_handed_on_to_the_next_client() {
    let near = "127.0.0.0/8".parse().unwrap();
    let system = system_with(|settings| settings.forwarders = vec![near]).await;
    let login = format!("EHLO c\r\nAUTH PLAIN {}\r\n", BASE64.encode("\0ana@x.test\0parola"));
    let forwarded = "XCLIENT ADDR=198.51.100.8 LOGIN=ana@x.test\r\nEHLO c\r\n";
    for (first, words) in [(forwarded, "HELP"), (login.as_str(), "235 2.7.0")] {
        for next in ["ADDR=198.51.100.9", "NAME=n.test ADDR=[UNAVAILABLE]"] {
            let mut stream = system.connect(587).await;
            answer(&mut stream, first, words).await;
            let said =
                answer(&mut stream, "MAIL FROM:<ana@x.test>\r\nRSET\r\n", "2.0.0 Ok\r\n").await;
            assert!(said.contains("250 2.1.0"), "{said}");
            let begin = format!("XCLIENT {next}\r\nEHLO c\r\nMAIL FROM:<ana@x.test>\r\n");
            let said = answer(&mut stream, &begin, "530 5.7.0 Authentication required\r\n").await;
            assert!(said.ends_with("530 5.7.0 Authentication required\r\n"), "{next}: {said}");
        }
    }
    system.server.stop().await;
}

/// A login that a trusted client vouches for is no better than one with a password.
#[tokio::test]
async fn a_login_that_was_handed_on_ends_too() {
    let near = "127.0.0.0/8".parse().unwrap();
    let system = system_with(|settings| settings.forwarders = vec![near]).await;
    let mut stream = system.connect(587).await;
    answer(&mut stream, "XCLIENT LOGIN=ana@x.test\r\nEHLO c\r\n", "HELP").await;
    let [_, (change, _), ..] = changes();
    system.admin.execute(change).await.unwrap();
    let said = answer(&mut stream, "MAIL FROM:<>\r\n", "no such words").await;
    assert!(said.lines().last().unwrap().starts_with("421 4.7.0 "), "{said}");
    system.server.stop().await;
}
