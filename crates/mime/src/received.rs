//! Reports of other servers about this server's domains: DMARC aggregate reports (RFC 9990, RFC 7489) and TLS reports
//! (RFC 8460), as they arrive by mail. The server's floor `reports` passes messages here and keeps the summaries.
//!
//! Everything here comes from strangers. A message of at most [`MESSAGE`] octets is searched for packed files; a file
//! is unpacked as a stream, within limits, and read as it comes, so that neither a bomb nor a large report takes more
//! memory than its summary. RFC 9990 §8 names these attacks.

mod attachment;
mod dmarc;
mod tls;
mod unpack;

pub use dmarc::{DmarcReport, DmarcSummaryRow, ROWS};
pub use tls::{FAILURES, POLICIES, TlsFailureCount, TlsPolicySummary, TlsReport};

use std::io;

/// The maximal number of octets of a message that is searched for reports. Reports of large providers about large
/// domains have some hundred kilobytes, packed.
pub const MESSAGE: usize = 2 << 20;

/// The maximal number of octets of a name that is kept, such as the reporter's.
pub const NAME: usize = 200;

/// A report that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceivedReport {
    /// A DMARC aggregate report.
    Dmarc(DmarcReport),
    /// A report about TLS connections (RFC 8460).
    Tls(TlsReport),
}

/// The reason why a report was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The message is larger than [`MESSAGE`].
    #[error("the message is larger than {} MiB", MESSAGE >> 20)]
    MessageTooLarge,
    /// The message has no file that could be a report.
    #[error("the message has no report")]
    NoReport,
    /// The file unpacks to more than a report may have.
    #[error("the file is too large when unpacked: {0}")]
    Bomb(&'static str),
    /// The archive is damaged, or is not what it says.
    #[error("the archive cannot be unpacked: {0}")]
    Archive(&'static str),
    /// The file is not what a report looks like.
    #[error("the file is no report: {0}")]
    Malformed(&'static str),
}

impl From<ReportError> for io::Error {
    fn from(error: ReportError) -> Self {
        Self::other(error)
    }
}

impl From<&io::Error> for ReportError {
    /// Returns the reason that an unpacker gave; other errors come from the decompression.
    fn from(error: &io::Error) -> Self {
        let given = error.get_ref().and_then(|inner| inner.downcast_ref::<Self>());
        given.cloned().unwrap_or(Self::Archive("its data is damaged"))
    }
}

/// Reads the report that a message carries.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn read(message: &[u8]) -> Result<ReceivedReport, ReportError> {
    if message.len() > MESSAGE {
        return Err(ReportError::MessageTooLarge);
    }
    attachment::read(message)
}

/// Reads a file as a report, whether it is packed or not.
///
/// # Errors
/// When it is none, or cannot be read.
pub fn read_file(file: &[u8]) -> Result<ReceivedReport, ReportError> {
    attachment::read_file(file)
}

/// Returns a text of at most [`NAME`] octets with only visible characters.
fn name(text: &str) -> String {
    let text = text.trim();
    let text = &text[..text.floor_char_boundary(NAME)];
    text.chars().map(posta_mail::visible::or_space).collect()
}
