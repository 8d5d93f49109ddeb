//! Signs a message: watches it as it arrives, chooses the domain that signs it, and writes the fields.
//!
//! The author's domain signs, since DMARC checks that domain: each local domain in the From field or, if From has none,
//! the domain of Sender. A message is not signed if mail programs could read its From field differently, or if none of
//! these domains is local, since a signature says that the domain takes responsibility for the message.
//!
//! An RSA signature takes about half a millisecond of CPU time, as long as a TLS handshake, and so is made on the
//! session's own thread.

use super::signers::Signers;
use posta_mail::{Address, Domain, Timestamp};
use posta_mime::originators;
use posta_origin::{
    header::HeaderSection,
    observer::{Needs, Observed, Observer},
};

/// The most domains that sign a message with several authors.
const SIGNING_DOMAINS: usize = 4;

/// A message that is watched as it arrives, to be signed at its end.
pub(crate) struct Outgoing(Observer);

impl Outgoing {
    /// Returns the watcher of a message that is about to begin.
    pub(crate) fn new() -> Self {
        Self(Observer::new(Needs { verify: false, sign: true }))
    }

    /// Takes the next octets of the message, in the form in which they will be sent.
    pub(crate) fn write(&mut self, octets: &[u8]) {
        self.0.write(octets);
    }

    /// Returns whether the header section, which is kept until the end, is still arriving.
    pub(crate) fn is_in_header(&self) -> bool {
        self.0.header().is_none()
    }

    /// Ends the message.
    pub(crate) fn end(self) -> Signable {
        Signable(self.0.finish())
    }

    /// Ends the message and signs it, as [`Signable::sign`] does.
    pub(crate) async fn sign(self, signers: &Signers, now: Timestamp) -> String {
        self.end().sign(signers, now).await
    }
}

/// A whole message that can be signed.
pub(crate) struct Signable(Observed);

impl Signable {
    /// Returns the addresses in From and Sender, by whose domains the message is signed.
    pub(crate) fn originators(&self) -> Vec<Address> {
        ["From", "Sender"].into_iter().flat_map(|name| addresses(self.0.header(), name)).collect()
    }

    /// Returns the message's `DKIM-Signature` fields, to be placed above all others. The text is empty if none of our
    /// domains signs the message, or if the keys cannot be used; the latter is logged, and the message goes out unsigned.
    pub(crate) async fn sign(&self, signers: &Signers, now: Timestamp) -> String {
        sign(&self.0, signers, now).await
    }
}

/// Returns the `DKIM-Signature` fields of a whole message, as [`Outgoing::sign`] does; none if signing is disabled.
pub(crate) async fn sign_whole(content: &[u8], signers: &Signers, now: Timestamp) -> String {
    if !signers.is_enabled() {
        return String::new();
    }
    let mut outgoing = Outgoing::new();
    outgoing.write(content);
    outgoing.sign(signers, now).await
}

async fn sign(observed: &Observed, signers: &Signers, now: Timestamp) -> String {
    let mut fields = String::new();
    for domain in authors(observed.header()) {
        fields.push_str(&sign_for(observed, signers, &domain, now).await);
    }
    if fields.is_empty()
        && let Some(domain) = sender(observed.header())
    {
        fields = sign_for(observed, signers, &domain, now).await;
    }
    fields
}

/// Returns the signatures of one domain.
async fn sign_for(
    observed: &Observed,
    signers: &Signers,
    domain: &Domain,
    now: Timestamp,
) -> String {
    let signers = match signers.of(domain).await {
        Ok(signers) => signers,
        Err(error) => {
            tracing::error!(%error, %domain, "a message goes out unsigned");
            return String::new();
        }
    };
    let mut fields = String::new();
    for signer in &*signers {
        match observed.sign(signer, now) {
            Ok(field) => fields.extend(field),
            Err(error) => {
                let selector = signer.selector();
                tracing::error!(%error, %domain, selector, "a message goes out without a signature");
            }
        }
    }
    fields
}

/// Returns the domains of a message's authors; none if programs could read From differently.
fn authors(header: &HeaderSection) -> Vec<Domain> {
    let mut domains = Vec::new();
    for domain in addressed(header, "From") {
        if !domains.contains(&domain) && domains.len() < SIGNING_DOMAINS {
            domains.push(domain);
        }
    }
    domains
}

/// Returns the domain of the Sender field.
fn sender(header: &HeaderSection) -> Option<Domain> {
    addressed(header, "Sender").into_iter().next()
}

/// Returns the domains of the addresses in a field; none if the field is repeated or malformed.
fn addressed(header: &HeaderSection, name: &str) -> Vec<Domain> {
    let addresses = addresses(header, name);
    addresses.iter().filter_map(|address| address.domain().parse().ok()).collect()
}

/// Returns the addresses in a field; none if the field is repeated or malformed.
fn addresses(header: &HeaderSection, name: &str) -> Vec<Address> {
    let mut fields = header.named(name);
    let (Some(field), None) = (fields.next(), fields.next()) else { return Vec::new() };
    originators::addresses(field.value).unwrap_or_default()
}
