//! The log: a line for each event, on standard error.
//!
//! A line has a time, a level, a message, and then `name=value` for each detail; a value with a blank in it is
//! quoted. Text from strangers stays within its value and its line: line ends and quotation marks in it are
//! escaped, so that nobody can forge lines or details.
//!
//! A session must not wait for the reader of the log, so lines go to a buffer, which a thread of its own writes,
//! many lines at a time. If the reader is too slow, lines are dropped and their number is logged. A repeated fault
//! is logged once and then counted ([`Tally`]).
//!
//! Only events of our own crates are logged: those of libraries are for their developers.
//!
//! tracing-subscriber does not do this: its formats do not escape line ends in values, its appender bounds lines
//! rather than octets and writes each by itself, and it does not count repetitions. Everything in this file but the
//! level would have to be written again as layers, beside a registry of spans that nothing here opens.

use crate::config::Level;
use parking_lot::{Condvar, Mutex, MutexGuard};
use posta_mail::{Timestamp, visible::escaped};
use posta_net::clock::{Clock, SystemClock};
use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    hash::{BuildHasher, RandomState},
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use tracing::{
    Event, Metadata, Subscriber, callsite,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

/// The most octets of lines that wait to be written.
const PENDING: usize = 1 << 20;

/// How long lines gather before they are written together.
const GATHERED: Duration = Duration::from_millis(10);

/// The time for which repetitions of a warning or an error are counted.
const COUNTED: Duration = Duration::from_secs(60);

/// The number of warnings or errors of one kind that are logged in that time.
const TOLD: usize = 10;

/// How long the program waits at its end for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The prefix of the targets whose events are logged.
const OURS: &str = "posta";

/// The log.
pub(crate) struct Log {
    level: AtomicUsize,
    hasher: RandomState,
    state: Mutex<State>,
    /// Notified when there are lines to write.
    filled: Condvar,
    /// Notified when all lines are written.
    written: Condvar,
}

#[derive(Default)]
struct State {
    /// Lines that wait to be written.
    pending: Vec<u8>,
    /// Whether the thread is writing lines.
    is_writing: bool,
    /// The number of lines that were dropped.
    dropped: u64,
    /// Warnings and errors of the last minute, by their place in the code.
    tallies: HashMap<callsite::Identifier, Tally>,
}

/// The warnings or errors from one place in the code.
struct Tally {
    since: Timestamp,
    /// The hashes of those that were logged.
    told: Vec<u64>,
    /// The number of those that were not.
    untold: u64,
    /// The last of those, and its level.
    last: (&'static str, String),
}

impl Log {
    /// Starts the log's thread.
    pub(crate) fn start(level: Level) -> Arc<Self> {
        let log = Arc::new(Self::new(level));
        let writer = log.clone();
        let began = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_to(&mut io::stderr()));
        // Without its thread nothing is told, and nothing is lost but that; and there is one log only.
        if began.is_ok() {
            let _ = tracing::subscriber::set_global_default(log.clone());
        }
        log
    }

    fn new(level: Level) -> Self {
        Self {
            level: AtomicUsize::new(level as usize),
            hasher: RandomState::new(),
            state: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
        }
    }

    /// Changes the level.
    pub(crate) fn set_level(&self, level: Level) {
        self.level.store(level as usize, Ordering::Relaxed);
        callsite::rebuild_interest_cache();
    }

    /// Waits until all lines are written, unless the reader takes none.
    pub(crate) fn flush(&self) {
        let mut state = self.state();
        state.sum_up(SystemClock.now(), Duration::ZERO);
        self.filled.notify_one();
        let is_unwritten = |state: &mut State| !state.pending.is_empty() || state.is_writing;
        self.written.wait_while_for(&mut state, is_unwritten, LAST_LINES);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Writes lines as they come; never returns.
    fn write_to(&self, output: &mut dyn io::Write) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.state();
            while state.pending.is_empty() {
                self.filled.wait_for(&mut state, COUNTED);
                state.sum_up(SystemClock.now(), COUNTED);
            }
            std::mem::swap(&mut lines, &mut state.pending);
            state.is_writing = true;
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);
            if dropped > 0 {
                let words = format!("{dropped} lines were left out: standard error is too slow");
                lines.extend_from_slice(line(SystemClock.now(), "WARN", &words).as_bytes());
            }
            // Who closed standard error reads nothing.
            let _ = output.write_all(&lines);
            lines.clear();
            self.state().is_writing = false;
            self.written.notify_all();
            thread::sleep(GATHERED);
        }
    }

    fn max_level(&self) -> LevelFilter {
        match self.level.load(Ordering::Relaxed) {
            0 => LevelFilter::ERROR,
            1 => LevelFilter::WARN,
            2 => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        }
    }

    fn tell(&self, metadata: &Metadata<'_>, now: Timestamp, words: &str) {
        let level = metadata.level().as_str();
        let is_fault = *metadata.level() <= tracing::Level::WARN;
        let hash = if is_fault { self.hasher.hash_one(words) } else { 0 };
        let mut state = self.state();
        if is_fault {
            state.sum_up(now, COUNTED);
            let tally = state.tallies.entry(metadata.callsite()).or_insert_with(|| Tally::new(now));
            if tally.counts(hash, level, words) {
                return;
            }
        }
        if state.push(&line(now, level, words)) {
            self.filled.notify_one();
        }
    }
}

impl State {
    /// Appends a line if there is room. Returns whether the buffer was empty.
    fn push(&mut self, line: &str) -> bool {
        if self.pending.len() + line.len() > PENDING {
            self.dropped += 1;
            return false;
        }
        let is_first = self.pending.is_empty();
        self.pending.extend_from_slice(line.as_bytes());
        is_first
    }

    /// Logs the counts whose time is over, and forgets them.
    fn sum_up(&mut self, now: Timestamp, age: Duration) {
        let is_over = |tally: &Tally| now.duration_since(tally.since).unsigned_abs() >= age;
        let over: Vec<_> = self.tallies.extract_if(|_, tally| is_over(tally)).collect();
        for (_, Tally { untold, last: (level, words), .. }) in over {
            if untold > 0 {
                let seconds = COUNTED.as_secs();
                let words = format!("{words} ({untold} times more within {seconds} s, or like it)");
                self.push(&line(now, level, &words));
            }
        }
    }
}

impl Tally {
    const fn new(since: Timestamp) -> Self {
        Self { since, told: Vec::new(), untold: 0, last: ("", String::new()) }
    }

    /// Records an event. Returns whether it is only counted.
    fn counts(&mut self, hash: u64, level: &'static str, words: &str) -> bool {
        if self.told.len() < TOLD && !self.told.contains(&hash) {
            self.told.push(hash);
            return false;
        }
        self.untold += 1;
        self.last = (level, words.to_owned());
        true
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.max_level() && metadata.target().starts_with(OURS)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level())
    }

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        self.tell(event.metadata(), SystemClock.now(), &words.join());
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The parts of an event: its message, its error and its details.
#[derive(Default)]
struct Words {
    message: String,
    error: String,
    details: String,
}

impl Words {
    fn join(self) -> String {
        let Self { mut message, error, details } = self;
        message.reserve(error.len() + details.len() + 2);
        if !error.is_empty() {
            message.push_str(": ");
            message.push_str(&error);
        }
        message.push_str(&details);
        message
    }

    fn detail(&mut self, name: &str, value: &str) {
        let _ = write!(self.details, " {name}=");
        let is_plain =
            |character: char| !character.is_whitespace() && !matches!(character, '"' | '\\');
        if !value.is_empty() && value.chars().all(is_plain) {
            self.details.push_str(value);
            return;
        }
        self.details.push('"');
        for character in value.chars() {
            if matches!(character, '"' | '\\') {
                self.details.push('\\');
            }
            self.details.push(character);
        }
        self.details.push('"');
    }
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // What is marked with % in the code, and a message with its arguments, has Display's words here.
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "error" => self.error = format!("{value:?}"),
            name => self.detail(name, &format!("{value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.detail(name, value),
        }
    }
}

fn line(now: Timestamp, level: &str, words: &str) -> String {
    format!("{now:.3} {level} {}\n", escaped(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what the log writes of the events in `act`.
    fn told(level: Level, act: impl FnOnce(&Log)) -> String {
        let log = Arc::new(Log::new(level));
        tracing::subscriber::with_default(log.clone(), || act(&log));
        log.state().sum_up(SystemClock.now(), Duration::ZERO);
        let lines = String::from_utf8(log.state().pending.clone()).unwrap();
        let today = SystemClock.now().to_string();
        assert!(
            lines.lines().all(|line| line[..4] == today[..4]),
            "no line is of another time: {lines}"
        );
        let words = lines.lines().map(|line| line.split_once(' ').unwrap().1);
        words.map(|words| format!("{words}\n")).collect()
    }

    #[test]
    fn a_line_has_what_happened_and_then_details() {
        let said = told(Level::Info, |_| {
            let error = io::Error::other("no room");
            tracing::info!(count = 3, %error, name = "ana maria", empty = "", "it {}", "happened");
            tracing::debug!("not told");
            tracing::info!(target: "fjall", "a library's");
        });
        let line = "INFO it happened: no room count=3 name=\"ana maria\" empty=\"\"\n";
        assert_eq!(said, line);
    }

    #[test]
    fn a_strangers_words_stay_within_their_line_and_their_value() {
        let said = told(Level::Info, |_| {
            let name = "x\" client=192.0.2.9\nready\u{1b}[2J\u{202e}";
            tracing::info!(client = "192.0.2.1", name, "login failed");
        });
        let line = "INFO login failed client=192.0.2.1 \
                    name=\"x\\\" client=192.0.2.9\\nready\\u{1b}[2J\\u{202e}\"\n";
        assert_eq!(said, line);
    }

    #[test]
    fn a_fault_that_comes_again_is_counted() {
        let said = told(Level::Info, |_| {
            for time in 0..1_000 {
                tracing::error!("the disk is full");
                tracing::warn!(time, "differs");
                tracing::info!("an outcome");
            }
        });
        assert_eq!(said.matches("INFO an outcome\n").count(), 1_000, "each is one");
        assert_eq!(said.matches("ERROR the disk is full\n").count(), 1);
        assert_eq!(said.matches("(999 times more within 60 s, or like it)\n").count(), 1);
        assert_eq!(said.matches("WARN differs").count(), 11);
        assert!(said.contains("WARN differs time=999 (990 times more within 60 s, or like it)\n"));
    }

    #[test]
    fn a_slow_reader_costs_lines_and_no_memory() {
        let said = told(Level::Info, |log| {
            for _ in 0..PENDING / 50 {
                tracing::info!("fifty octets and more are written of each of these events");
            }
            assert!(log.state().dropped > 1_000);
        });
        assert!(said.len() <= PENDING);
    }

    #[test]
    fn the_level_can_change() {
        let said = told(Level::Warn, |log| {
            let outcome = || tracing::info!("an outcome");
            outcome();
            log.set_level(Level::Debug);
            outcome();
        });
        assert_eq!(said, "INFO an outcome\n");
    }
}
