//! Collecting mail from hostile POP3 servers.

use super::*;
use posta_mail::limits;
use posta_store::{Keep, Login, LoginTls, Visit};
use std::collections::BTreeSet;
use tokio::{io::BufReader, task::JoinHandle};

/// A POP3 server elsewhere, whose answers the test chooses.
#[derive(Clone, Default)]
pub(super) struct Elsewhere {
    pub(super) greeting: Option<Vec<u8>>,
    pub(super) capabilities: Option<Vec<u8>>,
    pub(super) unique_ids: Vec<String>,
    pub(super) messages: Vec<String>,
    /// A false size in the answer to LIST.
    pub(super) size: Option<u64>,
    /// Whether the answer to RETR is endless.
    pub(super) endless: bool,
}

/// The events in a server's only session.
#[derive(Debug, Default)]
pub(super) struct Seen {
    removed: BTreeSet<usize>,
    /// The number of octets of content sent.
    sent: usize,
    commands: Vec<String>,
}

static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

impl Elsewhere {
    /// Serves one session.
    async fn serve(self, stream: Box<dyn Stream>) -> Seen {
        use tokio::io::AsyncBufReadExt;
        let (read, mut write) = tokio::io::split(stream);
        let mut lines = BufReader::new(read).lines();
        let mut seen = Seen::default();
        let mut marked = BTreeSet::new();
        let greeting = self.greeting.clone().unwrap_or_else(|| b"+OK\r\n".to_vec());
        if write.write_all(&greeting).await.is_err() {
            return seen;
        }
        while let Ok(Some(line)) = lines.next_line().await {
            seen.commands.push(line.clone());
            let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
            let index = argument.parse::<usize>().unwrap_or(1) - 1;
            let mut answer = match command {
                "CAPA" => self.capabilities.clone().unwrap_or_else(|| b"-ERR\r\n".to_vec()),
                "UIDL" => self.listing(|index| self.unique_ids[index].clone()),
                "LIST" => self.listing(|index| {
                    self.size.unwrap_or(self.messages[index].len() as u64).to_string()
                }),
                "RETR" => format!("+OK\r\n{}", self.messages[index]).into_bytes(),
                "DELE" => {
                    marked.insert(index);
                    b"+OK\r\n".to_vec()
                }
                "RSET" => {
                    marked.clear();
                    b"+OK\r\n".to_vec()
                }
                _ => b"+OK\r\n".to_vec(),
            };
            if command == "RETR" && !self.endless {
                answer.extend_from_slice(b".\r\n");
            }
            if write.write_all(&answer).await.is_err() {
                return seen;
            }
            if command == "RETR" && self.endless {
                while write.write_all(&PIECE).await.is_ok() {
                    seen.sent += PIECE.len();
                }
                return seen;
            }
            if command == "QUIT" {
                seen.removed = marked;
                return seen;
            }
        }
        seen
    }

    fn listing(&self, value: impl Fn(usize) -> String) -> Vec<u8> {
        let lines =
            (0..self.messages.len()).map(|index| format!("{} {}\r\n", index + 1, value(index)));
        format!("+OK\r\n{}.\r\n", lines.collect::<String>()).into_bytes()
    }
}

/// Visits a server to collect mail for ana's mailbox.
pub(super) async fn visit(system: &System, elsewhere: Elsewhere, keep: Keep) -> (Visit, Seen) {
    let endpoint = "192.0.2.1:110".parse().unwrap();
    let mut listener = system.net.bind(&endpoint).await.unwrap();
    let server: JoinHandle<Seen> = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        elsewhere.serve(stream).await
    });
    let login = Login {
        server: "192.0.2.1:110".to_owned(),
        user: "a".to_owned(),
        tls: LoginTls::None,
        any_certificate: false,
    };
    let address = "ana@x.test".to_owned();
    let password = "p".to_owned();
    let add = Request::SourceAdd { address, login, password, keep, every: 600, check: false };
    let Response::Source(id) = system.admin.execute(add).await.unwrap() else { panic!("added") };
    let visited = system.admin.execute(Request::SourceRun { id }).await.unwrap();
    let Response::Visit(Some(visit)) = visited else { panic!("{visited:?}") };
    (visit, server.await.unwrap())
}

/// Twenty messages share a unique-id, and none is to stay on the server: all twenty are fetched before
/// they are deleted.
#[tokio::test]
async fn an_id_seen_twice_proves_nothing() {
    let mut elsewhere = Elsewhere {
        unique_ids: vec!["same".to_owned(); 20],
        messages: (0..20).map(|number| format!("Subject: {number}\r\n\r\n{number}\r\n")).collect(),
        ..Elsewhere::default()
    };
    elsewhere.unique_ids.push("own".to_owned());
    elsewhere.messages.push("Subject: own\r\n\r\n".to_owned());
    for keep in [Keep::Nothing, Keep::All, Keep::Days(0)] {
        let system = system().await;
        let (seen_first, seen) = visit(&system, elsewhere.clone(), keep).await;
        assert_eq!((seen_first.collected, seen_first.problem), (21, None), "{keep}");
        let read = system.say(110, &format!("{LOGIN}STAT\r\nQUIT\r\n")).await;
        assert!(read.contains("+OK 21 "), "{keep}: {read}");
        let removed = if keep == Keep::All { 0 } else { 21 };
        assert_eq!(seen.removed.len(), removed, "{keep}");
        system.server.stop().await;
    }
}

/// The server gives a unique-id that is known from an earlier visit to other messages.
#[tokio::test]
async fn what_was_not_fetched_is_not_removed() {
    for keep in [Keep::Nothing, Keep::Days(0)] {
        let system = system().await;
        let one = |number: usize| Elsewhere {
            unique_ids: vec!["same".to_owned(); number],
            messages: vec!["Subject: s\r\n\r\n".to_owned(); number],
            ..Elsewhere::default()
        };
        let (_, seen) = visit(&system, one(1), keep).await;
        assert_eq!(seen.removed.len(), 1, "{keep}");
        let (again, seen) = visit(&system, one(2), keep).await;
        assert_eq!(seen.removed.len() as u64, again.collected, "{keep}: each that went had come");
        system.server.stop().await;
    }
}

#[tokio::test]
async fn a_message_without_end_is_not_waited_for() {
    for (size, quota, problem) in [
        (Some(10), None, "longer than 2000000 octets"),
        (None, Some(100_000), "no room for the message"),
    ] {
        let system = system().await;
        let address = "ana@x.test".to_owned();
        let quota = Request::AccountQuota { address, quota };
        system.admin.execute(quota).await.unwrap();
        let elsewhere = Elsewhere {
            unique_ids: vec!["a".to_owned()],
            messages: vec!["Subject: s\r\n\r\n".to_owned()],
            size,
            endless: true,
            ..Elsewhere::default()
        };
        let (visit, seen) = visit(&system, elsewhere, Keep::Nothing).await;
        let told = visit.problem.unwrap();
        assert!(told.contains(problem), "{told}");
        assert!(seen.sent < 3_000_000, "{} octets were read", seen.sent);
        assert_eq!(seen.removed.len(), 0);
        let read = system.say(110, &format!("{LOGIN}STAT\r\nQUIT\r\n")).await;
        assert!(read.contains("\r\n+OK 0 0\r\n"), "nothing of it is kept: {read}");
        system.server.stop().await;
    }
}

/// The message stays on the server, is reported, and does not prevent others from being fetched.
#[tokio::test]
async fn a_message_that_is_too_large_is_left() {
    let system = system().await;
    let large = format!("Subject: l\r\n\r\n{}", "x\r\n".repeat(700_000));
    let elsewhere = Elsewhere {
        unique_ids: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
        messages: vec!["Subject: s\r\n\r\n".to_owned(), large, "Subject: t\r\n\r\n".to_owned()],
        ..Elsewhere::default()
    };
    let (visit, seen) = visit(&system, elsewhere, Keep::Nothing).await;
    assert_eq!(visit.collected, 2);
    let told = visit.problem.unwrap();
    assert!(told.contains("1 that are too large; message 2 (b): it is too large"), "{told}");
    assert_eq!(seen.removed, [0, 2].into());
    assert!(!seen.commands.contains(&"RETR 2".to_owned()));
    system.server.stop().await;
}

/// The greeting, the capabilities and the listings have limits.
#[tokio::test]
async fn what_has_no_end_is_given_up() {
    let long_line = [&b"+OK "[..], &[b'x'; 100_000]].concat();
    let capabilities = format!("+OK\r\n{}", "X-MANY capabilities\r\n".repeat(10_000));
    let messages = vec![String::new(); 300_000];
    let with = |unique_id: String| Elsewhere {
        unique_ids: vec![unique_id; messages.len()],
        messages: messages.clone(),
        ..Elsewhere::default()
    };
    for (elsewhere, problem) in [
        (
            Elsewhere { greeting: Some(long_line), ..Elsewhere::default() },
            "a response line is too long",
        ),
        (
            Elsewhere { capabilities: Some(capabilities.into_bytes()), ..Elsewhere::default() },
            "the list of capabilities does not end",
        ),
        (with("x".repeat(1_000)), "a listing is too long"),
        (with("x".repeat(limits::POP3_RESPONSE_LINE)), "a response line is too long"),
    ] {
        let system = system().await;
        let (visit, _) = visit(&system, elsewhere, Keep::All).await;
        let told = visit.problem.unwrap();
        assert!(told.contains(problem), "{told}");
        system.server.stop().await;
    }
}
