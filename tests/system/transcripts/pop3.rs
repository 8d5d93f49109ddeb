//! The POP3 server's questions and answers as text.

use crate::{
    Protocol,
    script::{Script, unescape},
};
use bytes::Bytes;
use posta_mail::{
    crlf::lines_of,
    sasl::{Exchange, Progress},
};
use posta_pop3::{
    SubjectMark,
    server::{
        Answer, Denial, Lapse, Maildrop, MessagePiece, NotRemoved, Profile, Question, Server,
        Unreadable,
    },
};
use std::{sync::Arc, time::Duration};

pub struct Pop3;

/// The messages in the maildrop, and the numbers of those that are shown with a mark.
#[derive(Debug)]
pub struct Messages(Vec<Vec<u8>>, Vec<String>);

impl Maildrop for Messages {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn octets(&self, index: usize) -> u64 {
        let mark = if self.is_marked(index) { SubjectMark::OCTETS } else { 0 };
        lines_of(&self.0[index]).len() as u64 + mark
    }

    fn is_marked(&self, index: usize) -> bool {
        self.1.contains(&(index + 1).to_string())
    }

    fn write_unique_id(&self, index: usize, text: &mut String) {
        text.push_str(&format!("uid-{}", index + 1));
    }
}

impl Protocol for Pop3 {
    type Engine = Server<Messages>;

    fn engine(script: &Script) -> Self::Engine {
        let auth = script.setting("auth") == Some("yes");
        let unannounced = script.setting("unannounced") == Some("yes");
        let number = |name| script.setting(name).map(|number| number.parse::<u32>().unwrap());
        let profile = Profile {
            stls: script.setting("stls") == Some("yes"),
            mechanisms: if auth { vec!["SCRAM-SHA-256", "PLAIN"] } else { Vec::new() },
            secured_mechanisms: match (auth, unannounced) {
                (false, _) => Vec::new(),
                (true, false) => vec!["SCRAM-SHA-256-PLUS", "PLAIN"],
                (true, true) => vec!["SCRAM-SHA-256", "PLAIN"],
            },
            unannounced: if unannounced { vec!["SCRAM-SHA-256-PLUS"] } else { Vec::new() },
            expire: number("expire"),
            login_delay: Duration::from_secs(number("login-delay").unwrap_or_default().into()),
            ..Profile::new(script.setting("hostname").unwrap().to_owned())
        };
        Server::new(Arc::new(profile), script.setting("plaintext-login") != Some("no"))
            .with_challenge(script.setting("apop").map(str::to_owned))
    }

    fn question(question: &Question<Messages>) -> Option<String> {
        Some(match question {
            Question::Login { name, password, .. } => {
                format!("login {name} {}", password.expose().escape_ascii())
            }
            Question::Apop { name, challenge, digest, .. } => {
                let digest: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
                format!("apop {name} {challenge} {digest}")
            }
            Question::Authenticate(Exchange::Start { mechanism, initial }, _) => match initial {
                Some(octets) => format!("auth {mechanism} {}", octets.escape_ascii()),
                None => format!("auth {mechanism}"),
            },
            Question::BrokenOff(_) => "auth cancelled".to_owned(),
            Question::Authenticate(Exchange::Response(octets), _) => {
                format!("auth: {}", octets.escape_ascii())
            }
            // The protocol does not determine how a message is split.
            Question::Read { .. } => return None,
            // This is asked before each command; the setting `login` answers.
            Question::Proceed(_) => return None,
            Question::Update(indices, _) => {
                let numbers: Vec<_> = indices.iter().map(|index| (index + 1).to_string()).collect();
                format!("update {}", numbers.join(" "))
            }
        })
    }

    fn answer(
        script: &Script,
        messages: &[Vec<u8>],
        question: Question<Messages>,
        text: Option<&str>,
    ) -> Answer<Messages> {
        let unanswered = format!("the script does not answer {question:?}");
        let login = || match text.expect(&unanswered) {
            "opened" => {
                let marked = script.settings("marked").map(str::to_owned).collect();
                Ok(Messages(messages.to_vec(), marked))
            }
            "denied" => Err(Denial::Credentials),
            "unavailable" => Err(Denial::Unavailable),
            "disabled" => Err(Denial::Disabled),
            "send-only" => Err(Denial::SendOnly),
            "locked" => Err(Denial::Locked),
            "too-many" => Err(Denial::TooMany),
            "too-soon" => Err(Denial::TooSoon),
            other => panic!("{other}: {unanswered}"),
        };
        match question {
            Question::Login { ticket, .. } | Question::Apop { ticket, .. } => {
                ticket.answer(login())
            }
            Question::Authenticate(_, ticket) => {
                ticket.answer(match text.and_then(|text| text.strip_prefix("challenge")) {
                    Some(challenge) => {
                        Ok(Progress::Challenge(unescape(challenge.trim_start()).unwrap()))
                    }
                    None => login().map(Progress::Done),
                })
            }
            Question::BrokenOff(ticket) => {
                assert_eq!(text, Some("denied"), "there is nothing to decide");
                ticket.answer(())
            }
            Question::Proceed(ticket) => ticket.answer(match script.setting("login") {
                Some("ends") => Err(Lapse::Ended),
                Some("expires") => Err(Lapse::Expired),
                Some("unknown") => Err(Lapse::Unavailable),
                _ => Ok(()),
            }),
            Question::Read { index, offset, ticket, .. } => {
                ticket.answer(read(script, messages, index, offset))
            }
            Question::Update(_, ticket) => ticket.answer(match text {
                Some("updated") => Ok(()),
                Some("failed") => Err(NotRemoved),
                _ => panic!("{unanswered}"),
            }),
        }
    }
}

/// Returns a message in pieces of `pieces` octets. From `unreadable-from` on, it cannot be read. The
/// message with number `damaged` is damaged.
fn read(script: &Script, messages: &[Vec<u8>], index: usize, offset: u64) -> MessagePiece {
    if script.setting("damaged").is_some_and(|number| number == (index + 1).to_string()) {
        return Err(Unreadable::Damaged);
    }
    let limit = script.setting("unreadable-from").map(|offset| offset.parse::<u64>().unwrap());
    if limit.is_some_and(|limit| offset >= limit) {
        return Err(Unreadable::ForNow);
    }
    let message = &messages[index][usize::try_from(offset).unwrap()..];
    let size = script.setting("pieces").map_or(usize::MAX, |size| size.parse().unwrap());
    Ok(Bytes::copy_from_slice(&message[..size.min(message.len())]))
}
