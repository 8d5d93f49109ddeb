//! The progress of moving mailboxes in or out, on a terminal.

use crate::output;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::atomic::{AtomicU64, Ordering};

/// A bar that knows the end, since everything was counted first. Where standard error is no terminal, nothing is shown.
pub(crate) struct TransferProgress {
    bar: ProgressBar,
    messages: u64,
    done: AtomicU64,
}

impl TransferProgress {
    /// Begins with the messages and octets that there are.
    pub(crate) fn new(messages: u64, octets: u64) -> Self {
        let bar = ProgressBar::new(octets);
        let form = "{bar:30} {msg}, {bytes} of {total_bytes}, {eta} left";
        bar.set_style(ProgressStyle::with_template(form).unwrap_or(ProgressStyle::default_bar()));
        Self { bar, messages, done: AtomicU64::new(0) }
    }

    /// Counts a message as done.
    pub(crate) fn done(&self, octets: u64) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.bar.inc(octets);
        if done.is_multiple_of(100) || done == self.messages {
            self.bar.set_message(format!("{done} of {} messages", self.messages));
        }
    }

    /// Tells of something that is not moved, above the bar.
    pub(crate) fn complain(&self, words: &str) {
        self.bar.suspend(|| output::complain(format_args!("{words}")));
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
