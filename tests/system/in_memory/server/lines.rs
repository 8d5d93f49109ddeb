//! POP3 serves messages as lines, whatever form they arrived in.

use super::{
    hostile::{Elsewhere, visit},
    *,
};
use crate::store::store;
use posta_store::Keep;

/// Contents with lone CRs or LFs, as permitted by `BODY=BINARYMIME` (RFC 3030 §3).
const CONTENTS: [&str; 9] = [
    "before\n.\r\n-ERR forged\r\nafter\r\n",
    "before\n.\nafter\r\n",
    "before\r.\r\nafter\r\n",
    "a\r.\rb\r\n",
    "a\r\r\n.\r\r\nb\r\n",
    "x\n..\r\n...\n....\r\ny\n",
    "a\r\n\r",
    "a\nb\nc",
    "\n\r.\r\n\n.\r",
];

/// A POP3 client that ends lines at LF, as Python's poplib, mpop and getmail do. Such a client took LF
/// `.` CRLF for the end of the message, and the text after it for the server's next replies.
struct ClientByLf<'a>(std::str::Split<'a, char>);

impl ClientByLf<'_> {
    fn line(&mut self) -> &str {
        let line = self.0.next().expect("a line");
        line.strip_suffix('\r').unwrap_or_else(|| panic!("{line:?} ends in CRLF"))
    }

    fn status(&mut self) -> String {
        let line = self.line().to_owned();
        line.strip_prefix("+OK ").unwrap_or_else(|| panic!("{line}")).to_owned()
    }

    /// Returns the lines after the status line, each with CRLF.
    fn listing(&mut self) -> (String, String) {
        let (status, mut text) = (self.status(), String::new());
        loop {
            match self.line() {
                "." => return (status, text),
                line => {
                    text.push_str(line.strip_prefix('.').unwrap_or(line));
                    text.push_str("\r\n");
                }
            }
        }
    }
}

fn check_as_read_by_lf(said: &str, content: &str) {
    let mut client = ClientByLf(said.split('\n'));
    let [_greeting, _user, _pass, stat] = [(); 4].map(|()| client.status());
    let octets = stat.strip_prefix("1 ").expect("one message");
    assert_eq!(client.listing().1, format!("1 {octets}\r\n"));
    let (status, retrieved) = client.listing();
    assert_eq!(status, format!("{octets} octets"));
    assert_eq!(retrieved.len().to_string(), octets, "exactly as many");
    let lines = posta_mail::crlf::lines_of(content.as_bytes());
    let (_, body) = retrieved.split_once("\r\n\r\n").expect("a body");
    assert_eq!(body.as_bytes(), lines);
    assert_eq!(client.listing().1, retrieved, "TOP shows the same");
    assert_eq!(client.status(), "bye");
    assert_eq!(client.0.collect::<String>(), "", "nothing follows");
}

const COMMANDS: &str = "STAT\r\nLIST\r\nRETR 1\r\nTOP 1 1000\r\nQUIT\r\n";

#[tokio::test]
async fn binary_content_goes_out_as_lines() {
    for content in CONTENTS {
        for (port, hello) in [(25, "EHLO"), (24, "LHLO")] {
            let system = system().await;
            let message = format!("Subject: s\r\n\r\n{content}");
            let envelope = "MAIL FROM:<s@y.test> BODY=BINARYMIME\r\nRCPT TO:<ana@x.test>";
            let chunk = format!("BDAT {} LAST\r\n{message}", message.len());
            let mail = format!("{hello} c.test\r\n{envelope}\r\n{chunk}QUIT\r\n");
            let said = system.say(port, &mail).await;
            assert!(said.contains("kept as"), "{said}");
            let read = system.say(110, &format!("{LOGIN}{COMMANDS}")).await;
            check_as_read_by_lf(&read, content);
            system.server.stop().await;
        }
    }
}

/// The mail comes from a server that stuffs dots after CRLF only, as RFC 1939 requires.
#[tokio::test]
async fn collected_mail_goes_out_as_lines() {
    for content in CONTENTS {
        let system = system().await;
        let stuffed = content.replace("\r\n.", "\r\n..");
        let end = if stuffed.ends_with("\r\n") { "" } else { "\r\n" };
        let elsewhere = Elsewhere {
            unique_ids: vec!["a".to_owned()],
            messages: vec![format!("Subject: s\r\n\r\n{stuffed}{end}")],
            ..Elsewhere::default()
        };
        let (visit, _) = visit(&system, elsewhere, Keep::Nothing).await;
        assert_eq!((visit.collected, visit.problem), (1, None));
        let read = system.say(110, &format!("{LOGIN}{COMMANDS}")).await;
        check_as_read_by_lf(&read, &format!("{content}{end}"));
        system.server.stop().await;
    }
}

/// A message whose content is missing is not promised, even though its prefix can be read: RETR and TOP
/// refuse it, the next message can be fetched, and the damaged one can be removed.
#[tokio::test]
async fn a_damaged_message_is_refused_and_the_session_goes_on() {
    let store = store();
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_second(1_074_188_330).unwrap(), 7));
    let system = system_on(store.clone(), clock, |_| {}).await;
    let mail =
        "MAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\nSubject: s\r\n\r\nbody\r\n.\r\n";
    let said = system.say(25, &format!("EHLO c.test\r\n{mail}{mail}QUIT\r\n")).await;
    let id = said.split("kept as ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    store.discard(id.parse().unwrap()).await.unwrap();
    let commands = "RETR 1\r\nTOP 1 0\r\nRETR 2\r\nDELE 1\r\nQUIT\r\n";
    let said = system.say(110, &format!("{LOGIN}{commands}")).await;
    assert_eq!(said.matches("-ERR [SYS/PERM] this message is damaged").count(), 2, "{said}");
    assert!(said.contains("\r\nbody\r\n.\r\n+OK marked as deleted\r\n"), "{said}");
    assert!(said.ends_with("+OK bye, 1 message removed\r\n"), "{said}");
}
