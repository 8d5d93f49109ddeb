//! The counts that nodes share, as this node knows them (`background/tallies.rs`).

use parking_lot::Mutex;
use posta_store::Tallies;
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    mem::take,
    sync::atomic::{AtomicBool, Ordering},
};
use tokio::sync::Notify;

/// What this node counts, and what is to be read of the others.
#[derive(Debug)]
pub(crate) struct SharedCounts {
    pub(crate) counts: Tallies,
    /// The nodes that have told something.
    told: Mutex<BTreeSet<String>>,
    is_told: Notify,
    /// Whether what was told may be lost.
    is_lost: AtomicBool,
}

impl Default for SharedCounts {
    fn default() -> Self {
        Self {
            counts: Tallies::told(),
            told: Mutex::default(),
            is_told: Notify::new(),
            is_lost: AtomicBool::new(true),
        }
    }
}

impl SharedCounts {
    /// Takes the word of a node that it has told something.
    pub(crate) fn hear_told(&self, node: &str) {
        self.told.lock().insert(node.to_owned());
        self.is_told.notify_one();
    }

    /// Takes the word that a key was cleared: the kind and the key in hexadecimal digits. Returns whether it is one.
    pub(crate) fn hear_cleared(&self, word: &str) -> bool {
        let texts = word.split_once('.').and_then(|(kind, key)| from_hex(kind).zip(from_hex(key)));
        if let Some((kind, key)) = &texts {
            self.counts.hear_cleared(kind, key);
        }
        texts.is_some()
    }

    /// Takes the nodes that have told something.
    pub(crate) fn take_told(&self) -> BTreeSet<String> {
        take(&mut *self.told.lock())
    }

    /// Returns whether everything has to be told and read again, once.
    pub(crate) fn take_lost(&self) -> bool {
        self.is_lost.swap(false, Ordering::SeqCst)
    }

    /// Waits until there is something to read.
    pub(crate) async fn more(&self) {
        self.is_told.notified().await;
    }

    /// Has everything told and read again.
    pub(crate) fn begin_again(&self) {
        self.is_lost.store(true, Ordering::SeqCst);
        self.is_told.notify_one();
    }
}

/// Returns the word that a key was cleared, without its first letter.
pub(crate) fn cleared(kind: &str, key: &str) -> String {
    format!("{}.{}", hex(kind), hex(key))
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, octet| {
        let _ = write!(hex, "{octet:02x}");
        hex
    })
}

fn from_hex(hex: &str) -> Option<String> {
    if !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let octets = hex.as_bytes().chunks(2).map(|digits| {
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 2)?;
        u8::from_str_radix(digits, 16).ok()
    });
    String::from_utf8(octets.collect::<Option<Vec<_>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_may_be_any_text() {
        for text in ["", "ana@x.test", "2001:db8::/64", "unknown addresses", "ț\u{0}."] {
            assert_eq!(from_hex(&hex(text)).as_deref(), Some(text));
        }
        for wrong in ["0", "zz", "+1", "ff"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
