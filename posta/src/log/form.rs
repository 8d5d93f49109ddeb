//! The forms of a line: for people, and as JSON for programs.
//!
//! Either way, text from strangers stays within its value and its line.

use crate::config::LogFormat;
use posta_mail::{
    Timestamp,
    visible::{escaped, escaped_json},
};
use std::fmt::{self, Write as _};
use tracing::{
    Event,
    field::{Field, Visit},
};

/// Returns what a line says of an event, without the time and the level.
pub(super) fn words(format: LogFormat, event: &Event<'_>) -> String {
    match format {
        LogFormat::Text => {
            let mut words = Words::default();
            event.record(&mut words);
            words.join()
        }
        LogFormat::Json => {
            let mut members = Members(String::new());
            event.record(&mut members);
            members.0
        }
    }
}

/// Returns what a line says that is about the log itself.
pub(super) fn own_words(format: LogFormat, message: &str) -> String {
    match format {
        LogFormat::Text => message.to_owned(),
        LogFormat::Json => {
            let mut members = Members(String::new());
            members.text("message", message);
            members.0
        }
    }
}

/// How lines look.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) format: LogFormat,
    /// Whether systemd's journal reads them: it takes a priority in front of each (sd-daemon(3)), and a line for people
    /// needs no time then, since the journal has one for each.
    pub(super) is_journal: bool,
}

impl Form {
    fn priority(self, level: &str) -> &'static str {
        match (self.is_journal, level) {
            (false, _) => "",
            (true, "ERROR") => "<3>",
            (true, "WARN") => "<4>",
            (true, "INFO") => "<6>",
            (true, _) => "<7>",
        }
    }
}

/// Returns a line. `words` are of the same form; `more` is the number of times that the event came again, or one like
/// it, within so many seconds.
pub(super) fn line(
    form: Form,
    now: Timestamp,
    level: &str,
    words: &str,
    more: Option<(u64, u64)>,
) -> String {
    let priority = form.priority(level);
    match form.format {
        LogFormat::Text => {
            let time = match form.is_journal {
                true => String::new(),
                false => format!("{now:.3} "),
            };
            let more = more
                .map(|(more, seconds)| format!(" (and {more} more like it within {seconds} s)"));
            let more = more.unwrap_or_default();
            format!("{priority}{time}{level} {}{more}\n", escaped(words))
        }
        LogFormat::Json => {
            let level = level.to_ascii_lowercase();
            let more =
                more.map(|(more, seconds)| format!(",\"times-more\":{more},\"within\":{seconds}"));
            let more = more.unwrap_or_default();
            format!("{priority}{{\"time\":\"{now:.3}\",\"level\":\"{level}\"{words}{more}}}\n")
        }
    }
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

/// The members of a JSON object, each with a comma before it.
struct Members(String);

impl Members {
    fn text(&mut self, name: &str, value: &str) {
        // A string is always JSON.
        let value = serde_json::to_string(value).unwrap_or_default();
        self.raw(name, escaped_json(&value));
    }

    fn raw(&mut self, name: &str, value: impl fmt::Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, ",\"{name}\":{value}");
    }
}

impl Visit for Members {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.raw(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.raw(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.raw(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), &format!("{value:?}"));
    }
}
