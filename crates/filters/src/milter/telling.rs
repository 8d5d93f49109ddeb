//! The packets that the filter gets at each stage. Part of the engine's state machine.

use super::{
    Milter, Stage, State, macros, negotiation,
    packet::{self, CHUNK},
};
use crate::{
    facts::MessageFacts,
    fields::{FIELD, NextField, field_name, field_value},
};
use std::net::IpAddr;

/// The maximal number of octets of a field that a filter sees: a packet of libmilter has no room for more.
const SHOWN: usize = FIELD - 1_024;

impl Milter {
    /// Makes the packet of the present stage, or goes on to the next stage. Returns whether content is needed first.
    pub(super) fn send(&mut self, output: &mut Vec<u8>) -> bool {
        let facts = self.facts.clone();
        match self.stage {
            Stage::Negotiation => {
                negotiation::offer(output);
                self.state = State::Expecting(Stage::Connect);
            }
            Stage::Connect => {
                self.step((b'C', Stage::Hello), output, |output| connect(&facts, output))
            }
            Stage::Hello => self.step((b'H', Stage::Mail), output, |output| {
                packet::put_text(output, facts.hello.as_bytes());
            }),
            Stage::Mail => self.step((b'M', Stage::Recipient), output, |output| {
                packet::put_text(output, format!("<{}>", facts.sender_address()).as_bytes());
                packet::put_text(output, format!("SIZE={}", facts.octets).as_bytes());
            }),
            Stage::Recipient => match facts.recipients.get(self.recipient) {
                None => self.go_on(Stage::Data),
                Some(address) => {
                    self.step((b'R', Stage::Recipient), output, |output| {
                        packet::put_text(output, format!("<{address}>").as_bytes());
                    });
                    self.recipient += 1;
                }
            },
            Stage::Data => self.step((b'T', Stage::Field), output, |_| ()),
            Stage::Field => return self.send_field(output),
            Stage::EndOfFields => self.step((b'N', Stage::Body), output, |_| ()),
            Stage::Body => return self.send_body(output),
            Stage::End => self.step((b'E', Stage::End), output, |_| ()),
        }
        false
    }

    /// Makes a packet of the present stage, if the filter wants it. The stage `then` follows, at once where the filter
    /// does not answer.
    fn step(
        &mut self,
        (letter, then): (u8, Stage),
        output: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if !self.steps.has(self.stage) {
            return self.go_on(then);
        }
        let recipient = self.facts.recipients.get(self.recipient);
        macros::put(output, self.stage, letter, &self.facts, recipient);
        packet::put(output, letter, write);
        match self.steps.is_answered(self.stage) {
            true => self.state = State::Expecting(then),
            false => self.go_on(then),
        }
    }

    fn send_field(&mut self, output: &mut Vec<u8>) -> bool {
        let Some(reader) = &mut self.content.reader else {
            self.go_on(Stage::EndOfFields);
            return false;
        };
        let mut piece = &self.content.piece[..];
        let next = match self.content.is_over {
            true => reader.finish(),
            false => reader.next(&mut piece),
        };
        let taken = self.content.piece.len() - piece.len();
        let _ = self.content.piece.split_to(taken);
        match next {
            NextField::More => return true,
            NextField::Field(field) => {
                let keeps_space = self.steps.keeps_space();
                self.step((b'L', Stage::Field), output, |output| {
                    put_field(&field, keeps_space, output)
                });
            }
            NextField::Body(body) => {
                self.content.reader = None;
                if !body.beginning.is_empty() {
                    self.content.piece = [&body.beginning[..], &self.content.piece].concat().into();
                }
                self.go_on(Stage::EndOfFields);
            }
        }
        false
    }

    fn send_body(&mut self, output: &mut Vec<u8>) -> bool {
        if !self.steps.has(Stage::Body) {
            self.go_on(Stage::End);
            return false;
        }
        if self.content.piece.is_empty() {
            if self.content.is_over {
                self.go_on(Stage::End);
            }
            return !self.content.is_over;
        }
        let length = self.content.piece.len().min(CHUNK);
        let chunk = self.content.piece.split_to(length);
        self.step((b'B', Stage::Body), output, |output| output.extend_from_slice(&chunk));
        false
    }
}

/// Writes the client's name, the family of its address, the port and the address.
fn connect(facts: &MessageFacts, output: &mut Vec<u8>) {
    packet::put_text(output, facts.client_host().as_bytes());
    let Some(ip) = facts.client.ip() else { return output.push(b'U') };
    output.push(if ip.is_ipv4() { b'4' } else { b'6' });
    // The port is not known any more; filters only print it.
    output.extend_from_slice(&0_u16.to_be_bytes());
    let address = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("IPv6:{ip}"),
    };
    packet::put_text(output, address.as_bytes());
}

/// Writes a field: its lines end in LF, as sendmail has it.
fn put_field(field: &[u8], keeps_space: bool, output: &mut Vec<u8>) {
    packet::put_text(output, field_name(field).unwrap_or_default());
    let value = field_value(field);
    let value = if keeps_space { value } else { value.strip_prefix(b" ").unwrap_or(value) };
    let value = &value[..value.len().min(SHOWN)];
    let mut lines = Vec::with_capacity(value.len());
    for (at, &octet) in value.iter().enumerate() {
        if octet != b'\r' || value.get(at + 1) != Some(&b'\n') {
            lines.push(octet);
        }
    }
    packet::put_text(output, &lines);
}
