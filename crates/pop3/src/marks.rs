//! Which messages of a maildrop are marked: a bit each, so that a session that marks a million messages holds
//! 125 KB.

/// A set of messages of a maildrop, by their indices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// As many as the greatest index needs; none until the first mark.
    words: Vec<u64>,
    count: usize,
}

impl Marks {
    /// Marks a message. Returns whether it was not marked before.
    pub fn insert(&mut self, index: usize) -> bool {
        let (word, bit) = (index / 64, 1 << (index % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += usize::from(is_new);
        is_new
    }

    /// Returns whether a message is marked.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.words.get(index / 64).is_some_and(|word| word & 1 << (index % 64) != 0)
    }

    /// Returns the number of messages that are marked.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Returns whether no message is marked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the indices of the marked messages, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        let words = self.words.iter().enumerate().filter(|&(_, &word)| word != 0);
        words.flat_map(|(at, &word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        })
    }
}

impl FromIterator<usize> for Marks {
    fn from_iter<T: IntoIterator<Item = usize>>(indices: T) -> Self {
        let mut marks = Self::default();
        indices.into_iter().for_each(|index| {
            marks.insert(index);
        });
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_kept_in_order_and_counted_once() {
        let mut marks = Marks::default();
        assert!(marks.is_empty() && !marks.contains(7));
        for index in [200, 0, 63, 64, 7, 64] {
            marks.insert(index);
        }
        assert!(!marks.insert(7));
        assert_eq!(marks.iter().collect::<Vec<_>>(), [0, 7, 63, 64, 200]);
        assert_eq!(marks.len(), 5);
        assert!(marks.contains(200) && !marks.contains(201) && !marks.contains(usize::MAX));
        assert_eq!([200, 7, 0, 64, 63].into_iter().collect::<Marks>(), marks);
    }
}
