//! The result of UIDL: up to a million unique-ids, in little more memory than their own octets.

/// The number of lines without a message number that are kept, and of characters of each: nobody reads more.
const KEPT_LINES: usize = 20;
const KEPT_CHARACTERS: usize = 80;

/// Messages and their unique-ids, in the order in which the server listed them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UniqueIds {
    /// All unique-ids, one after another.
    text: String,
    /// Each message's number, and where its unique-id ends in the text.
    messages: Vec<(u32, u32)>,
    /// The first lines that name no message.
    nameless: Vec<String>,
    /// The number of all lines that name no message.
    nameless_lines: u64,
}

impl UniqueIds {
    /// Appends a message. Its unique-id is empty if it has none, or if there is no room left in the 4 GiB.
    pub fn push(&mut self, number: u32, unique_id: &str) {
        let end = self.text.len() + unique_id.len();
        match u32::try_from(end) {
            Ok(end) => {
                self.text.push_str(unique_id);
                self.messages.push((number, end));
            }
            Err(_) => self.messages.push((number, self.text.len() as u32)),
        }
    }

    /// Records a line that names no message, so that whoever asked hears of it.
    pub fn push_nameless(&mut self, line: &str) {
        self.nameless_lines += 1;
        if self.nameless.len() < KEPT_LINES {
            self.nameless.push(line.chars().take(KEPT_CHARACTERS).collect());
        }
    }

    /// Returns the number of lines that name no message, and the beginnings of the first of them.
    #[must_use]
    pub fn nameless(&self) -> (u64, &[String]) {
        (self.nameless_lines, &self.nameless)
    }

    /// Returns the number of messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Returns whether there are no messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns the message number and the unique-id at a place of the list, from 0.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(u32, &str)> {
        let &(number, end) = self.messages.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.messages[before].1);
        Some((number, self.text.get(start as usize..end as usize)?))
    }

    /// Returns the places of all messages whose unique-id is that of another message as well: those
    /// with the same one follow each other, in the order of the list.
    #[must_use]
    pub fn doubled(&self) -> Vec<Vec<u32>> {
        let id = |index: u32| self.get(index as usize).map(|(_, id)| id);
        // No more than the limit of a listing.
        let mut places: Vec<u32> = (0..self.len() as u32).collect();
        places.sort_by(|&one, &other| id(one).cmp(&id(other)));
        let groups = places.chunk_by(|&one, &other| id(one) == id(other));
        groups
            .filter(|group| group.len() > 1 && id(group[0]) != Some(""))
            .map(<[u32]>::to_vec)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_ids_are_kept_and_doubles_are_found() {
        let mut ids = UniqueIds::default();
        assert_eq!((ids.is_empty(), ids.get(0)), (true, None));
        for (number, id) in [(1, "b"), (2, "a"), (4, "bb"), (5, "a"), (9, "a"), (10, "bb")] {
            ids.push(number, id);
        }
        assert_eq!(ids.len(), 6);
        assert_eq!(ids.get(0), Some((1, "b")));
        assert_eq!(ids.get(2), Some((4, "bb")));
        assert_eq!(ids.get(5), Some((10, "bb")));
        assert_eq!(ids.get(6), None);
        assert_eq!(ids.doubled(), [vec![1, 3, 4], vec![2, 5]]);
    }

    #[test]
    fn lines_that_name_no_message_are_counted_and_the_first_are_kept() {
        let mut ids = UniqueIds::default();
        assert_eq!(ids.nameless(), (0, &[][..]));
        for number in 0..30 {
            ids.push_nameless(&format!("{number}{}", "x".repeat(100)));
        }
        let (count, lines) = ids.nameless();
        assert_eq!((count, lines.len(), ids.len()), (30, 20, 0));
        assert_eq!(lines[19], format!("19{}", "x".repeat(78)));
    }
}
