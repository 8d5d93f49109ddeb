//! Validating UTF-8 piece by piece.

/// The state of the validation.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character that continues in the next piece.
    begun: Vec<u8>,
    is_broken: bool,
}

impl Utf8 {
    pub(super) fn push(&mut self, mut piece: &[u8]) {
        if self.is_broken {
            return;
        }
        // Octets are taken one by one until the incomplete character is complete.
        while !self.begun.is_empty()
            && let Some((&octet, rest)) = piece.split_first()
        {
            piece = rest;
            self.begun.push(octet);
            match str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return self.is_broken = true,
            }
        }
        if let Err(error) = str::from_utf8(piece) {
            self.is_broken = error.error_len().is_some();
            self.begun.extend_from_slice(&piece[error.valid_up_to()..]);
        }
        if self.is_broken {
            self.begun.clear();
        }
    }

    pub(super) const fn is_valid(&self) -> bool {
        !self.is_broken && self.begun.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_do_not_matter(text: String, more: Vec<u8>, size in 1usize..9) {
            for octets in [text.as_bytes(), &more] {
                let mut utf8 = Utf8::default();
                octets.chunks(size).for_each(|piece| utf8.push(piece));
                prop_assert_eq!(utf8.is_valid(), str::from_utf8(octets).is_ok());
            }
        }
    }
}
