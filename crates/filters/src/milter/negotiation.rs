//! The first packets of a milter connection: which steps and which changes the two sides agree on.

use super::{Stage, packet};

/// The protocol's version.
const VERSION: u32 = 6;

/// The oldest version of a filter that is understood.
const OLDEST: u32 = 2;

/// Changes that a filter may ask for: adding fields, changing fields, quarantine. Not offered are a new body, other
/// recipients and another sender: what was signed by its author and named in the envelope stays as it is.
const ACTIONS: u32 = 0x01 | 0x10 | 0x20;

/// The filter does not want such a step.
const NO_STEP: [(Stage, u32); 8] = [
    (Stage::Connect, 0x01),
    (Stage::Hello, 0x02),
    (Stage::Mail, 0x04),
    (Stage::Recipient, 0x08),
    (Stage::Body, 0x10),
    (Stage::Field, 0x20),
    (Stage::EndOfFields, 0x40),
    (Stage::Data, 0x200),
];

/// The filter does not answer such a step.
const NO_ANSWER: [(Stage, u32); 8] = [
    (Stage::Field, 0x80),
    (Stage::Connect, 0x1000),
    (Stage::Hello, 0x2000),
    (Stage::Mail, 0x4000),
    (Stage::Recipient, 0x8000),
    (Stage::Data, 0x1_0000),
    (Stage::EndOfFields, 0x4_0000),
    (Stage::Body, 0x8_0000),
];

/// The filter may end the body early.
const SKIP: u32 = 0x400;

/// The value of a field begins right behind its colon, with the space that stands there.
const LEADING_SPACE: u32 = 0x10_0000;

/// The steps that the two sides agree on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Steps(u32);

impl Steps {
    /// Returns whether a step is sent.
    pub(super) fn has(self, stage: Stage) -> bool {
        NO_STEP.iter().all(|(step, bit)| *step != stage || self.0 & bit == 0)
    }

    /// Returns whether the filter answers a step.
    pub(super) fn is_answered(self, stage: Stage) -> bool {
        NO_ANSWER.iter().all(|(step, bit)| *step != stage || self.0 & bit == 0)
    }

    /// Returns whether values keep the space behind the colon.
    pub(super) const fn keeps_space(self) -> bool {
        self.0 & LEADING_SPACE != 0
    }
}

/// The two sides do not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// The packet is too short.
    #[error("its answer to the negotiation is too short")]
    Short,
    /// The filter is of a version that is not understood.
    #[error("it speaks version {0} of the protocol; 2 to 6 are understood")]
    Version(u32),
    /// The filter asks for changes that it was not offered.
    #[error("it wants to change bodies, senders or recipients, which no filter may")]
    Actions,
}

/// Appends the packet that opens a session: the version, and the actions and steps that this server offers
/// the milter.
pub(super) fn offer(output: &mut Vec<u8>) {
    let bits =
        NO_STEP.iter().chain(&NO_ANSWER).fold(SKIP | LEADING_SPACE, |bits, (_, bit)| bits | bit);
    packet::put(output, b'O', |output| {
        for number in [VERSION, ACTIONS, bits] {
            output.extend_from_slice(&number.to_be_bytes());
        }
    });
}

/// Reads the filter's choice. The macros that it may name are not read: it gets all that exist.
pub(super) fn chosen(data: &[u8]) -> Result<Steps, NegotiationError> {
    let number = |at: usize| {
        let octets = data.get(at..at + 4).and_then(|octets| octets.try_into().ok());
        octets.map(u32::from_be_bytes).ok_or(NegotiationError::Short)
    };
    let (version, actions, steps) = (number(0)?, number(4)?, number(8)?);
    if !(OLDEST..=VERSION).contains(&version) {
        return Err(NegotiationError::Version(version));
    }
    if actions & !ACTIONS != 0 {
        return Err(NegotiationError::Actions);
    }
    Ok(Steps(steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(version: u32, actions: u32, steps: u32) -> Result<Steps, NegotiationError> {
        chosen(&[version, actions, steps].map(u32::to_be_bytes).concat())
    }

    #[test]
    fn what_is_offered_is_what_sendmail_offers_of_it() {
        let mut output = Vec::new();
        offer(&mut output);
        assert_eq!(output, b"\0\0\0\x0dO\0\0\0\x06\0\0\0\x31\0\x1d\xf6\xff");
    }

    #[test]
    fn the_filter_chooses() {
        let steps = choice(6, 0x11, 0x10_0000 | 0x02 | 0x80).unwrap();
        assert!(!steps.has(Stage::Hello) && steps.has(Stage::Mail) && steps.keeps_space());
        assert!(!steps.is_answered(Stage::Field) && steps.is_answered(Stage::End));
        assert_eq!(choice(7, 0, 0).unwrap_err(), NegotiationError::Version(7));
        assert_eq!(choice(6, 0x02, 0).unwrap_err(), NegotiationError::Actions);
        assert_eq!(chosen(&[0; 11]).unwrap_err(), NegotiationError::Short);
    }
}
