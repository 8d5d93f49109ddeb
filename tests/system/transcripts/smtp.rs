//! The SMTP server's questions and answers as text.

use crate::{
    Protocol,
    script::{Script, unescape},
};
use posta_mail::{
    Reply, ReplyCode,
    envelope::{Body, Hold, Late, MailParameters, RecipientParameters, Return},
    sasl::{Exchange, Progress},
};
use posta_smtp::server::{
    Answer, Committed, EnvelopeRecipient, Forwarded, Limits, Mail, Profile, Question, Server,
    Service,
};
use std::{sync::Arc, time::Duration};

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
        let hostname = script.setting("hostname").unwrap().parse().unwrap();
        let recipients = script.setting("recipients").map_or(100, |count| count.parse().unwrap());
        let commands = script.setting("commands").map_or(1_000, |count| count.parse().unwrap());
        let limits = Limits { commands, ..Limits::new(recipients, 30 * 24 * 60 * 60) };
        let engine = Server::new(Arc::new(Profile {
            verify: script.setting("verify") == Some("yes"),
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
            ..Profile::new(hostname, service, size, limits)
        }));
        let pause = script.setting("pause").map_or(0, |pause| pause.parse().unwrap());
        let engine = engine.greeting_after(Duration::from_millis(pause));
        if script.setting("trusted") == Some("yes") { engine.trusting() } else { engine }
    }

    fn question(question: &Question) -> Option<String> {
        Some(match question {
            Question::SpokeEarly(_) => "spoke-early".to_owned(),
            Question::Hello(hello, _) => {
                format!("hello {} {}", format!("{:?}", hello.verb).to_uppercase(), hello.name)
            }
            Question::Authenticate(Exchange::Start { mechanism, initial }, _) => match initial {
                Some(octets) => format!("auth {mechanism} {}", octets.escape_ascii()),
                None => format!("auth {mechanism}"),
            },
            Question::BrokenOff(_) => "auth cancelled".to_owned(),
            Question::Authenticate(Exchange::Response(octets), _) => {
                format!("auth: {}", octets.escape_ascii())
            }
            Question::Mail(Mail { reverse_path, parameters }, _) => {
                format!("mail {reverse_path}{}", mail_parameters(parameters))
            }
            Question::Recipient(EnvelopeRecipient { path, parameters }, _) => {
                format!("recipient {path}{}", recipient_parameters(parameters))
            }
            Question::Verify(name, _) => format!("verify {name}"),
            Question::Forwarded(Forwarded { client, login }, _) => {
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
            Question::Content(_) => "content".to_owned(),
            Question::Commit(_) => "commit".to_owned(),
            Question::Abandon(_) => "abandon".to_owned(),
        })
    }

    fn answer(_: &Script, _: &[Vec<u8>], question: Question, text: Option<&str>) -> Answer {
        let text = text.unwrap_or_else(|| panic!("the script does not answer {question:?}"));
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        // Most questions take "accept" or "refuse".
        let verdict = |question: &str| match word {
            "accept" => Ok(()),
            "refuse" => Err(refusal(rest)),
            _ => panic!("{text} is no answer to {question}"),
        };
        match question {
            Question::SpokeEarly(ticket)
            | Question::Hello(_, ticket)
            | Question::Mail(_, ticket)
            | Question::Recipient(_, ticket)
            | Question::Forwarded(_, ticket)
            | Question::Content(ticket) => ticket.answer(verdict("a command")),
            Question::Authenticate(_, ticket) => ticket.answer(match word {
                "challenge" => Ok(Progress::Challenge(unescape(rest).unwrap())),
                _ => verdict("AUTH").map(Progress::Done),
            }),
            Question::Verify(_, ticket) => ticket.answer(match word {
                "found" => Ok(rest.split(", ").map(str::to_owned).collect()),
                _ => verdict("VRFY").map(|()| panic!("VRFY finds somebody or nobody")),
            }),
            Question::Commit(ticket) => ticket.answer(match word {
                "committed" => Ok(committed(rest)),
                _ => verdict("the commit").map(|()| panic!("a commit has an id")),
            }),
            Question::BrokenOff(ticket) | Question::Abandon(ticket) => {
                assert_eq!(text, "accept", "there is nothing to decide");
                ticket.answer(())
            }
        }
    }
}

/// Reads `ID`, or `ID but POSITION CODE STATUS WORDS` where a recipient of LMTP is refused after all.
fn committed(text: &str) -> Committed {
    let (id, but) = text.split_once(" but ").map_or((text, None), |(id, but)| (id, Some(but)));
    let refused = but.map(|but| {
        let (position, reply) = but.split_once(' ').unwrap();
        (position.parse().unwrap(), refusal(reply))
    });
    Committed { id: id.parse().unwrap(), refused: refused.into_iter().collect() }
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

/// Parses a refusal such as `550 5.1.1 words`.
fn refusal(text: &str) -> Reply {
    let mut words = text.splitn(3, ' ');
    let code = ReplyCode::new(words.next().unwrap().parse().unwrap()).unwrap();
    let status: Vec<u16> =
        words.next().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
    let status = (u8::try_from(status[0]).unwrap(), status[1], status[2]);
    Reply::new(code.get(), status, words.next().unwrap().to_owned())
}
