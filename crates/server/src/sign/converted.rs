//! Signatures of mail that is converted to ASCII when it is sent.
//!
//! 8-bit text is converted for a server without 8BITMIME (RFC 6152 §3), which invalidates a signature over the 8-bit
//! form. RFC 6376 §5.3 recommends to convert all mail before it is signed; but nearly all servers accept 8-bit text, and
//! content is kept as its sender sent it. Therefore a converted message is signed again in the form in which it is sent,
//! and the signatures that this server made for the 8-bit form are left out. So are ARC sets of this server, which could
//! not be verified either.

use super::{outgoing::Outgoing, signers::Signers};
use posta_mail::Timestamp;
use posta_mime::convert::{Converter, Plan};

/// The field of a signature, at its beginning.
const SIGNATURE: &[u8] = b"DKIM-Signature:";

/// The fields of a head that are valid only for the form of the message that was signed, at their beginnings.
const SEALS: [&[u8]; 4] =
    [SIGNATURE, b"ARC-Seal:", b"ARC-Message-Signature:", b"ARC-Authentication-Results:"];

/// A message that will be converted, and is read a first time to be signed in its converted form.
pub(crate) struct Resigning {
    /// The number of octets of the head; 0 once the head has passed.
    head: usize,
    converter: Converter,
    /// None if the message is not signed but sealed: a sealed message is a stranger's.
    outgoing: Option<Outgoing>,
}

/// The signatures of a converted message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resigned {
    /// The number of octets of the head in the store.
    head: usize,
    signatures: String,
}

impl Resigning {
    /// Begins a message, given its first piece and the number of octets of its head. Returns `None` if the head has
    /// no signature.
    pub(crate) fn new(first: &[u8], head: u32, plan: Plan) -> Option<Self> {
        let head = head as usize;
        let before = Seals::of(&first[..head.min(first.len())])?;
        let outgoing = (before == Seals::Signature).then(Outgoing::new);
        Some(Self { head, converter: Converter::new(plan), outgoing })
    }

    /// Takes the next piece of the message.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        let mut converted = Vec::with_capacity(piece.len() + piece.len() / 8);
        match std::mem::take(&mut self.head) {
            0 => self.converter.push(piece, &mut converted),
            head => self.converter.push(&without_seals(piece, head), &mut converted),
        }
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.write(&converted);
        }
    }

    /// Ends the message and signs it.
    pub(crate) async fn finish(self, head: u32, signers: &Signers, now: Timestamp) -> Resigned {
        let mut converted = Vec::new();
        self.converter.finish(&mut converted);
        let signatures = match self.outgoing.filter(|_| signers.is_enabled()) {
            None => String::new(),
            Some(mut outgoing) => {
                outgoing.write(&converted);
                outgoing.sign(signers, now).await
            }
        };
        Resigned { head: head as usize, signatures }
    }
}

impl Resigned {
    /// Returns the fields to be placed above the converted message.
    pub(crate) fn signatures(&self) -> &[u8] {
        self.signatures.as_bytes()
    }

    /// Returns the first piece of the message, not yet converted, without the signatures of its original form.
    pub(crate) fn first(&self, piece: &[u8]) -> Vec<u8> {
        without_seals(piece, self.head)
    }
}

/// The kinds of seals that a head can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seals {
    /// Signatures of our user's message.
    Signature,
    /// An ARC set of a stranger's message.
    Set,
}

impl Seals {
    /// Returns the seals in a head that this server wrote, if there are any.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        let seals: Vec<_> = fields(head).filter(|field| is_seal(field)).collect();
        match seals.iter().any(|field| field.starts_with(SIGNATURE)) {
            true => Some(Self::Signature),
            false => (!seals.is_empty()).then_some(Self::Set),
        }
    }
}

/// Returns the first piece of a message without the signatures in its head, given the number of octets of the head.
pub(crate) fn without_seals(piece: &[u8], head: usize) -> Vec<u8> {
    let (head, content) = piece.split_at(head.min(piece.len()));
    let mut rest = Vec::with_capacity(piece.len());
    fields(head).filter(|field| !is_seal(field)).for_each(|field| rest.extend_from_slice(field));
    rest.extend_from_slice(content);
    rest
}

fn is_seal(field: &[u8]) -> bool {
    SEALS.iter().any(|name| field.starts_with(name))
}

/// Returns the fields of a head, which this server wrote, each with its CRLF.
fn fields(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let is_end = |at: &usize| {
            rest[..*at].ends_with(b"\r\n") && !matches!(rest.get(*at), Some(b' ' | b'\t'))
        };
        let end = (1..rest.len()).find(is_end).unwrap_or(rest.len());
        rest.split_off(..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_signatures_in_the_head_are_left_out() {
        let head =
            "DKIM-Signature: v=1; b=a\r\n\tb\r\nARC-Seal: i=1\r\nReceived: by x\r\n\tfor y\r\n";
        let content = "DKIM-Signature: theirs\r\nSubject: s\r\n\r\nDKIM-Signature: text\r\n";
        let whole = [head, content].concat();
        let left = without_seals(whole.as_bytes(), head.len());
        let left = String::from_utf8(left).unwrap();
        assert_eq!(left, ["Received: by x\r\n\tfor y\r\n", content].concat());
        assert_eq!(without_seals(content.as_bytes(), 0), content.as_bytes());
        // A piece that is shorter than the head does no harm.
        assert_eq!(without_seals(b"Received: x", 99), b"Received: x");
    }
}
