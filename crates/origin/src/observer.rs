//! Observing content as it arrives, for everything that the checks and signatures need.
//!
//! An [`Observer`] is lent the content in slices. It keeps the header section and hashes the body. As
//! soon as the header section is complete, [`Observer::key_names`] returns the keys that will be needed,
//! so that DNS is asked while the body is still arriving. The result, [`Observed`], is verified without
//! waiting. For one message, at most [`crate::header::HEADER_SECTION`] octets and
//! [`crate::body::BODY_HASHES`] hashes are held.

use crate::{
    arc::{self, ArcVerified, Chain},
    body::{BodyCover, BodyHash, BodyHasher, BodyHashes},
    dkim::{self, FoundSignature, KeyPairError, Keys, Signer, Verified},
    header::{HeaderReader, HeaderSection},
    late_from::LateFrom,
};
use posta_mail::Timestamp;

/// The purposes of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Verifying the message's signatures.
    pub verify: bool,
    /// Signing or sealing the message.
    pub sign: bool,
}

/// Observes one message as it arrives.
pub struct Observer {
    needs: Needs,
    part: Part,
}

enum Part {
    Header(HeaderReader),
    Body(Box<Body>),
}

struct Body {
    header: HeaderSection,
    dkim: Vec<FoundSignature>,
    chain: Chain,
    hasher: BodyHasher,
    /// The search behind a header section that is broken off.
    late_from: Option<LateFrom>,
}

impl Body {
    fn begin(header: HeaderSection, needs: Needs) -> Self {
        let dkim = if needs.verify { dkim::found(&header) } else { Vec::new() };
        let chain = Chain::find(&header);
        let mut hasher = BodyHasher::default();
        if needs.sign {
            hasher.add(BodyCover::OURS);
        }
        // The body after a truncated header section cannot be hashed.
        if !header.is_too_large() {
            dkim.iter().filter_map(|found| found.signature.as_ref().ok()).for_each(|signature| {
                hasher.add(signature.body);
            });
            if needs.verify {
                chain.body().into_iter().for_each(|cover| hasher.add(cover));
            }
        }
        let late_from = header.is_broken_off().then(LateFrom::default);
        Self { header, dkim, chain, hasher, late_from }
    }

    fn write(&mut self, slice: &[u8]) {
        self.hasher.write(slice);
        if let Some(late_from) = &mut self.late_from {
            late_from.push(slice);
        }
    }
}

impl Observer {
    /// Returns an observer at the beginning of a message.
    #[must_use]
    pub fn new(needs: Needs) -> Self {
        Self { needs, part: Part::Header(HeaderReader::default()) }
    }

    /// Takes the next slice of content.
    pub fn write(&mut self, slice: &[u8]) {
        match &mut self.part {
            Part::Header(reader) => {
                if let Some((header, rest)) = reader.push(slice) {
                    let mut body = Body::begin(header, self.needs);
                    body.write(&rest);
                    self.part = Part::Body(Box::new(body));
                }
            }
            Part::Body(body) => body.write(slice),
        }
    }

    /// Returns the header section, once it is complete.
    #[must_use]
    pub fn header(&self) -> Option<&HeaderSection> {
        match &self.part {
            Part::Header(_) => None,
            Part::Body(body) => Some(&body.header),
        }
    }

    /// Returns the names of the keys that will be needed, once the header section is complete.
    #[must_use]
    pub fn key_names(&self) -> Option<Vec<String>> {
        match &self.part {
            Part::Header(_) => None,
            Part::Body(body) => Some(key_names(&body.dkim, &body.chain)),
        }
    }

    /// Ends the content.
    #[must_use]
    pub fn finish(self) -> Observed {
        let body = match self.part {
            Part::Body(body) => *body,
            Part::Header(reader) => {
                let (header, rest) = reader.finish();
                let mut body = Body::begin(header, self.needs);
                body.write(&rest);
                body
            }
        };
        let Body { header, dkim, chain, hasher, late_from } = body;
        let has_late_from = late_from.is_some_and(|late_from| late_from.is_found());
        Observed { header, dkim, chain, bodies: hasher.finish(), has_late_from }
    }
}

fn key_names(dkim: &[FoundSignature], chain: &Chain) -> Vec<String> {
    let dkim = dkim.iter().filter_map(|found| Some(found.signature.as_ref().ok()?.key_name()));
    let mut names: Vec<_> = dkim.chain(chain.key_names()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The observations of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    header: HeaderSection,
    dkim: Vec<FoundSignature>,
    chain: Chain,
    bodies: BodyHashes,
    has_late_from: bool,
}

impl Observed {
    /// Returns the header section.
    #[must_use]
    pub const fn header(&self) -> &HeaderSection {
        &self.header
    }

    /// Returns whether a From field follows a line that is no field, before the first blank line. It is not
    /// in the header section, but some programs show it.
    #[must_use]
    pub const fn has_late_from(&self) -> bool {
        self.has_late_from
    }

    /// Returns the names of the keys that are needed.
    #[must_use]
    pub fn key_names(&self) -> Vec<String> {
        key_names(&self.dkim, &self.chain)
    }

    /// Returns the hash of the body for signing; none if the message was not observed for that.
    #[must_use]
    pub fn body_hash(&self) -> Option<BodyHash> {
        self.bodies.get(BodyCover::OURS)
    }

    /// Verifies the DKIM signatures: the first [`dkim::SIGNATURES`], from the top.
    #[must_use]
    pub fn verify_dkim(&self, keys: &Keys, now: Timestamp) -> Vec<Verified> {
        dkim::verify(&self.header, &self.dkim, &self.bodies, keys, now)
    }

    /// Validates the ARC chain.
    #[must_use]
    pub fn verify_arc(&self, keys: &Keys, now: Timestamp) -> ArcVerified {
        arc::verify(&self.header, &self.chain, &self.bodies, keys, now)
    }

    /// Signs the message for a domain. Returns the field, with its CRLF, which must be put above all
    /// others; none if the message was not observed for that, has no From field, or has too large a
    /// header section.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn sign(&self, signer: &Signer, now: Timestamp) -> Result<Option<String>, KeyPairError> {
        // RFC 6376 §5.4: From must be covered.
        let can_be = !self.header.is_too_large() && self.header.named("From").next().is_some();
        let body = self.body_hash().filter(|_| can_be);
        body.map(|body| signer.sign(&self.header, body, now)).transpose()
    }

    /// Adds an ARC set to the message's chain. Returns its three fields, with their CRLFs, which must be
    /// put above all others; none if the message was not observed for that, or no set may be added
    /// ([`arc::seal`]).
    ///
    /// `results` is the text of an `Authentication-Results` field after its colon.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn seal(
        &self,
        verified: &ArcVerified,
        results: &str,
        signer: &Signer,
        now: Timestamp,
    ) -> Result<Option<String>, KeyPairError> {
        let Some(body) = self.body_hash() else { return Ok(None) };
        arc::seal(&self.header, body, &self.chain, verified, results, signer, now)
    }
}
