//! The files of a message that may be reports. Reporters label them in many ways, so the first octets of a file count
//! more than its type.

use super::{ReceivedReport, ReportError, dmarc, tls, unpack::Unpacker};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use std::io::{BufRead, BufReader};

/// The maximal number of parts of a message that are looked at.
const PARTS: usize = 32;

/// The maximal number of files that are tried.
const FILES: usize = 4;

/// Reads the first file of a message that is a report.
pub(super) fn read(message: &[u8]) -> Result<ReceivedReport, ReportError> {
    let parsed = MessageParser::default().parse(message).ok_or(ReportError::NoReport)?;
    let mut last = ReportError::NoReport;
    let parts = parsed.parts.iter().take(PARTS);
    let files = parts.filter_map(|part| match &part.body {
        PartType::Binary(octets) | PartType::InlineBinary(octets) => Some(&octets[..]),
        PartType::Text(text) | PartType::Html(text) => {
            let subtype = part.content_type().and_then(|kind| kind.subtype()).unwrap_or_default();
            let may_be_one = ["xml", "json", "tlsrpt"].iter().any(|word| subtype.contains(word));
            may_be_one.then_some(text.as_bytes())
        }
        PartType::Message(_) | PartType::Multipart(_) => None,
    });
    for file in files.filter(|file| may_be_report(file)).take(FILES) {
        match read_file(file) {
            Ok(report) => return Ok(report),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Returns whether a file begins like an archive, XML or JSON.
fn may_be_report(file: &[u8]) -> bool {
    file.starts_with(&[0x1f, 0x8b]) || file.starts_with(b"PK\x03\x04") || kind(file).is_some()
}

/// The form of a report.
#[derive(Clone, Copy)]
enum Form {
    Xml,
    Json,
}

/// Returns the form of a text that begins so.
fn kind(text: &[u8]) -> Option<Form> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
    match text.first()? {
        b'<' => Some(Form::Xml),
        b'{' => Some(Form::Json),
        _ => None,
    }
}

/// Reads a file as a report.
pub(super) fn read_file(file: &[u8]) -> Result<ReceivedReport, ReportError> {
    let mut text = BufReader::new(Unpacker::new(file)?);
    let start = text.fill_buf().map_err(|error| ReportError::from(&error))?;
    // An archive within an archive ends here, too.
    let form = kind(start).ok_or(ReportError::Malformed("it is neither XML nor JSON"))?;
    match form {
        Form::Xml => dmarc::read(text).map(ReceivedReport::Dmarc),
        Form::Json => tls::read(text).map(ReceivedReport::Tls),
    }
}
