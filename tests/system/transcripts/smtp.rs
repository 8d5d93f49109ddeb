//! The SMTP server's questions and answers as text.

use crate::{
    Protocol,
    script::{Script, unescape},
};
use posta_mail::sasl::Exchange;
use posta_mail::{
    Reply, ReplyCode,
    envelope::{Body, Hold, Late, MailParameters, RecipientParameters, Return},
};
use posta_smtp::{
    Server,
    server::{Answer, Forwarded, Limits, Mail, Profile, Question, Recipient, Service},
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
        let engine = Server::new(Arc::new(Profile {
            verify: script.setting("verify") == Some("yes"),
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
            unannounced: match script.setting("unannounced") {
                Some(_) => vec!["SCRAM-SHA-256-PLUS"],
                None => Vec::new(),
            },
            plaintext_auth: script.setting("auth") == Some("plaintext"),
            ..Profile::new(script.setting("hostname").unwrap().parse().unwrap(), service)
        }));
        if script.setting("trusted") == Some("yes") { engine.trusting() } else { engine }
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
            Question::Authenticate(Exchange::Cancel) => "auth cancelled".to_owned(),
            Question::Authenticate(Exchange::Response(octets)) => {
                format!("auth: {}", octets.escape_ascii())
            }
            Question::Mail(Mail { reverse_path, parameters }) => {
                format!("mail {reverse_path}{}", mail_parameters(parameters))
            }
            Question::Recipient(Recipient { path, parameters }) => {
                format!("recipient {path}{}", recipient_parameters(parameters))
            }
            Question::Verify(name) => format!("verify {name}"),
            Question::Forwarded(Forwarded { client, login }) => {
                let mut text = "forwarded".to_owned();
                if let Some(client) = client {
                    let ip = client.ip().map(|ip| ip.to_string());
                    let client = ip.unwrap_or_else(|| client.to_string());
                    text.push_str(&format!(" client={client}"));
                }
                if let Some(login) = login {
                    text.push_str(&format!(" login={login}"));
                }
                text
            }
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
                    "found" => Answer::Found(rest.split(", ").map(str::to_owned).collect()),
                    "challenge" => Answer::Challenge(unescape(rest).unwrap()),
                    "committed" => Answer::Committed(rest.parse().unwrap()),
                    "refuse" => Answer::Refuse(refusal(rest)),
                    _ => panic!("no answer: {text}"),
                }
            }
        }
    }
}

fn mail_parameters(parameters: &MailParameters) -> String {
    let MailParameters {
        size, body, utf8, ret, envelope_id, require_tls, hold, by, priority, ..
    } = parameters;
    let words = [
        size.map(|size| format!("size={size}")),
        match body {
            Body::SevenBit => None,
            Body::EightBitMime => Some("8bit".to_owned()),
            Body::BinaryMime => Some("binary".to_owned()),
        },
        utf8.then(|| "utf8".to_owned()),
        ret.map(|ret| if ret == Return::Full { "ret=full" } else { "ret=headers" }.to_owned()),
        envelope_id.as_ref().map(|id| format!("envid={id}")),
        require_tls.then(|| "requiretls".to_owned()),
        hold.map(|hold| match hold {
            Hold::For(seconds) => format!("hold={seconds}s"),
            Hold::Until(time) => format!("hold={time}"),
        }),
        by.map(|by| {
            let late = if by.late == Late::Return { "return" } else { "notify" };
            format!("by={}s,{late}", by.seconds)
        }),
        priority.map(|priority| format!("priority={priority}")),
    ];
    words.into_iter().flatten().map(|word| format!(" {word}")).collect()
}

fn recipient_parameters(parameters: &RecipientParameters) -> String {
    let RecipientParameters { notify, original } = parameters;
    let words = [
        notify.map(|notify| format!(" notify={notify}")),
        original.as_ref().map(|original| format!(" original={original}")),
    ];
    words.into_iter().flatten().collect()
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
