//! The findings of a domain's check, for the operator.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// The subject of the check.
    pub subject: Subject,
    /// The severity of the finding.
    pub severity: Severity,
    /// The finding, in words.
    pub says: String,
    /// The steps to take: records in the form of a zone file, or advice.
    pub cure: Vec<String>,
}

/// What a check of a domain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DomainChecked {
    /// The domain.
    pub domain: String,
    /// The name of its server.
    pub hostname: String,
    /// The highest severity of the findings.
    pub severity: Severity,
    /// The findings.
    pub findings: Vec<Finding>,
}

/// The subjects of checks, in the order in which they are shown.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The readers of mail for postmaster.
    Postmaster,
    /// The servers that accept the domain's mail.
    Mx,
    /// The addresses of the server.
    Address,
    /// The names of the addresses.
    Ptr,
    /// The clients that may send in the domain's name.
    Spf,
    /// The keys of signatures.
    Dkim,
    /// The treatment of mail that is not the domain's.
    Dmarc,
    /// The policy that others send in TLS.
    MtaSts,
    /// The address for reports of TLS failures.
    TlsReports,
    /// The certificate in DNS.
    Tlsa,
    /// The names that mail programs look for.
    Services,
    /// The certificate.
    Certificate,
    /// The ports.
    Ports,
    /// Lists of clients that others refuse.
    BlockLists,
    /// The clock.
    Clock,
}

impl Subject {
    /// Returns the title of its findings.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Postmaster => "postmaster",
            Self::Mx => "MX",
            Self::Address => "addresses",
            Self::Ptr => "reverse DNS",
            Self::Spf => "SPF",
            Self::Dkim => "DKIM",
            Self::Dmarc => "DMARC",
            Self::MtaSts => "MTA-STS",
            Self::TlsReports => "TLS reports",
            Self::Tlsa => "DANE",
            Self::Services => "SRV",
            Self::Certificate => "certificate",
            Self::Ports => "ports",
            Self::BlockLists => "block lists",
            Self::Clock => "clock",
        }
    }
}

/// The severity of a finding.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It is right.
    Ok,
    /// It is acceptable but could be better, or could not be checked.
    Note,
    /// It should be changed: some mail may suffer.
    Warning,
    /// Mail does not arrive, or others refuse it.
    Error,
}

impl Finding {
    pub(super) fn new(subject: Subject, severity: Severity, says: impl Into<String>) -> Self {
        Self { subject, severity, says: says.into(), cure: Vec::new() }
    }

    pub(super) fn ok(subject: Subject, says: impl Into<String>) -> Self {
        Self::new(subject, Severity::Ok, says)
    }

    pub(super) fn note(subject: Subject, says: impl Into<String>) -> Self {
        Self::new(subject, Severity::Note, says)
    }

    pub(super) fn warning(subject: Subject, says: impl Into<String>) -> Self {
        Self::new(subject, Severity::Warning, says)
    }

    pub(super) fn error(subject: Subject, says: impl Into<String>) -> Self {
        Self::new(subject, Severity::Error, says)
    }

    /// Adds a step to take.
    pub(super) fn cured_by(mut self, cure: impl Into<String>) -> Self {
        self.cure.push(cure.into());
        self
    }

    /// Adds several steps to take.
    pub(super) fn cured_by_all(mut self, cures: impl IntoIterator<Item = String>) -> Self {
        self.cure.extend(cures);
        self
    }
}

/// Returns the highest severity; [`Severity::Ok`] if there are no findings.
#[must_use]
pub fn highest(findings: &[Finding]) -> Severity {
    findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
}
