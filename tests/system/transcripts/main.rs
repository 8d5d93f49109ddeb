//! Runs all transcripts on the engines, with the input whole, octet by octet and randomly split, and
//! again over real TCP, where a store keeps the messages. The events must be the same each time.
//!
//! `tests/transcripts/README.md` describes the format.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kept;
mod pop3;
mod script;
mod smtp;
mod tcp;

use posta_mail::{Engine, Step};
use script::{Event, Script};
use std::{fs, path::PathBuf};

/// The number of random splits for each transcript.
const RANDOM_SPLITS: u64 = 50;

/// The part of the runner that depends on the protocol: its engine, and its questions and answers as
/// text.
trait Protocol {
    type Engine: Engine;

    fn engine(script: &Script) -> Self::Engine;
    fn question(question: &<Self::Engine as Engine>::Question) -> Option<String>;
    /// `messages` are those in the maildrop.
    fn answer(
        script: &Script,
        messages: &[Vec<u8>],
        question: <Self::Engine as Engine>::Question,
        text: Option<&str>,
    ) -> <Self::Engine as Engine>::Answer;
}

fn transcripts(protocol: &str) -> Vec<(PathBuf, Script)> {
    let directory = format!("{}/transcripts/{protocol}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{directory} holds transcripts");
    files
        .into_iter()
        .map(|path| {
            let script = Script::parse(&fs::read_to_string(&path).unwrap())
                .unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
            (path, script)
        })
        .collect()
}

fn run_all<P: Protocol>(protocol: &str) {
    for (path, script) in transcripts(protocol) {
        let name = path.display();
        script.compare(&run::<P>(&script, |left| left), &format!("{name}, whole"));
        script.compare(&run::<P>(&script, |_| 1), &format!("{name}, octet by octet"));
        for seed in 1..=RANDOM_SPLITS {
            let mut random = Random(seed);
            let split = move |left: usize| 1 + random.below(left.min(40));
            script.compare(&run::<P>(&script, split), &format!("{name}, split with seed {seed}"));
        }
    }
}

/// Runs a script on its engine. `split` returns the number of octets to lend next, given the number
/// left.
fn run<P: Protocol>(script: &Script, mut split: impl FnMut(usize) -> usize) -> Vec<Event> {
    let (mut engine, messages) = (P::engine(script), script.messages());
    let mut events = script::Recorder::new(script);
    let (mut pending, mut output) = (Vec::new(), Vec::new());
    let mut segments = script.segments.iter();
    let mut rest: &[u8] = segments.next().map_or(&[], Vec::as_slice);
    loop {
        let mut input = &pending[..];
        let step = engine.next(&mut input, &mut output);
        let left = input.len();
        events.output(&mut output);
        match step {
            Step::NeedInput => {
                pending.drain(..pending.len() - left);
                if rest.is_empty() {
                    return events.finish();
                }
                let (now, later) = rest.split_at(split(rest.len()).min(rest.len()));
                pending.extend_from_slice(now);
                rest = later;
                continue;
            }
            Step::Ask(question) => {
                let text = events.question(P::question(&question));
                let answer = P::answer(script, &messages, question, text.as_deref());
                engine.answer(answer, &mut output);
            }
            Step::Content(content) => events.content(content),
            // What the client sends at once comes within the pause.
            Step::Pause(_) if rest.is_empty() => {}
            Step::Pause(_) => {
                let (now, later) = rest.split_at(split(rest.len()).min(rest.len()));
                pending.extend_from_slice(now);
                rest = later;
                continue;
            }
            Step::Flush => {}
            Step::StartTls => {
                events.push(Event::Tls);
                pending.clear();
                rest = segments.next().map_or(&[], Vec::as_slice);
                engine.secured();
                continue;
            }
            Step::Close => {
                events.push(Event::Close);
                return events.finish();
            }
        }
        pending.drain(..pending.len() - left);
    }
}

/// A small random generator (xorshift64*), so that a failure can be reproduced from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound.max(1)
    }
}

#[test]
fn smtp_transcripts() {
    run_all::<smtp::Smtp>("smtp");
}

#[test]
fn pop3_transcripts() {
    run_all::<pop3::Pop3>("pop3");
}

#[tokio::test(flavor = "multi_thread")]
async fn smtp_transcripts_over_tcp() {
    tcp::run_all::<smtp::Smtp>("smtp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pop3_transcripts_over_tcp() {
    tcp::run_all::<pop3::Pop3>("pop3").await;
}

/// The runner notices a wrong line: a check that cannot fail checks nothing.
#[test]
#[should_panic(expected = "250 wrong")]
fn a_wrong_transcript_fails() {
    let text = "hostname: mail.example.test\n\nS: 220 mail.example.test ESMTP Posta\nC: NOOP\nS: 250 wrong\n";
    let script = Script::parse(text).unwrap();
    script.compare(&run::<smtp::Smtp>(&script, |left| left), "wrong");
}
