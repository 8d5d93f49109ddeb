//! The SMTP server's questions and answers as text.

use crate::{
    Protocol,
    script::{Script, unescape},
};
use posta_mail::{Reply, ReplyCode};
use posta_smtp::{
    Server,
    command::Body,
    server::{Answer, Exchange, Limits, Mail, Profile, Question, Service},
};
use std::sync::Arc;

pub struct Smtp;

impl Protocol for Smtp {
    type Engine = Server;

    fn engine(script: &Script) -> Server {
        let service = match script.setting("service") {
            Some("submission") => Service::Submission,
            Some("lmtp") => Service::Lmtp,
            _ => Service::Smtp,
        };
        let size = script.setting("size").map_or(1_000_000, |size| size.parse().unwrap());
        Server::new(Arc::new(Profile {
            hostname: script.setting("hostname").unwrap().parse().unwrap(),
            service,
            message_size: size,
            limits: Limits {
                commands: script.setting("commands").map_or(1_000, |count| count.parse().unwrap()),
                recipients: script
                    .setting("recipients")
                    .map_or(100, |count| count.parse().unwrap()),
                ..Limits::default()
            },
            normalise_newlines: script.setting("bare-newlines") == Some("normalise"),
            starttls: script.setting("starttls") == Some("yes"),
            mechanisms: match script.setting("auth") {
                Some(_) => vec!["SCRAM-SHA-256", "PLAIN", "LOGIN"],
                None => Vec::new(),
            },
            plaintext_auth: script.setting("auth") == Some("plaintext"),
        }))
    }

    fn question(question: &Question) -> Option<String> {
        Some(match question {
            Question::Hello(hello) => {
                format!("hello {} {}", format!("{:?}", hello.verb).to_uppercase(), hello.name)
            }
            Question::Authenticate(Exchange::Start { mechanism, initial }) => match initial {
                Some(octets) => format!("auth {mechanism} {}", octets.escape_ascii()),
                None => format!("auth {mechanism}"),
            },
            Question::Authenticate(Exchange::Response(octets)) => {
                format!("auth: {}", octets.escape_ascii())
            }
            Question::Mail(Mail { reverse_path, size, body, utf8 }) => {
                let size = size.map_or_else(String::new, |size| format!(" size={size}"));
                let body = match body {
                    Body::SevenBit => "",
                    Body::EightBitMime => " 8bit",
                    Body::BinaryMime => " binary",
                };
                let utf8 = if *utf8 { " utf8" } else { "" };
                format!("mail {reverse_path}{size}{body}{utf8}")
            }
            Question::Recipient(path) => format!("recipient {path}"),
            Question::Content => "content".to_owned(),
            Question::Commit => "commit".to_owned(),
            Question::Abandon => "abandon".to_owned(),
        })
    }

    fn answer(_script: &Script, question: &Question, text: Option<&str>) -> Answer {
        match text {
            None => panic!("the script does not answer {question:?}"),
            Some("accept") => Answer::Accept,
            Some(text) => {
                let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
                match word {
                    "challenge" => Answer::Challenge(unescape(rest).unwrap()),
                    "committed" => Answer::Committed(rest.parse().unwrap()),
                    "refuse" => Answer::Refuse(refusal(rest)),
                    _ => panic!("no answer: {text}"),
                }
            }
        }
    }
}

/// `550 5.1.1 words`.
fn refusal(text: &str) -> Reply {
    let mut words = text.splitn(3, ' ');
    let code = ReplyCode::new(words.next().unwrap().parse().unwrap()).unwrap();
    let status: Vec<u16> =
        words.next().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
    let status = (u8::try_from(status[0]).unwrap(), status[1], status[2]);
    Reply::new(code.get(), status, words.next().unwrap().to_owned())
}
