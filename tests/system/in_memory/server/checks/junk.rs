//! Junk over POP3: in its folder, or among the messages of the inbox with a mark in the subject.

use super::*;
use posta_server::admin::{JunkOverPop3, MailRequest};

/// What a POP3 session of ana's tells of her mailbox: STAT, LIST, UIDL, and each message as RETR sends it.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    stat: (usize, usize),
    sizes: Vec<usize>,
    unique_ids: Vec<String>,
    messages: Vec<String>,
}

impl Shown {
    /// Returns whether a message has the mark.
    fn is_marked(&self, index: usize) -> bool {
        self.messages[index].contains("\r\nX-Junk: yes")
    }
}

impl System {
    async fn session(&self, commands: &str) -> String {
        let balancer = "PROXY TCP4 192.0.2.9 127.0.0.1 1 2\r\n";
        self.say(110, &format!("{balancer}{LOGIN}{commands}QUIT\r\n")).await
    }

    /// Looks at all that POP3 shows. Checks that the sizes agree: those of STAT, LIST, RETR and TOP.
    async fn shown(&self) -> Shown {
        let told = self.session("STAT\r\nLIST\r\nUIDL\r\n").await;
        let lines: Vec<_> = told.lines().skip(3).collect();
        let stat: Vec<usize> =
            lines[0].split(' ').skip(1).map(|number| number.parse().unwrap()).collect();
        let count = stat[0];
        let second = |line: &&str| line.split(' ').nth(1).unwrap().to_owned();
        let sizes: Vec<usize> =
            lines[2..2 + count].iter().map(|line| second(line).parse().unwrap()).collect();
        let unique_ids = lines[4 + count..4 + 2 * count].iter().map(second).collect();
        assert_eq!(stat[1], sizes.iter().sum::<usize>());
        let mut messages = Vec::new();
        for number in 1..=count {
            let [whole, top] = ["RETR N", "TOP N 9999"].map(|command| {
                let command = command.replace('N', &number.to_string());
                async move { self.session(&format!("{command}\r\n")).await }
            });
            let end = "\r\n.\r\n+OK bye\r\n";
            let whole = whole.await;
            let (status, message) = whole.split_once(" octets\r\n").unwrap();
            assert!(status.ends_with(&format!("+OK {}", sizes[number - 1])), "{whole}");
            let message = message.strip_suffix(end).unwrap().to_owned() + "\r\n";
            let message = message.replace("\r\n..", "\r\n.");
            assert_eq!(message.len(), sizes[number - 1], "{message}");
            let top = top.await;
            let (_, top) = top.split_once("+OK top follows\r\n").unwrap();
            let top = top.strip_suffix(end).unwrap().replace("\r\n..", "\r\n.") + "\r\n";
            assert_eq!(top, message);
            messages.push(message);
        }
        Shown { stat: (count, stat[1]), sizes, unique_ids, messages }
    }

    async fn set_junk(&self, junk: JunkOverPop3) {
        let request = Request::AccountJunk { address: "ana@x.test".to_owned(), junk };
        self.admin.execute(request).await.unwrap();
    }

    async fn shift(&self, from: &str, to: &str, uids: Vec<u32>) {
        let request = MailRequest::Move { uids, to: to.to_owned() };
        let (address, folder) = ("ana@x.test".to_owned(), Some(from.to_owned()));
        let request = Request::Mail { address, folder, request };
        self.admin.execute(request).await.unwrap();
    }
}

/// Brings messages of every form of header, every other of which goes to Junk.
async fn with_junk() -> System {
    let system = checking().await;
    for (at, rest) in [
        "Subject: hello\r\n\r\nbody\r\n..\r\n",
        "Subject: offer\r\n\r\n..dot\r\nbody\r\n",
        "\r\nno subject\r\n",
        "\r\nno subject\r\n",
        "subject:=?utf-8?q?oferta?=\r\n\r\nbody\r\n",
        "subject:=?utf-8?q?oferta?=\r\n\r\nbody\r\n",
        "Subject: a\r\n folded one\r\n\r\nbody\r\n",
        "Subject: a\r\n folded one\r\n\r\nbody\r\n",
        "X: y",
        "X: y",
    ]
    .into_iter()
    .enumerate()
    {
        let (sender, author) = if at % 2 == 0 { ("n", "n.test") } else { ("q", "q.test") };
        let content = format!("From: {sender}@{author}\r\n{rest}");
        let said = system.bring(EVIL, &format!("{sender}@{author}"), &content).await;
        assert!(said.starts_with("250"), "{said}");
    }
    assert_eq!((system.count("INBOX").await, system.count("Junk").await), (5, 5));
    system
}

#[tokio::test]
async fn junk_is_shown_with_a_mark_if_the_account_wants_it() {
    let system = with_junk().await;
    let without = system.shown().await;
    assert_eq!(without.stat.0, 5, "POP3 serves the inbox");
    assert!((0..5).all(|index| !without.is_marked(index)));
    system.set_junk(JunkOverPop3::Mark).await;
    let with = system.shown().await;
    assert_eq!(with.stat.0, 10);
    for index in 0..10 {
        assert_eq!(with.is_marked(index), index % 2 == 1, "in the order of arrival");
        if index % 2 == 0 {
            assert_eq!(with.unique_ids[index], without.unique_ids[index / 2]);
            assert_eq!(with.messages[index], without.messages[index / 2]);
        }
    }
    for (index, line) in [
        (1, "\r\nSubject: [Junk] offer\r\n"),
        (3, "\r\nSubject: [Junk]\r\n"),
        (5, "\r\nsubject: [Junk] =?utf-8?q?oferta?=\r\n"),
        (7, "\r\nSubject: [Junk] a\r\n folded one\r\n"),
        (9, "\r\nX: y\r\nSubject: [Junk]\r\nX-Junk: yes\r\n"),
    ] {
        assert!(with.messages[index].contains(line), "{}", with.messages[index]);
    }
    system.set_junk(JunkOverPop3::Folder).await;
    assert_eq!(system.shown().await, without);
    system.server.stop().await;
}

#[tokio::test]
async fn unique_ids_stay_when_junk_is_moved_and_removed() {
    let system = with_junk().await;
    system.set_junk(JunkOverPop3::Mark).await;
    let before = system.shown().await;
    // The fourth of the inbox becomes junk, and the second of Junk does not.
    system.shift("INBOX", "Junk", vec![4]).await;
    system.shift("Junk", "INBOX", vec![2]).await;
    let after = system.shown().await;
    assert_eq!(after.unique_ids, before.unique_ids);
    let marked: Vec<_> = (0..10).filter(|&index| after.is_marked(index)).collect();
    assert_eq!(marked, [1, 5, 6, 7, 9]);
    // Removed from both folders, and brought back.
    let said = system.session("DELE 2\r\nDELE 4\r\nDELE 7\r\n").await;
    assert!(said.ends_with("+OK bye, 3 messages removed\r\n"), "{said}");
    assert_eq!((system.count("INBOX").await, system.count("Junk").await), (4, 3));
    let left: Vec<_> = [0, 2, 4, 5, 7, 8, 9].map(|at: usize| before.unique_ids[at].clone()).into();
    assert_eq!(system.shown().await.unique_ids, left);
    let undelete = Request::AccountUndelete { address: "ana@x.test".to_owned(), since: None };
    system.admin.execute(undelete).await.unwrap();
    assert_eq!(system.shown().await, after);
    system.server.stop().await;
}

/// A session is for the mailbox as it was at the login.
#[tokio::test]
async fn a_session_sees_junk_as_it_was_set_at_its_login() {
    let system = with_junk().await;
    let mut session = system.connect(110).await;
    let login = format!("PROXY TCP4 192.0.2.9 127.0.0.1 1 2\r\n{LOGIN}");
    session.write_all(login.as_bytes()).await.unwrap();
    let mut said = String::new();
    while !said.contains("5 messages") {
        said.push(char::from(session.read_u8().await.unwrap()));
    }
    system.set_junk(JunkOverPop3::Mark).await;
    session.write_all(b"STAT\r\nQUIT\r\n").await.unwrap();
    let mut rest = String::new();
    session.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("+OK 5 "), "{rest}");
    system.server.stop().await;
}
