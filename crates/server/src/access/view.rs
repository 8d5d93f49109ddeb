//! A session's view of a mailbox: the messages of the inbox and, if the account wants that, those of the folder
//! Junk among them, in the order of arrival.
//!
//! Both folders are listed by the store, which shares the lists between sessions. A view adds the places of the
//! junk in the common order: four octets for each message in Junk, and nothing for an account that keeps its junk
//! out of POP3.

use posta_pop3::{SubjectMark, server::Maildrop};
use posta_store::{self as store, AccountId, FolderId, Store, StoreError, Uid};
use std::sync::Arc;

/// How often both folders are read again because messages were moved between them meanwhile.
const AGAIN: usize = 4;

/// A session's view of a mailbox, shared by the engine and its host.
#[derive(Debug, Clone)]
pub struct View {
    inbox: Arc<store::Maildrop>,
    /// The junk that is shown among the inbox's messages.
    junk: Option<Arc<Junk>>,
}

#[derive(Debug)]
struct Junk {
    messages: Arc<store::Maildrop>,
    /// The index of each message in the view, in ascending order.
    places: Vec<u32>,
}

impl View {
    /// Opens the mailbox of an account, with its junk if that is to be marked.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn open(
        store: &dyn Store,
        account: AccountId,
        marks_junk: bool,
    ) -> Result<Self, StoreError> {
        if !marks_junk {
            return Ok(Self { inbox: store.maildrop(account).await?, junk: None });
        }
        let mut junk = store.listed(account, FolderId::JUNK).await?;
        let mut inbox = store.maildrop(account).await?;
        for _ in 0..AGAIN {
            // A move changes both folders in one transaction: if Junk is as before, the inbox fits it.
            let now = store.listed(account, FolderId::JUNK).await?;
            if Arc::ptr_eq(&now, &junk) || now == junk {
                break;
            }
            junk = now;
            inbox = store.maildrop(account).await?;
        }
        Ok(Self::new(inbox, junk))
    }

    fn new(inbox: Arc<store::Maildrop>, junk: Arc<store::Maildrop>) -> Self {
        if junk.is_empty() {
            return Self { inbox, junk: None };
        }
        let (mut places, mut both) = (Vec::with_capacity(junk.len()), Vec::new());
        let mut before = 0;
        for (at, message) in junk.iter().enumerate() {
            before = arrived_before(&inbox, message.number, before);
            // A message that was moved while the folders were read is shown once.
            if inbox.get(before).is_some_and(|other| other.number == message.number) {
                both.push(at);
                continue;
            }
            places.push((before + places.len()) as u32);
        }
        let messages = if both.is_empty() { junk } else { without(&junk, &both) };
        Self { inbox, junk: Some(Arc::new(Junk { messages, places })) }
    }

    /// Returns where a message is: in Junk or not, with its index in that folder's list.
    fn find(&self, index: usize) -> (Option<&Junk>, usize) {
        let Some(junk) = self.junk.as_deref() else { return (None, index) };
        // An index that is no u32 is that of no message.
        match junk.places.binary_search_by_key(&index, |&place| place as usize) {
            Ok(at) => (Some(junk), at),
            Err(before) => (None, index - before),
        }
    }

    /// Returns the folder and the UID of a message.
    #[must_use]
    pub fn name(&self, index: usize) -> Option<(FolderId, Uid)> {
        match self.find(index) {
            (Some(junk), at) => Some((FolderId::JUNK, junk.messages.get(at)?.uid)),
            (None, at) => Some((FolderId::INBOX, self.inbox.get(at)?.uid)),
        }
    }

    /// Returns the UIDs of those of some messages that are in a folder.
    pub fn names_in(
        &self,
        folder: FolderId,
        indices: impl Iterator<Item = usize>,
    ) -> impl Iterator<Item = Uid> {
        let names = indices.filter_map(move |index| self.name(index));
        names.filter(move |(of, _)| *of == folder).map(|(_, uid)| uid)
    }
}

/// Returns how many messages of an inbox have a smaller number; at least `from` have.
fn arrived_before(inbox: &store::Maildrop, number: u64, from: usize) -> usize {
    let (mut low, mut high) = (from, inbox.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match inbox.get(middle).is_some_and(|message| message.number < number) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}

/// Returns a list without the messages at some indices, which are in ascending order.
fn without(junk: &store::Maildrop, indices: &[usize]) -> Arc<store::Maildrop> {
    let stay = (0..junk.len()).filter(|at| indices.binary_search(at).is_err());
    let mut stay: Vec<_> = stay.filter_map(|at| Some((junk.get(at)?, junk.imported(at)))).collect();
    // A list is made of messages in the order of their UIDs.
    stay.sort_unstable_by_key(|(message, _)| message.uid);
    Arc::new(stay.into_iter().collect())
}

impl Maildrop for View {
    fn len(&self) -> usize {
        self.inbox.len() + self.junk.as_ref().map_or(0, |junk| junk.messages.len())
    }

    fn octets(&self, index: usize) -> u64 {
        match self.find(index) {
            (Some(junk), at) => {
                junk.messages.get(at).map_or(0, |message| message.octets + SubjectMark::OCTETS)
            }
            (None, at) => self.inbox.get(at).map_or(0, |message| message.octets),
        }
    }

    fn octets_in_all(&self) -> u64 {
        let junk = self.junk.as_deref().map_or(0, |Junk { messages, .. }| {
            messages.octets() + messages.len() as u64 * SubjectMark::OCTETS
        });
        self.inbox.octets() + junk
    }

    fn is_marked(&self, index: usize) -> bool {
        self.find(index).0.is_some()
    }

    fn write_unique_id(&self, index: usize, text: &mut String) {
        match self.find(index) {
            (Some(junk), at) => junk.messages.write_unique_id(at, text),
            (None, at) => self.inbox.write_unique_id(at, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::Summary;

    fn list(numbers: &[u64]) -> Arc<store::Maildrop> {
        let message = |(&number, uid): (&u64, u32)| {
            let summary = Summary { number, octets: number * 10, uid: Uid(uid) };
            (summary, number.is_multiple_of(4).then(|| format!("old{number}")))
        };
        Arc::new(numbers.iter().zip(1..).map(message).collect())
    }

    /// The number of each message, by its octets, and whether it is marked.
    fn shown(view: &View) -> Vec<(u64, bool)> {
        let of = |index| {
            let is_marked = view.is_marked(index);
            let mark = if is_marked { SubjectMark::OCTETS } else { 0 };
            ((view.octets(index) - mark) / 10, is_marked)
        };
        (0..view.len()).map(of).collect()
    }

    #[test]
    fn junk_is_shown_among_the_messages_of_the_inbox_in_the_order_of_arrival() {
        for (inbox, junk) in [
            (&[1, 2, 5, 9][..], &[3, 4, 7, 10, 11][..]),
            (&[5, 6], &[1, 2]),
            (&[1, 2], &[5, 6]),
            (&[], &[1, 2]),
            (&[1, 2], &[]),
            (&[], &[]),
            // What came back to a folder has a greater UID than what arrived after it.
            (&[4, 2, 9], &[7, 3, 8, 1]),
        ] {
            let view = View::new(list(inbox), list(junk));
            let mut expected: Vec<_> = inbox.iter().map(|&number| (number, false)).collect();
            expected.extend(junk.iter().map(|&number| (number, true)));
            expected.sort_unstable();
            assert_eq!(shown(&view), expected);
            let octets: u64 = (0..view.len()).map(|index| view.octets(index)).sum();
            assert_eq!(view.octets_in_all(), octets);
            for (index, &(number, is_junk)) in expected.iter().enumerate() {
                let mut unique_id = String::new();
                view.write_unique_id(index, &mut unique_id);
                let alone = format!("{number:014x}");
                let old = format!("old{number}");
                assert_eq!(unique_id, if number.is_multiple_of(4) { old } else { alone });
                let (folder, of) =
                    if is_junk { (FolderId::JUNK, junk) } else { (FolderId::INBOX, inbox) };
                let at = of.iter().position(|&other| other == number).unwrap();
                assert_eq!(view.name(index), Some((folder, Uid(at as u32 + 1))));
            }
            assert_eq!(view.name(expected.len()), None);
            assert_eq!((view.octets(99), view.is_marked(99)), (0, false));
        }
    }

    /// As when somebody moves it while the folders are read.
    #[test]
    fn a_message_in_both_folders_is_shown_once() {
        let view = View::new(list(&[1, 4, 6]), list(&[8, 2, 4, 5, 1]));
        let expected = [(1, false), (2, true), (4, false), (5, true), (6, false), (8, true)];
        assert_eq!(shown(&view), expected);
        assert_eq!(view.name(3), Some((FolderId::JUNK, Uid(4))));
    }
}
