//! What a check of a domain found, for the operator.

use serde::Serialize;

/// One thing that was checked, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// What was checked.
    pub subject: Subject,
    /// How much it matters.
    pub severity: Severity,
    /// What was found, in words.
    pub says: String,
    /// What to do: records as a zone file has them, or advice.
    pub cure: Vec<String>,
}

/// What is checked, in the order in which it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// Who reads mail for postmaster.
    Postmaster,
    /// The servers that take the domain's mail.
    Mx,
    /// The addresses of the server.
    Address,
    /// The names of the addresses.
    Ptr,
    /// Who may send in the domain's name.
    Spf,
    /// The keys of signatures.
    Dkim,
    /// What becomes of mail that is not the domain's.
    Dmarc,
    /// The policy that others send in TLS.
    MtaSts,
    /// Where failures of TLS are reported.
    TlsReports,
    /// The certificate in DNS.
    Tlsa,
    /// What mail programs look for.
    Services,
    /// The certificate.
    Certificate,
    /// The ports.
    Ports,
    /// Lists of senders that others refuse.
    BlockLists,
    /// The clock.
    Clock,
}

impl Subject {
    /// Returns the name under which a finding is shown.
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

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It is right.
    Ok,
    /// It is as it may be, and could be better, or could not be seen.
    Note,
    /// It should be otherwise: some mail may suffer.
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

    /// Adds what to do about it.
    pub(super) fn cured_by(mut self, cure: impl Into<String>) -> Self {
        self.cure.push(cure.into());
        self
    }

    /// Adds several things to do about it.
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
