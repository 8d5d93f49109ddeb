//! Conversations with a filter whose side is written out.

use super::{answers::PACKETS, packet::CHUNK, *};
use proptest::prelude::*;
use std::net::IpAddr;

const CONTENT: &[u8] = b"Subject: hi\r\n there\r\nTo: b\r\n\r\nbody\r\n";

fn facts(recipients: &[&str]) -> Arc<MessageFacts> {
    Arc::new(MessageFacts {
        id: "id1".into(),
        hostname: "mx.x.test".into(),
        client: IpAddr::from([192, 0, 2, 1]).into(),
        client_name: None,
        hello: "c.test".into(),
        tls: Some("TLSv1.3 AES".into()),
        account: None,
        sender: "a@y.test".parse::<posta_mail::Address>().unwrap().into(),
        recipients: recipients.iter().map(|to| to.parse().unwrap()).collect(),
        octets: CONTENT.len() as u64,
    })
}

fn packet(letter: u8, data: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    packet::put(&mut output, letter, |output| output.extend_from_slice(data));
    output
}

/// The choice of a filter that speaks version 6.
fn choice(steps: u32) -> Vec<u8> {
    packet(b'O', &[6, 0x31, steps].map(u32::to_be_bytes).concat())
}

/// Has the filter answer with these packets, one each time that an answer is awaited. Returns what it was sent: the
/// letters of the packets, macros left out, and all octets.
fn play(
    facts: Arc<MessageFacts>,
    content: &[u8],
    size: usize,
    answers: &[Vec<u8>],
) -> (String, Vec<u8>, Result<FilterVerdict, MilterError>) {
    let mut milter = Milter::new(facts);
    let (mut pieces, mut answers) = (content.chunks(size), answers.iter());
    let (mut input, mut sent) = (Vec::new(), Vec::new());
    loop {
        let mut output = Vec::new();
        let mut rest = &input[..];
        let step = milter.next(&mut rest, &mut output);
        let taken = input.len() - rest.len();
        match step {
            Step::NeedInput => {
                sent.extend_from_slice(&output);
                input.drain(..taken);
                match answers.next() {
                    Some(answer) => input.extend_from_slice(answer),
                    None => break,
                }
                continue;
            }
            Step::Ask(Question::Content(ticket)) => {
                let piece: Option<Bytes> = pieces.next().map(Bytes::copy_from_slice);
                milter.answer(ticket.answer(piece), &mut output);
            }
            Step::Pause(_) | Step::Flush => {}
            Step::Close => {
                sent.extend_from_slice(&output);
                break;
            }
            Step::Content(_) | Step::StartTls => unreachable!("a filter has neither"),
        }
        sent.extend_from_slice(&output);
        input.drain(..taken);
    }
    let (mut letters, mut packets) = (String::new(), &sent[..]);
    // Packets of content are longer than those that are read of a filter.
    while let Some((length, rest)) = packets.split_first_chunk::<4>() {
        let (packet, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        packets = rest;
        if packet[0] != b'D' {
            letters.push(packet[0].into());
        }
    }
    (letters, sent, milter.outcome())
}

fn go_on(times: usize) -> Vec<Vec<u8>> {
    vec![packet(b'c', b""); times]
}

fn contains(sent: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(sent, part).is_some()
}

#[test]
fn a_message_is_told_step_by_step() {
    let answers = [vec![choice(0)], go_on(20)].concat();
    let (letters, sent, outcome) = play(facts(&["b@x.test", "c@x.test"]), CONTENT, 7, &answers);
    assert_eq!(outcome.unwrap(), FilterVerdict::new(FilterAction::Accept, "accepted"));
    // 7 octets at a time: the body comes in two pieces.
    assert_eq!(letters, "OCHMRRTLLNBBEQ".replace("BB", &"B".repeat(letters.matches('B').count())));
    for part in [
        &b"C[192.0.2.1]\x004\0\x00192.0.2.1\0"[..],
        b"Hc.test\0",
        b"M<a@y.test>\0SIZE=36\0",
        b"R<b@x.test>\0",
        b"R<c@x.test>\0",
        b"LSubject\0hi\n there\0",
        b"LTo\0b\0",
        b"j\0mx.x.test\0",
        b"{client_addr}\x00192.0.2.1\0",
        b"{tls_version}\0TLSv1.3\0{cipher}\0AES\0",
        b"i\0id1\0{mail_addr}\0a@y.test\0",
        b"{rcpt_addr}\0c@x.test\0",
    ] {
        assert!(contains(&sent, part), "{:?}", String::from_utf8_lossy(part));
    }
}

#[test]
fn the_filter_chooses_its_steps() {
    // Neither connect, hello, recipients nor body; no answer to fields; values as they stand.
    let answers = [vec![choice(0x01 | 0x02 | 0x08 | 0x10 | 0x80 | 0x10_0000)], go_on(4)].concat();
    let (letters, sent, outcome) = play(facts(&["b@x.test"]), CONTENT, 100, &answers);
    assert_eq!(letters, "OMTLLNEQ");
    assert!(contains(&sent, b"LSubject\0 hi\n there\0"));
    assert!(outcome.is_ok());
}

#[test]
fn a_filter_decides() {
    let early = |answer: Vec<u8>, before: usize| {
        let answers = [vec![choice(0)], go_on(before), vec![answer]].concat();
        play(facts(&["b@x.test"]), CONTENT, 100, &answers).2.map(|verdict| verdict.action)
    };
    let refused = |reply: Reply| Ok(FilterAction::Refuse(reply));
    assert_eq!(early(packet(b'a', b""), 0), Ok(FilterAction::Accept));
    assert_eq!(early(packet(b'd', b""), 2), Ok(FilterAction::Junk));
    let words = Reply::new(550, (5, 7, 1), "Refused by a filter");
    assert_eq!(early(packet(b'r', b""), 0), refused(words.clone()));
    assert_eq!(early(packet(b'r', b""), 3), refused(words), "the only recipient");
    let virus = Reply::new(554, (5, 6, 0), "A virus");
    assert_eq!(early(packet(b'y', b"554 5.6.0 A virus\0"), 8), refused(virus));
    let later = Reply::new(451, (4, 7, 1), "A filter asks to try again later");
    assert_eq!(early(packet(b't', b""), 8), refused(later));
    for (answer, before) in [(b'h', 2), (b's', 2), (b'z', 0), (b'O', 0)] {
        let stage = if before == 2 { Stage::Mail } else { Stage::Connect };
        let unexpected = MilterError::Unexpected(answer.into(), stage);
        assert_eq!(early(packet(answer, b"A\0b\0"), before), Err(unexpected));
    }
    assert_eq!(early(Vec::new(), 1), Err(MilterError::Closed(Stage::Hello)));
    assert!(matches!(early(vec![0xff; 4], 1), Err(MilterError::Packet(_))));
}

#[test]
fn a_filter_that_asks_for_too_much_is_told_apart() {
    let body_changer = packet(b'O', &[6, 0x02, 0].map(u32::to_be_bytes).concat());
    let refused = play(facts(&["b@x.test"]), CONTENT, 100, &[body_changer]).2;
    assert_eq!(refused, Err(NegotiationError::Actions.into()));
    assert_eq!(play(facts(&["b@x.test"]), CONTENT, 100, &[]).2, Err(MilterError::Unwilling));
    let endless = vec![packet(b'p', b""); 2 * PACKETS];
    let answers = [vec![choice(0x7f)], go_on(1), endless].concat();
    assert_eq!(play(facts(&["b@x.test"]), CONTENT, 100, &answers).2, Err(MilterError::TooMuch));
}

#[test]
fn changes_are_gathered_at_the_end() {
    let end = [
        packet(b'p', b""),
        packet(b'h', b"X-B\0two\0"),
        packet(b'i', b"\0\0\0\x01X-A\0one\0"),
        packet(b'm', b"\0\0\0\x01Subject\0new\0"),
        packet(b'b', b"another body"),
        packet(b'q', b"a\nreason\0"),
        packet(b'c', b""),
    ]
    .concat();
    let answers = [vec![choice(0)], go_on(9), vec![end]].concat();
    let verdict = play(facts(&["b@x.test"]), CONTENT, 100, &answers).2.unwrap();
    assert_eq!(verdict.action, FilterAction::Quarantine("a reason".into()));
    let added: Vec<_> = verdict.changes.added.iter().map(|field| field.as_bytes()).collect();
    assert_eq!(added, [&b"X-A: one\r\n"[..], b"X-B: two\r\n"]);
    assert_eq!(verdict.changes.edits.len(), 1);
    assert_eq!(verdict.ignored, ["to replace the body"]);
}

#[test]
fn a_recipient_may_be_refused_alone() {
    let answers =
        [vec![choice(0)], go_on(3), vec![packet(b'y', b"550 5.1.1 Not her\0")], go_on(9)].concat();
    let verdict = play(facts(&["b@x.test", "c@x.test"]), CONTENT, 100, &answers).2.unwrap();
    assert_eq!(verdict.action, FilterAction::Accept);
    let refused: Vec<_> =
        verdict.refused.iter().map(|(to, reply)| format!("{to} {reply}")).collect();
    assert_eq!(refused, ["b@x.test 550 5.1.1 Not her"]);
}

#[test]
fn a_large_body_goes_in_chunks_until_enough() {
    let content = [&b"A: b\r\n\r\n"[..], &[b'x'; 3 * CHUNK]].concat();
    let answers = [vec![choice(0)], go_on(20)].concat();
    let (letters, ..) = play(facts(&["b@x.test"]), &content, 256 * 1024, &answers);
    assert_eq!(letters, "OCHMRTLNBBBEQ");
    let answers = [vec![choice(0)], go_on(7), vec![packet(b's', b"")], go_on(1)].concat();
    let (letters, _, outcome) = play(facts(&["b@x.test"]), &content, 256 * 1024, &answers);
    assert_eq!(letters, "OCHMRTLNBEQ");
    assert!(outcome.is_ok());
    let unanswered = [vec![choice(0x8_0000)], go_on(20)].concat();
    let (letters, ..) = play(facts(&["b@x.test"]), &content, 1_000, &unanswered);
    assert!(letters.starts_with("OCHMRTLNBBB") && letters.ends_with("BEQ"));
}

#[test]
fn who_the_client_is_may_be_unknown() {
    let hidden = MessageFacts {
        client: posta_mail::ClientAddress::Unknown,
        account: Some("ana@x.test".parse().unwrap()),
        sender: posta_mail::ReversePath::Null,
        ..(*facts(&["b@x.test"])).clone()
    };
    let answers = [vec![choice(0)], go_on(9)].concat();
    let (_, sent, _) = play(Arc::new(hidden), CONTENT, 100, &answers);
    assert!(contains(&sent, b"Cunknown\0U"));
    assert!(contains(&sent, b"M<>\0"));
    assert!(contains(&sent, b"{auth_type}\0SASL\0{auth_authen}\0ana@x.test\0"));
    assert!(!contains(&sent, b"{client_addr}"));
}

proptest! {
    #[test]
    fn whatever_a_filter_answers_the_conversation_ends(
        steps: u32,
        answers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..20),
        size in 1usize..9,
    ) {
        let answers: Vec<_> = [vec![choice(steps)], answers.iter().map(|data| {
            packet(*data.first().unwrap_or(&b'c'), data.get(1..).unwrap_or_default())
        }).collect()].concat();
        let _ = play(facts(&["b@x.test"]), CONTENT, size, &answers);
    }
}
