//! The results of the checks of a message's origin, and the two forms that they are recorded in: an
//! `Authentication-Results` field (RFC 8601) for readers, and the history for the operator.
//!
//! `receive::checks` collects the results while the message arrives. `verdict.rs` decides on them; DMARC
//! reports and the seals of forwarded mail are built from them.

use posta_mail::Address;
use posta_origin::{
    arc::{ArcResult, ArcVerified},
    dkim::Verified,
    dmarc::{DmarcOutcome, DmarcPolicy},
    iprev::IprevOutcome,
    results::AuthenticationResults,
    spf::SpfOutcome,
};
use posta_store::CheckResult;
use std::{net::IpAddr, sync::Arc};

/// The maximal number of authors that are kept of a message.
pub const AUTHORS: usize = 4;

/// The treatment of mail whose origin was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginPolicy {
    /// Whether the DMARC policies of the authors' domains are obeyed. If not, results are only recorded.
    pub obey: bool,
    /// The domains whose seals (ARC) are believed, in lower case.
    pub trusted_sealers: Vec<String>,
}

/// The results of the checks of a message's origin.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The client's address, if it is known.
    pub client: Option<IpAddr>,
    /// Whether the client's address has a name that leads back to it; none if the address is not known.
    pub iprev: Option<IprevOutcome>,
    /// Whether the client may send in the sender's name; none if the client's address is not known.
    pub spf: Option<SpfChecked>,
    /// The signatures of DKIM, from the top.
    pub dkim: Vec<Verified>,
    /// The chain of ARC.
    pub arc: ArcVerified,
    /// Whether the author's domain sent the message, and the treatment that the domain's owner asks for if it
    /// did not.
    pub dmarc: DmarcOutcome,
    /// The addresses of the From field, at most [`AUTHORS`]; none if there is not exactly one field that can be read.
    pub authors: Vec<Address>,
    /// The number of From fields. There should be one (RFC 5322 §3.6).
    pub from_fields: usize,
    /// Whether a field hides lines that some programs would show as fields of their own.
    pub hides_lines: bool,
    /// Whether the header section is too large to be examined as a whole, so that the rest of it may contain
    /// anything.
    pub is_header_too_large: bool,
    /// Whether a From field follows a line that is not a field: only some programs find it there.
    pub has_late_from: bool,
    /// Whether the header section is like that of a message that carries reports.
    pub may_carry_report: bool,
    /// The policy that decides what follows from the results.
    pub policy: Arc<OriginPolicy>,
}

/// The result of SPF, and the identity that was checked.
#[derive(Debug, Clone)]
pub struct SpfChecked {
    /// The reverse-path; none if that is null, so that the greeting was checked in its place (RFC 7208 §2.4).
    pub sender: Option<Address>,
    /// The name in the client's greeting.
    pub hello: String,
    /// The result.
    pub outcome: SpfOutcome,
}

impl SpfChecked {
    /// Returns the domain that was checked.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.sender.as_ref().map_or(&self.hello, |sender| sender.domain())
    }
}

impl Checked {
    /// Returns the field with the results, including its CRLF. `authserv_id` is the name of this host.
    #[must_use]
    pub fn field(&self, authserv_id: &str) -> String {
        let mut field = AuthenticationResults::new(authserv_id);
        if let (Some(iprev), Some(client)) = (&self.iprev, self.client) {
            let client = client.to_string();
            field.result("iprev", &iprev.result.to_string()).property("policy.iprev", &client);
        }
        if let Some(spf) = &self.spf {
            field.result("spf", &spf.outcome.result.to_string());
            if let Some(error) = &spf.outcome.error {
                field.reason(&error.to_string());
            }
            match &spf.sender {
                Some(sender) => field.property("smtp.mailfrom", sender.as_str()),
                None => field.property("smtp.helo", &spf.hello),
            };
        }
        self.add_dkim(&mut field);
        self.add_dmarc(&mut field);
        if self.arc.result != ArcResult::None {
            field.result("arc", self.arc.result.name());
            if !self.arc.reason.is_empty() {
                field.reason(&self.arc.reason);
            }
        }
        field.finish()
    }

    fn add_dkim(&self, field: &mut AuthenticationResults) {
        if self.dkim.is_empty() {
            field.result("dkim", "none");
        }
        for verified in &self.dkim {
            field.result("dkim", verified.result.name());
            if !verified.reason.is_empty() {
                field.reason(&verified.reason);
            }
            let Some(signature) = &verified.signature else { continue };
            field
                .property("header.d", &signature.domain)
                .property("header.s", &signature.selector)
                .property("header.b", &verified.short_signature)
                .property("header.a", signature.algorithm.name());
        }
    }

    fn add_dmarc(&self, field: &mut AuthenticationResults) {
        field.result("dmarc", &self.dmarc.result.to_string());
        if let Some(error) = &self.dmarc.error {
            field.reason(&error.to_string());
        }
        if let Some(author) = &self.dmarc.author {
            field.property("header.from", author);
        }
        if self.dmarc.record.is_some() {
            field.property("policy.dmarc", self.dmarc.policy.as_str());
        }
    }

    /// Returns the results in the form of the history.
    #[must_use]
    pub fn results(&self) -> Vec<CheckResult> {
        let told = |method: &str, result: &str, about: &str, reason: String| CheckResult {
            method: method.to_owned(),
            result: result.to_owned(),
            about: about.to_owned(),
            reason: Some(reason).filter(|reason| !reason.is_empty()),
        };
        let mut results = Vec::with_capacity(5);
        if let Some(iprev) = &self.iprev {
            let name = iprev.name.as_deref().unwrap_or_default();
            results.push(told("iprev", &iprev.result.to_string(), name, String::new()));
        }
        if let Some(spf) = &self.spf {
            let about = spf.sender.as_ref().map_or(spf.hello.as_str(), Address::as_str);
            let SpfOutcome { result, matched, error, .. } = &spf.outcome;
            let reason = match (error, matched) {
                (Some(error), _) => error.to_string(),
                (None, Some(matched)) => format!("{} of {}", matched.term, matched.domain),
                (None, None) => String::new(),
            };
            results.push(told("spf", &result.to_string(), about, reason));
        }
        for verified in &self.dkim {
            let domain = verified.signature.as_ref().map_or("", |signature| &signature.domain);
            let reason = verified.reason.clone().into_owned();
            results.push(told("dkim", verified.result.name(), domain, reason));
        }
        if self.dkim.is_empty() {
            results.push(told("dkim", "none", "", String::new()));
        }
        results.push(self.dmarc_result());
        if self.arc.result != ArcResult::None {
            let sealer = self.arc.sets.last().map_or("", |set| &set.domain);
            let reason = self.arc.reason.clone().into_owned();
            results.push(told("arc", self.arc.result.name(), sealer, reason));
        }
        results
    }

    fn dmarc_result(&self) -> CheckResult {
        let dmarc = &self.dmarc;
        let reason = match (&dmarc.error, &dmarc.record) {
            (Some(error), _) => error.to_string(),
            (None, Some((domain, _))) => {
                let policy = dmarc.policy.as_str();
                let is_tested = dmarc.policy != DmarcPolicy::None && dmarc.wanted < dmarc.policy;
                let tested =
                    if is_tested && dmarc.aligned.is_none() { ", which it tests" } else { "" };
                format!("the policy of {domain} is {policy}{tested}")
            }
            (None, None) => "there is no policy".to_owned(),
        };
        CheckResult {
            method: "dmarc".to_owned(),
            result: dmarc.result.to_string(),
            about: dmarc.author.clone().unwrap_or_default(),
            reason: Some(reason),
        }
    }
}
