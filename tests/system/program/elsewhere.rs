//! POP3 servers as found in the wild; each case was reported for some other mail program.

use posta_tests::{PASSWORD, Place, pop3, posta, stdout};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

/// A POP3 server, until the test ends.
#[derive(Clone, Default)]
struct Script {
    /// The octets of the greeting, with its CRLF.
    greeting: Option<Vec<u8>>,
    /// The answer to CAPA; an error if there is none.
    capabilities: Option<&'static str>,
    /// The answers to commands, whatever their arguments, in place of the usual ones.
    answers: Vec<(&'static str, Vec<u8>)>,
    /// The lines of UIDL; an error if there are none.
    unique_ids: Vec<String>,
    messages: Vec<String>,
    /// The number of messages after which the session ends.
    ends_after: Option<usize>,
}

struct Elsewhere {
    address: String,
    removed: Arc<Mutex<BTreeSet<usize>>>,
    commands: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn with_messages(count: usize) -> Self {
        let message = |number| format!("Subject: i {number}\r\n\r\ntext {number}\r\n");
        Self {
            unique_ids: (1..=count).map(|number| format!("{number} uid-i-{number}")).collect(),
            messages: (1..=count).map(message).collect(),
            ..Self::default()
        }
    }

    fn start(self) -> Elsewhere {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (removed, commands) = <(Arc<Mutex<BTreeSet<_>>>, Arc<Mutex<Vec<_>>>)>::default();
        let elsewhere = Elsewhere { address, removed: removed.clone(), commands: commands.clone() };
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client may hang up at any time.
                let _ = self.serve(stream.unwrap(), &removed, &commands);
            }
        });
        elsewhere
    }

    fn serve(
        &self,
        mut stream: TcpStream,
        removed: &Mutex<BTreeSet<usize>>,
        commands: &Mutex<Vec<String>>,
    ) -> std::io::Result<()> {
        let lines = BufReader::new(stream.try_clone()?).lines();
        let greeting = self.greeting.clone().unwrap_or_else(|| b"+OK ready\r\n".to_vec());
        stream.write_all(&greeting)?;
        let (mut marked, mut sent) = (BTreeSet::new(), 0);
        let gone = removed.lock().unwrap().clone();
        let left: Vec<usize> = (0..self.messages.len()).filter(|at| !gone.contains(at)).collect();
        for line in lines {
            let line = line?;
            commands.lock().unwrap().push(line.clone());
            let answer = self.answers.iter().find(|(command, _)| line.starts_with(command));
            if let Some((_, answer)) = answer {
                stream.write_all(answer)?;
                continue;
            }
            let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
            let at = argument.parse::<usize>().unwrap_or(1) - 1;
            let answer = match command {
                "CAPA" => match self.capabilities {
                    Some(capabilities) => format!("+OK\r\n{capabilities}\r\n.\r\n"),
                    None => "-ERR\r\n".to_owned(),
                },
                "UIDL" if self.unique_ids.is_empty() => "-ERR\r\n".to_owned(),
                "UIDL" => {
                    let lines = left.iter().map(|&at| format!("{}\r\n", self.unique_ids[at]));
                    format!("+OK\r\n{}.\r\n", lines.collect::<String>())
                }
                "STAT" => format!("+OK {} 1000\r\n", left.len()),
                "RETR" if self.ends_after.is_some_and(|most| sent >= most) => return Ok(()),
                "RETR" => {
                    sent += 1;
                    format!("+OK 100 octets\r\n{}.\r\n", self.messages[at])
                }
                "DELE" => {
                    marked.insert(at);
                    "+OK\r\n".to_owned()
                }
                "QUIT" => {
                    removed.lock().unwrap().append(&mut marked);
                    "+OK\r\n".to_owned()
                }
                "LIST" => "-ERR\r\n".to_owned(),
                _ => "+OK\r\n".to_owned(),
            };
            stream.write_all(answer.as_bytes())?;
        }
        Ok(())
    }
}

impl Elsewhere {
    fn fetch(&self, more: &[&str]) -> Output {
        let common = ["fetch", "--server", &self.address, "--user", "u", "--password-stdin"];
        posta(&[&common[..], more].concat(), PASSWORD)
    }

    fn removed(&self) -> usize {
        self.removed.lock().unwrap().len()
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts an LMTP server that refuses the second message, and accepts all others.
fn lmtp(refuses_second: bool) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let taken = Arc::<Mutex<Vec<String>>>::default();
    let messages = taken.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client may hang up at any time.
            let _ = take_messages(stream.unwrap(), &messages, refuses_second);
        }
    });
    (address, taken)
}

fn take_messages(
    mut stream: TcpStream,
    messages: &Mutex<Vec<String>>,
    refuses_second: bool,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    stream.write_all(b"220 lmtp\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let reply = if line == "DATA" {
            stream.write_all(b"354 go\r\n")?;
            let mut content = Vec::new();
            loop {
                match lines.next().transpose()? {
                    Some(line) if line == "." => break,
                    Some(line) => content.push(line),
                    None => return Ok(()),
                }
            }
            let refuses = refuses_second && content.contains(&"text 2".to_owned());
            if !refuses {
                messages.lock().unwrap().push(content.join("\n"));
            }
            if refuses { "554 5.7.1 we do not like this one" } else { "250 ok" }
        } else if line.starts_with("LHLO") {
            "250-lmtp\r\n250 8BITMIME"
        } else {
            "250 ok"
        };
        stream.write_all(format!("{reply}\r\n").as_bytes())?;
    }
    Ok(())
}

fn files(maildir: &Path) -> usize {
    fs::read_dir(maildir.join("new")).map_or(0, Iterator::count)
}

/// Four visits to a server that disconnects after 37 messages fetch all 120, each once.
#[test]
fn a_fetch_goes_on_where_it_broke_off() {
    let directory = tempfile::tempdir().unwrap();
    let maildir = directory.path().join("Maildir");
    let mbox = directory.path().join("mbox");
    let (lmtp, taken) = lmtp(false);
    let into: [&[&str]; 3] = [
        &["--maildir", maildir.to_str().unwrap()],
        &["--mbox", mbox.to_str().unwrap()],
        &["--lmtp", &lmtp, "--to", "ana@x.test"],
    ];
    for (number, into) in into.into_iter().enumerate() {
        let server = Script { ends_after: Some(37), ..Script::with_messages(120) }.start();
        let state = directory.path().join(format!("state-{number}"));
        let options = ["--keep", "--only-new", "--state", state.to_str().unwrap()];
        for visit in 1..=4 {
            let fetched = server.fetch(&[into, &options].concat());
            assert_eq!(fetched.status.success(), visit == 4, "{}", told(&fetched));
            let messages = if visit == 4 { 9 } else { 37 };
            let said = format!("{messages} messages fetched");
            assert!(told(&fetched).contains(&said), "{}", told(&fetched));
        }
        assert_eq!(server.removed(), 0);
    }
    assert_eq!(files(&maildir), 120);
    let mbox = fs::read_to_string(mbox).unwrap();
    let count = |text: &str| mbox.lines().filter(|line| *line == text).count();
    assert!((1..=120).all(|number| count(&format!("text {number}")) == 1), "each once");
    assert_eq!(mbox.matches("\nSubject: i").count(), 120, "and nothing but whole messages");
    assert_eq!(taken.lock().unwrap().len(), 120);
}

/// What is printed cannot be taken back: a message that does not come leaves nothing there.
#[test]
fn what_is_printed_goes_on_where_it_broke_off() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let refused = ("RETR 3", b"-ERR not this one\r\n".to_vec());
    let script =
        Script { ends_after: Some(5), answers: vec![refused], ..Script::with_messages(12) };
    let server = script.start();
    let mut printed = String::new();
    for _ in 0..4 {
        let options = ["--stdout", "--keep", "--only-new", "--state", state.to_str().unwrap()];
        let fetched = server.fetch(&options);
        assert!(told(&fetched).contains("message 3 (uid-i-3): not this one"), "{}", told(&fetched));
        printed += &String::from_utf8(fetched.stdout).unwrap();
    }
    let messages: Vec<&str> = printed.split("From MAILER-DAEMON ").skip(1).collect();
    let bodies = messages.iter().filter_map(|message| message.split("\n\n").nth(1));
    let expected = (1..=12).filter(|number| *number != 3).map(|number| format!("text {number}"));
    assert_eq!(bodies.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{printed}");
}

/// So it is with the mailbox of an account.
#[test]
fn a_mailbox_moves_on_where_it_broke_off() {
    let mut here = Place::new(&[("pop3", "none")]);
    here.add_account("ana@x.test");
    here.start();
    let server = Script { ends_after: Some(37), ..Script::with_messages(120) }.start();
    let config = here.config();
    let account = ["--account", "ana@x.test", "--keep", "--config", config.to_str().unwrap()];
    for (visit, there) in [37, 74, 111, 120, 120].into_iter().enumerate() {
        let fetched = server.fetch(&account);
        assert_eq!(fetched.status.success(), visit >= 3, "{}", told(&fetched));
        let mut session = pop3(here.address("pop3"), "ana");
        assert_eq!(session.listing("UIDL").len(), there, "{}", told(&fetched));
    }
    assert_eq!(server.removed(), 0);
}

/// The texts after +OK and -ERR are for people, in GBK or Latin-1.
#[test]
fn words_may_be_in_any_character_set() {
    let directory = tempfile::tempdir().unwrap();
    let maildir = directory.path().join("Maildir");
    let words: &[u8] = b" \xd3\xca\xbc\xfe\xb7\xfe\xce\xf1\xc6\xf7\xd2\xd1\xbe\xcd\xd0\xf7\r\n";
    let script = Script {
        greeting: Some([b"+OK", words].concat()),
        answers: vec![
            ("CAPA", [b"-ERR", words].concat()),
            ("PASS", b"+OK bo\xeete ouverte\r\n".to_vec()),
        ],
        ..Script::with_messages(1)
    };
    let server = script.start();
    let fetched = server.fetch(&["--maildir", maildir.to_str().unwrap(), "--all"]);
    assert!(fetched.status.success(), "{}", told(&fetched));
    assert_eq!(files(&maildir), 1);
}

/// An LMTP server refuses one of five messages: the others are delivered and deleted, and that one
/// stays.
#[test]
fn a_message_that_is_refused_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let (lmtp, taken) = lmtp(true);
    let server = Script::with_messages(5).start();
    let options =
        ["--lmtp", &lmtp, "--to", "ana@x.test", "--delete", "--state", state.to_str().unwrap()];
    let fetched = server.fetch(&options);
    assert!(!fetched.status.success());
    let said = told(&fetched);
    assert!(
        said.contains("4 messages fetched, 4 removed from the server, 1 that were refused here"),
        "{said}"
    );
    assert!(said.contains("message 2 (uid-i-2): the LMTP server refuses it: 554 5.7.1"), "{said}");
    assert_eq!((server.removed(), taken.lock().unwrap().len()), (4, 4));
    let said = told(&server.fetch(&options));
    assert!(said.contains("0 messages fetched, 0 removed from the server, 1 that"), "{said}");
    assert_eq!((server.removed(), taken.lock().unwrap().len()), (4, 4), "none comes again");
}

/// Unique-ids of 146 octets, where RFC 1939 §7 allows 70.
#[test]
fn long_unique_ids_are_known_again() {
    let mut here = Place::new(&[("pop3", "none")]);
    here.add_account("ana@x.test");
    here.start();
    let long =
        |number| format!("{number} ReactionDigest-{}@odspnotify", format!("a{number}").repeat(60));
    let mut script = Script::with_messages(2);
    script.unique_ids = (1..=2).map(long).collect();
    let server = script.start();
    let config = here.config();
    let account = ["--account", "ana@x.test", "--keep", "--config", config.to_str().unwrap()];
    for messages in [2, 0] {
        let fetched = server.fetch(&account);
        let said = format!("{messages} messages fetched into the mailbox");
        assert!(told(&fetched).contains(&said), "{}", told(&fetched));
    }
    let mut session = pop3(here.address("pop3"), "ana");
    assert_eq!(session.listing("UIDL").len(), 2);
}

/// The answer to AUTH is `+ go ahead`, which is not base64, or only `+`.
#[test]
fn a_challenge_need_not_be_one() {
    for challenge in ["+ \r\n", "+ go ahead\r\n", "+\r\n"] {
        let directory = tempfile::tempdir().unwrap();
        let maildir = directory.path().join("Maildir");
        let script = Script {
            capabilities: Some("UIDL\r\nSASL PLAIN"),
            answers: vec![("AUTH PLAIN", challenge.into())],
            ..Script::with_messages(1)
        };
        let server = script.start();
        let fetched = server.fetch(&["--maildir", maildir.to_str().unwrap(), "--all"]);
        assert!(fetched.status.success(), "{challenge:?}: {}", told(&fetched));
        assert_eq!(files(&maildir), 1);
    }
}

/// A server refuses the mechanisms that it offers: the next is tried, and USER with PASS in the end.
#[test]
fn what_is_refused_is_followed_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let maildir = directory.path().join("Maildir");
    let script = Script {
        capabilities: Some("UIDL\r\nSASL SCRAM-SHA-256 PLAIN LOGIN"),
        answers: vec![("AUTH", b"-ERR [AUTH] not for you\r\n".to_vec())],
        ..Script::with_messages(1)
    };
    let server = script.start();
    let fetched = server.fetch(&["--maildir", maildir.to_str().unwrap(), "--all"]);
    assert!(fetched.status.success(), "{}", told(&fetched));
    assert_eq!(files(&maildir), 1);
    let commands = server.commands.lock().unwrap().clone();
    let tried = commands.iter().filter_map(|line| line.strip_prefix("AUTH "));
    let tried: Vec<&str> = tried.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(tried, ["SCRAM-SHA-256", "PLAIN", "LOGIN"]);
}

/// A password that two mechanisms have found wrong is not tried by another: each would be a failed login. Without the
/// code for a wrong password the server may mean the mechanism.
#[test]
fn a_wrong_password_is_not_tried_by_every_mechanism() {
    for (refusal, tried) in [("-ERR [AUTH] no\r\n", 2), ("-ERR no\r\n", 3)] {
        let directory = tempfile::tempdir().unwrap();
        let maildir = directory.path().join("Maildir");
        let script = Script {
            capabilities: Some("UIDL\r\nSASL PLAIN LOGIN"),
            answers: vec![
                ("AUTH PLAIN", refusal.into()),
                ("AUTH LOGIN", b"+ VXNlcm5hbWU6\r\n".to_vec()),
                // The user, and the password.
                ("dQ==", b"+ UGFzc3dvcmQ6\r\n".to_vec()),
                ("cGFyb2xh", refusal.into()),
                ("PASS", refusal.into()),
            ],
            ..Script::with_messages(1)
        };
        let server = script.start();
        let fetched = server.fetch(&["--maildir", maildir.to_str().unwrap(), "--all"]);
        let words = format!("the server refuses: {}", refusal[5..].trim());
        assert!(told(&fetched).contains(&words), "{}", told(&fetched));
        let commands = server.commands.lock().unwrap().clone();
        let count = commands.iter().filter(|line| ["AUTH", "PASS"].contains(&&line[..4])).count();
        assert_eq!(count, tried, "{commands:?}");
    }
    // This server offers SCRAM, PLAIN and USER.
    let mut here = Place::new(&[("pop3", "none")]);
    here.add_account("ana@x.test");
    here.start();
    let fetch = ["fetch", "--server", here.address("pop3"), "--user", "ana", "--password-stdin"];
    let refused = posta(&[&fetch[..], &["--stdout"]].concat(), "wrong");
    assert!(told(&refused).contains("[AUTH] name or password is wrong"), "{}", told(&refused));
    let traced = here.posta(&["trace", "ana@x.test", "--json"], "");
    let events: serde_json::Value = serde_json::from_slice(&traced.stdout).unwrap();
    let refused = events.as_array().unwrap().iter().filter_map(|event| event["refused"].as_array());
    let times: u64 = refused.flatten().map(|one| one["times"].as_u64().unwrap_or(1)).sum();
    assert_eq!(times, 2, "{events:#}");
}

/// A server whose part of SCRAM is forged does not get the password by another mechanism.
#[test]
fn an_impostor_gets_no_password() {
    let script = Script {
        capabilities: Some("UIDL\r\nSASL SCRAM-SHA-256 PLAIN LOGIN"),
        answers: vec![
            ("AUTH SCRAM", b"+ cj1YLHM9WCxpPTQwOTY=\r\n".to_vec()),
            ("*", b"-ERR cancelled\r\n".to_vec()),
        ],
        ..Script::with_messages(1)
    };
    let server = script.start();
    let refused = server.fetch(&["--stdout"]);
    assert!(!refused.status.success());
    assert!(told(&refused).contains("could not prove"), "{}", told(&refused));
    let commands = server.commands.lock().unwrap().clone();
    let count = |verb: &str| commands.iter().filter(|line| line.starts_with(verb)).count();
    assert_eq!((count("AUTH"), count("PASS"), count("QUIT")), (1, 0, 1), "{commands:?}");
}

/// A malformed line of UIDL affects only its own message, which is named. Nothing is deleted unless
/// requested.
#[test]
fn a_malformed_line_costs_its_message() {
    let directory = tempfile::tempdir().unwrap();
    let (maildir, state) = (directory.path().join("Maildir"), directory.path().join("state"));
    let into = ["--maildir", maildir.to_str().unwrap(), "--state", state.to_str().unwrap()];
    let mut script = Script::with_messages(5);
    script.unique_ids[1] = "2".to_owned();
    script.unique_ids[2] = "3 ".to_owned();
    script.unique_ids[3] = "four uid-i-4".to_owned();
    let server = script.start();
    for messages in [2, 0] {
        let fetched = server.fetch(&into);
        assert!(!fetched.status.success());
        let said = told(&fetched);
        assert!(said.contains(&format!("{messages} messages fetched, 0 removed")), "{said}");
        assert!(said.contains("3 without a unique-id of their own"), "{said}");
        assert!(said.contains("message 2: the server gives it no unique-id"), "{said}");
        assert!(said.contains("message 3: the server gives it no unique-id"), "{said}");
        assert!(said.contains("list: \"four uid-i-4\" names no message"), "{said}");
    }
    assert_eq!(server.removed(), 0, "nothing is deleted by default");
}

/// What was fetched stays known, whatever the server makes of its line in between.
#[test]
fn a_line_that_was_malformed_once_brings_no_copy() {
    let directory = tempfile::tempdir().unwrap();
    let (maildir, state) = (directory.path().join("Maildir"), directory.path().join("state"));
    let into = ["--maildir", maildir.to_str().unwrap(), "--state", state.to_str().unwrap()];
    let script = Script::with_messages(3);
    for (line, messages) in
        [("2 uid-i-2", 3), ("two uid-i-2", 0), ("2 uid-i-2", 0), ("2", 0), ("2 uid-i-2", 0)]
    {
        let mut script = script.clone();
        script.unique_ids[1] = line.to_owned();
        let fetched = script.start().fetch(&into);
        let said = format!("{messages} messages fetched");
        assert!(told(&fetched).contains(&said), "{line}: {}", told(&fetched));
    }
    assert_eq!(files(&maildir), 3);
}

/// Lines of LIST only tell sizes: one that makes no sense costs nothing.
#[test]
fn a_malformed_size_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let maildir = directory.path().join("Maildir");
    let list = b"+OK\r\n1 100\r\n2\r\nthree 100\r\n4 large\r\n\xff\r\n5 -1\r\n6 0100\r\n.\r\n";
    let script = Script { answers: vec![("LIST", list.to_vec())], ..Script::with_messages(6) };
    let fetched = script.start().fetch(&["--maildir", maildir.to_str().unwrap(), "--all"]);
    assert!(fetched.status.success(), "{}", told(&fetched));
    assert_eq!(files(&maildir), 6);
}

/// From a server without UIDL, messages that stay would be fetched again each time, unless all are
/// requested.
#[test]
fn a_server_without_unique_ids_is_fetched_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let maildir = directory.path().join("Maildir");
    let server = Script { unique_ids: Vec::new(), ..Script::with_messages(3) }.start();
    let into = ["--maildir", maildir.to_str().unwrap()];
    let state = directory.path().join("state");
    let refused = server.fetch(&[&into[..], &["--state", state.to_str().unwrap()]].concat());
    assert!(told(&refused).contains("the server has no unique-ids"), "{}", told(&refused));
    let fetched = server.fetch(&[&into[..], &["--all"]].concat());
    assert!(fetched.status.success(), "{}", told(&fetched));
    assert_eq!((files(&maildir), server.removed()), (3, 0));
    let fetched = server.fetch(&[&into[..], &["--delete"]].concat());
    assert!(fetched.status.success(), "{}", told(&fetched));
    assert_eq!((files(&maildir), server.removed()), (6, 3));
}

/// The line before each message has the form by which mail programs recognise it (RFC 4155 appendix A).
#[test]
fn an_mbox_is_of_the_form_that_mail_programs_read() {
    let directory = tempfile::tempdir().unwrap();
    let mbox = directory.path().join("mbox");
    let server = Script::with_messages(2).start();
    let fetched = server.fetch(&["--mbox", mbox.to_str().unwrap()]);
    assert!(fetched.status.success(), "{}", told(&fetched));
    let printed = stdout(&server.fetch(&["--stdout"]));
    for text in [fs::read_to_string(&mbox).unwrap(), printed] {
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("From ")).collect();
        assert_eq!(lines.len(), 2, "{text}");
        for line in lines {
            let time = line.strip_prefix("From MAILER-DAEMON ").unwrap();
            let date = ["-u", "-d", &format!("{time} UTC"), "+%a %b %e %T %Y"];
            let parsed =
                stdout(&Command::new("date").env("LC_ALL", "C").args(date).output().unwrap());
            assert_eq!(parsed.trim_end(), time);
        }
    }
}
