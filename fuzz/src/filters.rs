//! Outside filters: what they answer, and the changes that they may make to what strangers sent.

use bytes::Bytes;
use posta_filters::{
    changes::{FieldEdit, HeaderChanges, HeaderEditor, Occurrence},
    facts::MessageFacts,
    fields::{FieldReader, NewField, NextField},
    milter::{self, Milter, MilterError},
    rspamd,
    verdict::FilterVerdict,
};
use posta_mail::{ClientAddress, Engine, ReversePath, Step};
use std::sync::Arc;

/// The content about which a filter is asked.
const CONTENT: &[u8] = b"Subject: s\r\nTo: a@x.test\r\n\r\nbody\r\n";

/// Reads the octets as a message whose fields are changed, as a milter's answers, and as rspamd's reply.
pub(crate) fn filter(octets: &[u8]) {
    let Some((&size, octets)) = octets.split_first() else { return };
    let (size, all) = (usize::from(size).max(1), octets.len().max(1));
    assert_eq!(edited(octets, size), edited(octets, all), "a message, however it is split");
    let conversation = converse(octets, size);
    assert_eq!(conversation, converse(octets, all), "answers, however they are split");
    let (_, verdict) = conversation;
    let replied = rspamd::verdict(octets).ok();
    for verdict in verdict.into_iter().chain(replied) {
        check(&verdict.changes);
    }
}

/// Returns content whose fields were changed, passed in pieces of this size.
fn edited(content: &[u8], size: usize) -> Vec<u8> {
    let edit = |name: &str, which, value: Option<&[u8]>| FieldEdit {
        name: name.to_owned(),
        which,
        new: value.and_then(|value| NewField::new(name.as_bytes(), value).ok()),
    };
    let edits = vec![
        edit("Subject", Occurrence::Nth(1), Some(b"new")),
        edit("Received", Occurrence::All, None),
    ];
    let (mut editor, mut output) = (HeaderEditor::new(edits), Vec::new());
    for piece in content.chunks(size) {
        editor.push(piece, &mut output);
    }
    editor.finish(&mut output);
    output
}

/// Has a milter answer with the octets, in pieces of this size. Returns what it was sent, and its verdict.
fn converse(answers: &[u8], size: usize) -> (Vec<u8>, Result<FilterVerdict, MilterError>) {
    let facts = MessageFacts {
        id: "id".to_owned(),
        hostname: "mail.x.test".to_owned(),
        client: ClientAddress::Unknown,
        client_name: None,
        hello: "c.test".to_owned(),
        tls: None,
        account: None,
        sender: ReversePath::Null,
        recipients: "a@x.test".parse().into_iter().collect(),
        octets: CONTENT.len() as u64,
    };
    let mut engine = Milter::new(Arc::new(facts));
    let (mut sent, mut content) = (Vec::new(), Some(Bytes::from_static(CONTENT)));
    let (mut start, mut end) = (0, 0);
    loop {
        let mut lent = &answers[start..end];
        let step = engine.next(&mut lent, &mut sent);
        start = end - lent.len();
        match step {
            Step::NeedInput if end == answers.len() => break,
            Step::NeedInput => end = answers.len().min(end + size),
            Step::Ask(milter::Question::Content(ticket)) => {
                engine.answer(ticket.answer(content.take()), &mut sent);
            }
            Step::Flush => {}
            Step::Close | Step::Content(_) | Step::StartTls | Step::Pause(_) => break,
        }
    }
    (sent, engine.outcome())
}

/// Checks that each new field is one field, and nothing else.
fn check(changes: &HeaderChanges) {
    let new = changes.edits.iter().filter_map(|edit| edit.new.as_ref());
    for field in changes.added.iter().chain(new) {
        let content = [field.as_bytes(), b"\r\n"].concat();
        let (mut reader, mut rest) = (FieldReader::default(), &content[..]);
        assert_eq!(reader.next(&mut rest), NextField::Field(field.as_bytes().to_vec()));
        assert!(matches!(reader.next(&mut rest), NextField::Body(_)) && rest.is_empty());
    }
}
