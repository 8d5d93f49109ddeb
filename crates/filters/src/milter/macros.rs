//! The macros of sendmail that filters ask for, as far as a message's facts have them.

use super::{Stage, packet};
use crate::facts::MessageFacts;
use posta_mail::{Address, ReversePath};

/// Appends the macros that belong to a step.
pub(super) fn put(
    output: &mut Vec<u8>,
    stage: Stage,
    letter: u8,
    facts: &MessageFacts,
    to: Option<&Address>,
) {
    let found = match stage {
        Stage::Connect => connection(facts),
        Stage::Hello => hello(facts),
        Stage::Mail => sender(facts),
        Stage::Recipient => to.map(recipient).unwrap_or_default(),
        Stage::Data | Stage::EndOfFields | Stage::End => vec![("i", facts.id.clone())],
        Stage::Negotiation | Stage::Field | Stage::Body => return,
    };
    packet::put(output, b'D', |output| {
        output.push(letter);
        for (name, value) in found {
            packet::put_text(output, name.as_bytes());
            packet::put_text(output, value.as_bytes());
        }
    });
}

fn connection(facts: &MessageFacts) -> Vec<(&'static str, String)> {
    let host = facts.client_host();
    let address = facts.client.ip().map(|ip| ip.to_string());
    let told = match &address {
        Some(address) => {
            format!("{} [{address}]", facts.client_name.as_deref().unwrap_or("unknown"))
        }
        None => host.clone(),
    };
    let mut found = vec![
        ("j", facts.hostname.clone()),
        ("{daemon_name}", facts.hostname.clone()),
        ("v", "Posta".to_owned()),
        ("_", told),
        ("{client_name}", host.clone()),
        ("{client_ptr}", host),
    ];
    found.extend(address.map(|address| ("{client_addr}", address)));
    found
}

fn hello(facts: &MessageFacts) -> Vec<(&'static str, String)> {
    match facts.tls_parts() {
        Some((version, cipher)) => {
            vec![("{tls_version}", version.to_owned()), ("{cipher}", cipher.to_owned())]
        }
        None => Vec::new(),
    }
}

fn sender(facts: &MessageFacts) -> Vec<(&'static str, String)> {
    let mut found =
        vec![("i", facts.id.clone()), ("{mail_addr}", facts.sender_address().to_owned())];
    if let ReversePath::Address(address) = &facts.sender {
        found.push(("{mail_host}", address.domain().to_owned()));
    }
    if let Some(account) = &facts.account {
        // Filters differ in which of the two they take as the sign that the client has logged in.
        found.push(("{auth_type}", "SASL".to_owned()));
        found.push(("{auth_authen}", account.to_string()));
    }
    found
}

fn recipient(address: &Address) -> Vec<(&'static str, String)> {
    vec![("{rcpt_addr}", address.to_string()), ("{rcpt_host}", address.domain().to_owned())]
}
