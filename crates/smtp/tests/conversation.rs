//! What becomes of a session whose question is not answered, or answered too late.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use posta_mail::{Engine, Interrupt, Step, TlsUse};
use posta_smtp::{
    client::{self, Client},
    command::HelloVerb,
    server::{Limits, Profile, Question, Server, Service},
};
use std::sync::Arc;

/// A server that has asked whether the client may speak.
fn asked(said: &mut Vec<u8>) -> (Server, Question) {
    let hostname = "mail.x.test".parse().unwrap();
    let profile = Profile::new(hostname, Service::Smtp, 1_000_000, Limits::new(100, 0));
    let mut server = Server::new(Arc::new(profile));
    let Step::Ask(question) = server.next(&mut &b"EHLO c.test\r\nNOOP\r\n"[..], said) else {
        panic!("EHLO is asked about");
    };
    said.clear();
    (server, question)
}

#[test]
fn a_dropped_ticket_closes_the_session() {
    let mut said = Vec::new();
    let (mut server, question) = asked(&mut said);
    drop(question);
    for _ in 0..2 {
        assert!(matches!(server.next(&mut &b"NOOP\r\n"[..], &mut said), Step::Close));
    }
    assert!(said.is_empty(), "nothing is answered after it");

    let options = client::Options::new("c.test", HelloVerb::Ehlo, TlsUse::Never);
    let mut client = Client::new(options, false);
    let mut input = &b"220 x\r\n250 x\r\n"[..];
    assert!(matches!(client.next(&mut input, &mut said), Step::Ask(client::Question::Next(..))));
    assert!(matches!(client.next(&mut input, &mut said), Step::Close));
}

#[test]
fn an_answer_after_the_parting_words_changes_nothing() {
    let mut said = Vec::new();
    let (mut server, question) = asked(&mut said);
    let Question::Hello(_, ticket) = question else { panic!("{question:?}") };
    server.interrupt(Interrupt::Stopping, &mut said);
    let parting = said.clone();
    server.answer(ticket.answer(Ok(())), &mut said);
    assert!(matches!(server.next(&mut &b"NOOP\r\n"[..], &mut said), Step::Close));
    assert_eq!(said, parting);
    assert!(parting.starts_with(b"421 "));
}
