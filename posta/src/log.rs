//! The log: a line for each event, on standard error.
//!
//! For people, a line has a time, a level, a message, and then `name=value` for each detail; a value with a blank in
//! it is quoted. For programs it is an object of JSON with the same in it (`form.rs`). Text from strangers stays
//! within its value and its line: line ends and quotation marks in it are escaped, so that nobody can forge lines or
//! details. Lines for systemd's journal have a priority in front, and no time where the journal's is enough.
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

mod form;

use crate::config::{Level, LogFormat};
use form::{Form, line};
use parking_lot::{Condvar, Mutex, MutexGuard};
use posta_mail::Timestamp;
use posta_net::clock::{Clock, SystemClock};
use std::{
    collections::HashMap,
    env,
    hash::{BuildHasher, RandomState},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use tracing::{Event, Metadata, Subscriber, callsite, level_filters::LevelFilter, span};

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
    is_json: AtomicBool,
    /// Whether systemd's journal reads the lines.
    is_journal: bool,
    hasher: RandomState,
    state: Mutex<State>,
    /// Notified when there are lines to write.
    filled: Condvar,
    /// Notified when all lines are written.
    written: Condvar,
    /// Whether the last event's words are kept.
    keeps_last: AtomicBool,
    /// The last event's words, while they are kept.
    last: Mutex<Option<String>>,
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
        let log = Arc::new(Self::new(level, leads_to_journal()));
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

    fn new(level: Level, is_journal: bool) -> Self {
        Self {
            level: AtomicUsize::new(level as usize),
            is_json: AtomicBool::new(false),
            is_journal,
            hasher: RandomState::new(),
            state: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
            keeps_last: AtomicBool::new(false),
            last: Mutex::default(),
        }
    }

    /// Begins or ends to keep the words of the last event, for who tells others how the start goes on.
    pub(crate) fn keep_last(&self, keeps: bool) {
        self.keeps_last.store(keeps, Ordering::Relaxed);
        *self.last.lock() = None;
    }

    /// Returns the words of the last event since they are kept.
    pub(crate) fn last(&self) -> Option<String> {
        self.last.lock().clone()
    }

    /// Changes the level.
    pub(crate) fn set_level(&self, level: Level) {
        self.level.store(level as usize, Ordering::Relaxed);
        callsite::rebuild_interest_cache();
    }

    /// Changes the form of the lines.
    pub(crate) fn set_format(&self, format: LogFormat) {
        // What was counted in the other form is told in that form.
        self.state().sum_up(self.form(), SystemClock.now(), Duration::ZERO);
        self.is_json.store(format == LogFormat::Json, Ordering::Relaxed);
    }

    fn format(&self) -> LogFormat {
        match self.is_json.load(Ordering::Relaxed) {
            true => LogFormat::Json,
            false => LogFormat::Text,
        }
    }

    fn form(&self) -> Form {
        Form { format: self.format(), is_journal: self.is_journal }
    }

    /// Waits until all lines are written, unless the reader takes none.
    pub(crate) fn flush(&self) {
        let mut state = self.state();
        state.sum_up(self.form(), SystemClock.now(), Duration::ZERO);
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
                state.sum_up(self.form(), SystemClock.now(), COUNTED);
            }
            std::mem::swap(&mut lines, &mut state.pending);
            state.is_writing = true;
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);
            if dropped > 0 {
                let words = format!("{dropped} lines were left out: standard error is too slow");
                let words = form::own_words(self.format(), &words);
                let line = line(self.form(), SystemClock.now(), "WARN", &words, None);
                lines.extend_from_slice(line.as_bytes());
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

    fn tell(&self, metadata: &Metadata<'_>, now: Timestamp, event: &Event<'_>) {
        let form = self.form();
        let words = &form::words(form.format, event);
        let level = metadata.level().as_str();
        let is_fault = *metadata.level() <= tracing::Level::WARN;
        let hash = if is_fault { self.hasher.hash_one(words) } else { 0 };
        let mut state = self.state();
        if is_fault {
            state.sum_up(form, now, COUNTED);
            let tally = state.tallies.entry(metadata.callsite()).or_insert_with(|| Tally::new(now));
            if tally.counts(hash, level, words) {
                return;
            }
        }
        if state.push(&line(form, now, level, words, None)) {
            self.filled.notify_one();
        }
    }
}

/// Returns whether standard error leads to systemd's journal: `JOURNAL_STREAM` names the socket (systemd.exec(5)).
#[expect(clippy::disallowed_methods, reason = "systemd tells it so, and nobody configures it")]
fn leads_to_journal() -> bool {
    let Ok(named) = env::var("JOURNAL_STREAM") else { return false };
    let Some((device, inode)) = named.split_once(':') else { return false };
    let Ok(socket) = rustix::fs::fstat(io::stderr()) else { return false };
    device.parse() == Ok(socket.st_dev) && inode.parse() == Ok(socket.st_ino)
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
    fn sum_up(&mut self, form: Form, now: Timestamp, age: Duration) {
        let is_over = |tally: &Tally| now.duration_since(tally.since).unsigned_abs() >= age;
        let over: Vec<_> = self.tallies.extract_if(|_, tally| is_over(tally)).collect();
        for (_, Tally { untold, last: (level, words), .. }) in over {
            if untold > 0 {
                let more = Some((untold, COUNTED.as_secs()));
                self.push(&line(form, now, level, &words, more));
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
        if self.keeps_last.load(Ordering::Relaxed) {
            *self.last.lock() = Some(form::words(LogFormat::Text, event));
        }
        self.tell(event.metadata(), SystemClock.now(), event);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what the log writes of the events in `act`.
    fn told(level: Level, act: impl FnOnce(&Log)) -> String {
        let log = Arc::new(Log::new(level, false));
        tracing::subscriber::with_default(log.clone(), || act(&log));
        log.state().sum_up(log.form(), SystemClock.now(), Duration::ZERO);
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
    fn lines_for_programs_are_json() {
        let log = Arc::new(Log::new(Level::Info, false));
        log.set_format(LogFormat::Json);
        tracing::subscriber::with_default(log.clone(), || {
            let error = io::Error::other("no \"room\"\n");
            let client = Some("192.0.2.1\u{202e}");
            tracing::info!(count = 3, %error, is_good = true, client, none = None::<u8>, "it {}", "happened");
            for _ in 0..3 {
                tracing::warn!("again");
            }
        });
        log.set_format(LogFormat::Text);
        let lines = String::from_utf8(log.state().pending.clone()).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap());
        let mut lines: Vec<serde_json::Value> = lines.collect();
        for line in &mut lines {
            let time = line.as_object_mut().unwrap().remove("time").unwrap();
            assert!(time.as_str().unwrap().parse::<Timestamp>().is_ok());
        }
        let first = serde_json::json!({
            "level": "info", "message": "it happened", "error": "no \"room\"\n", "count": 3,
            "is_good": true, "client": "192.0.2.1\u{202e}",
        });
        assert_eq!(lines[0], first);
        assert_eq!(lines[1], serde_json::json!({"level": "warn", "message": "again"}));
        let again = serde_json::json!({
            "level": "warn", "message": "again", "times-more": 2, "within": 60,
        });
        assert_eq!(lines[2], again);
    }

    #[test]
    fn lines_for_the_journal_have_a_priority_and_no_second_time() {
        let log = Arc::new(Log::new(Level::Debug, true));
        tracing::subscriber::with_default(log.clone(), || {
            tracing::error!("e");
            tracing::warn!("w");
            tracing::info!(name = "a\n<0>b", "i");
            tracing::debug!("d");
        });
        let lines = String::from_utf8(log.state().pending.clone()).unwrap();
        assert_eq!(lines, "<3>ERROR e\n<4>WARN w\n<6>INFO i name=\"a\\n<0>b\"\n<7>DEBUG d\n");
        log.set_format(LogFormat::Json);
        tracing::subscriber::with_default(log.clone(), || tracing::info!("i"));
        let lines = String::from_utf8(log.state().pending.clone()).unwrap();
        assert!(lines.lines().last().unwrap().starts_with("<6>{\"time\":\""), "{lines}");
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
        assert_eq!(said.matches("(and 999 more like it within 60 s)\n").count(), 1);
        assert_eq!(said.matches("WARN differs").count(), 11);
        assert!(said.contains("WARN differs time=999 (and 990 more like it within 60 s)\n"));
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
