//! The POP3 server's questions and answers as text.

use crate::{
    Protocol,
    script::{Script, unescape},
};
use bytes::Bytes;
use posta_mail::{crlf::lines_of, sasl::Exchange};
use posta_pop3::{
    Server,
    server::{Answer, Denial, Maildrop, Profile, Question},
};
use std::{sync::Arc, time::Duration};

pub struct Pop3;

/// The messages of a script's settings.
#[derive(Debug)]
pub struct Messages(Vec<Vec<u8>>);

impl Maildrop for Messages {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn octets(&self, index: usize) -> u64 {
        lines_of(&self.0[index]).len() as u64
    }

    fn write_unique_id(&self, index: usize, text: &mut String) {
        text.push_str(&format!("uid-{}", index + 1));
    }
}

fn messages(script: &Script) -> Vec<Vec<u8>> {
    script.settings("message").map(|text| unescape(text).unwrap()).collect()
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

    fn question(question: &Question) -> Option<String> {
        Some(match question {
            Question::Login { name, password } => {
                format!("login {name} {}", password.expose().escape_ascii())
            }
            Question::Apop { name, challenge, digest } => {
                let digest: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
                format!("apop {name} {challenge} {digest}")
            }
            Question::Authenticate(Exchange::Start { mechanism, initial }) => match initial {
                Some(octets) => format!("auth {mechanism} {}", octets.escape_ascii()),
                None => format!("auth {mechanism}"),
            },
            Question::Authenticate(Exchange::Cancel) => "auth cancelled".to_owned(),
            Question::Authenticate(Exchange::Response(octets)) => {
                format!("auth: {}", octets.escape_ascii())
            }
            // How a message is cut is not the protocol's business.
            Question::Read { .. } => return None,
            // Asked before each command; the setting `login` answers.
            Question::Proceed => return None,
            Question::Update(indices) => {
                let numbers: Vec<_> = indices.iter().map(|index| (index + 1).to_string()).collect();
                format!("update {}", numbers.join(" "))
            }
        })
    }

    fn answer(script: &Script, question: &Question, text: Option<&str>) -> Answer<Messages> {
        if let Question::Read { index, offset, .. } = question {
            return read(script, *index, *offset);
        }
        if matches!(question, Question::Proceed) {
            return match script.setting("login") {
                Some("ends") => Answer::Denied(Denial::Ended),
                Some("expires") => Answer::Denied(Denial::Expired),
                Some("unknown") => Answer::Denied(Denial::Unavailable),
                _ => Answer::Proceed,
            };
        }
        match text {
            Some("opened") => Answer::Opened(Messages(messages(script))),
            Some("denied") => Answer::Denied(Denial::Credentials),
            Some("unavailable") => Answer::Denied(Denial::Unavailable),
            Some("disabled") => Answer::Denied(Denial::Disabled),
            Some("locked") => Answer::Denied(Denial::Locked),
            Some("too-many") => Answer::Denied(Denial::TooMany),
            Some("too-soon") => Answer::Denied(Denial::TooSoon),
            Some(text) if text.starts_with("challenge") => {
                Answer::Challenge(unescape(text["challenge".len()..].trim_start()).unwrap())
            }
            Some("updated") => Answer::Updated,
            Some("failed") => Answer::Failed,
            _ => panic!("the script does not answer {question:?}"),
        }
    }
}

/// A message in pieces of `pieces` octets; from `unreadable-from` on it cannot be read. The one of the number
/// `damaged` is damaged.
fn read(script: &Script, index: usize, offset: u64) -> Answer<Messages> {
    if script.setting("damaged").is_some_and(|number| number == (index + 1).to_string()) {
        return Answer::Damaged;
    }
    let limit = script.setting("unreadable-from").map(|offset| offset.parse::<u64>().unwrap());
    if limit.is_some_and(|limit| offset >= limit) {
        return Answer::Failed;
    }
    let message = &messages(script)[index][usize::try_from(offset).unwrap()..];
    let size = script.setting("pieces").map_or(usize::MAX, |size| size.parse().unwrap());
    Answer::Content(Bytes::copy_from_slice(&message[..size.min(message.len())]))
}
