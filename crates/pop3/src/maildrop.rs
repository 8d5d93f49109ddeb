//! The maildrop that a session works on, as the outside supplies it.

/// One stable view of a mailbox. Indices count from 0.
pub trait Maildrop {
    /// Returns the number of messages.
    fn len(&self) -> usize;
    /// Returns whether there are no messages.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Returns the octets that RETR sends of a message, before dot-transparency: with CRLF for each bare CR or
    /// LF, and at the end ([`posta_mail::crlf`]), and with the mark of one that [is marked](Self::is_marked).
    fn octets(&self, index: usize) -> u64;
    /// Returns the octets of all messages.
    fn octets_in_all(&self) -> u64 {
        (0..self.len()).map(|index| self.octets(index)).sum()
    }
    /// Returns whether RETR and TOP show a message with a mark in its subject
    /// ([`SubjectMark`](crate::SubjectMark)).
    fn is_marked(&self, index: usize) -> bool {
        let _ = index;
        false
    }
    /// Appends the unique-id of a message: 1 to 70 octets of 0x21 to 0x7E (RFC 1939 §7).
    fn write_unique_id(&self, index: usize, text: &mut String);
}
