//! A DMARC aggregate report, read as a stream of XML. Only what the summary needs is kept, rows that are alike are
//! added up, and documents with a DTD or entities of their own are refused: no report has them, and they are what XML
//! bombs are made of.

use super::{ReportError, name};
use quick_xml::{Error as XmlError, Reader, escape::resolve_predefined_entity, events::Event};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, BufRead},
    net::IpAddr,
};

/// The maximal number of rows of a summary. The messages of further ones are only counted.
pub const ROWS: usize = 200;

/// The maximal depth of elements. Reports have five, extensions may have more.
const DEPTH: usize = 24;

/// The maximal number of octets of one tag or text.
const PIECE: usize = 64 << 10;

/// The maximal number of octets of a value.
const VALUE: usize = 512;

/// The maximal number of messages that a row may stand for.
const COUNT: u64 = 10_000_000_000;

/// A summary of a DMARC aggregate report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmarcReport {
    /// The name of the reporting organization.
    pub reporter: String,
    /// The report's id, unique with its reporter.
    pub id: String,
    /// The domain whose policy the report is about, in lower case.
    pub domain: String,
    /// The first second that the report is about, since 1970.
    pub begin: i64,
    /// The last second.
    pub end: i64,
    /// The rows, at most [`ROWS`].
    pub rows: Vec<DmarcSummaryRow>,
    /// The number of messages of further rows that passed DMARC.
    pub other_passed: u64,
    /// The number of those that failed.
    pub other_failed: u64,
}

/// Messages from one source with the same results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmarcSummaryRow {
    /// The address from which they came.
    pub source: IpAddr,
    /// Whether an aligned DKIM signature passed.
    pub dkim: bool,
    /// Whether SPF passed for an aligned domain.
    pub spf: bool,
    /// What was done because of DMARC: `none`, `pass`, `quarantine` or `reject`.
    pub disposition: String,
    /// Their number.
    pub count: u64,
}

impl DmarcReport {
    /// Adds messages: to the row that is like them, or to a new one if there are fewer than [`ROWS`]; otherwise they
    /// are only counted.
    pub fn add(&mut self, row: DmarcSummaryRow) {
        let is_like = |other: &&mut DmarcSummaryRow| {
            (other.source, other.dkim, other.spf) == (row.source, row.dkim, row.spf)
                && other.disposition == row.disposition
        };
        if let Some(known) = self.rows.iter_mut().find(is_like) {
            known.count = known.count.saturating_add(row.count);
        } else if self.rows.len() < ROWS {
            self.rows.push(row);
        } else if row.dkim || row.spf {
            self.other_passed = self.other_passed.saturating_add(row.count);
        } else {
            self.other_failed = self.other_failed.saturating_add(row.count);
        }
    }
}

/// The names of elements that are looked at. Others are passed over.
const KNOWN: [&str; 21] = [
    "feedback",
    "report_metadata",
    "org_name",
    "report_id",
    "date_range",
    "begin",
    "end",
    "policy_published",
    "domain",
    "record",
    "row",
    "source_ip",
    "count",
    "policy_evaluated",
    "disposition",
    "dkim",
    "spf",
    "identifiers",
    "auth_results",
    "email",
    "version",
];

const DISPOSITIONS: [&str; 4] = ["none", "pass", "quarantine", "reject"];

/// What a report says so far.
#[derive(Default)]
struct Reading {
    report: DmarcReport,
    path: Vec<&'static str>,
    value: String,
    row: ReadRow,
    is_feedback: bool,
    has_begin: bool,
    has_end: bool,
}

#[derive(Default)]
struct ReadRow {
    source: Option<IpAddr>,
    count: Option<u64>,
    disposition: Option<&'static str>,
    dkim: bool,
    spf: bool,
}

/// Lends what it reads to the parser, until one tag or text takes more than [`PIECE`].
struct Metered<R> {
    inner: R,
    since: usize,
}

impl<R: BufRead> io::Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.since += read;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Metered<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.since > PIECE {
            return Err(ReportError::Malformed("a tag or text is too long").into());
        }
        let lent = self.inner.fill_buf()?;
        Ok(&lent[..lent.len().min(PIECE)])
    }

    fn consume(&mut self, octets: usize) {
        self.since += octets;
        self.inner.consume(octets);
    }
}

/// Reads a report.
pub(super) fn read(text: impl BufRead) -> Result<DmarcReport, ReportError> {
    let mut reader = Reader::from_reader(Metered { inner: text, since: 0 });
    reader.config_mut().expand_empty_elements = true;
    let (mut reading, mut buffer) = (Reading::default(), Vec::new());
    loop {
        buffer.clear();
        reader.get_mut().since = 0;
        match reader.read_event_into(&mut buffer).map_err(|error| told(&error))? {
            Event::Start(tag) => reading.begin(tag.local_name().as_ref())?,
            Event::End(_) => reading.end(),
            Event::Text(text) => reading.add(&text.xml10_content())?,
            Event::CData(text) => reading.add(&text.xml10_content())?,
            Event::GeneralRef(entity) => {
                let number = entity.resolve_char_ref();
                let number = number.map_err(|_| ReportError::Malformed("a character is wrong"))?;
                match number {
                    Some(character) => reading.add(character.encode_utf8(&mut [0; 4]))?,
                    None => {
                        let known = resolve_predefined_entity(&entity.xml10_content());
                        let refused = ReportError::Malformed("it has entities of its own");
                        reading.add(known.ok_or(refused)?)?;
                    }
                }
            }
            Event::DocType(_) => return Err(ReportError::Malformed("it has a DTD")),
            Event::Eof => return reading.finish(),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn told(error: &XmlError) -> ReportError {
    match error {
        XmlError::Io(error) => ReportError::from(&**error),
        _ => ReportError::Malformed("it is not well-formed"),
    }
}

impl Reading {
    fn begin(&mut self, tag: &str) -> Result<(), ReportError> {
        if self.path.len() >= DEPTH {
            return Err(ReportError::Malformed("its elements are too deep"));
        }
        let known = KNOWN.into_iter().find(|known| *known == tag).unwrap_or_default();
        if self.path.is_empty() {
            if known != "feedback" || self.is_feedback {
                return Err(ReportError::Malformed("its element is not <feedback>"));
            }
            self.is_feedback = true;
        }
        self.path.push(known);
        self.value.clear();
        if self.path == ["feedback", "record"] {
            self.row = ReadRow::default();
        }
        Ok(())
    }

    fn add(&mut self, text: &str) -> Result<(), ReportError> {
        if self.path.is_empty() && !text.trim().is_empty() {
            return Err(ReportError::Malformed("it has text outside of its element"));
        }
        let room = VALUE.saturating_sub(self.value.len());
        self.value.push_str(&text[..text.floor_char_boundary(room)]);
        Ok(())
    }

    fn end(&mut self) {
        let value = std::mem::take(&mut self.value);
        let value = value.trim();
        let (report, row) = (&mut self.report, &mut self.row);
        match self.path.as_slice() {
            ["feedback", "report_metadata", "org_name"] => report.reporter = name(value),
            ["feedback", "report_metadata", "report_id"] => report.id = name(value),
            ["feedback", "report_metadata", "date_range", edge @ ("begin" | "end")] => {
                // Some reporters write fractions of seconds.
                let seconds = value.split('.').next().unwrap_or_default().parse().ok();
                match (*edge, seconds) {
                    ("begin", Some(seconds)) => {
                        (report.begin, self.has_begin) = (seconds, true);
                    }
                    (_, Some(seconds)) => (report.end, self.has_end) = (seconds, true),
                    (_, None) => {}
                }
            }
            ["feedback", "policy_published", "domain"] => {
                report.domain = name(value.trim_end_matches('.')).to_lowercase();
            }
            ["feedback", "record", "row", "source_ip"] => row.source = value.parse().ok(),
            ["feedback", "record", "row", "count"] => {
                row.count = value.parse().ok().map(|count: u64| count.min(COUNT));
            }
            ["feedback", "record", "row", "policy_evaluated", "disposition"] => {
                row.disposition =
                    DISPOSITIONS.into_iter().find(|known| value.eq_ignore_ascii_case(known));
            }
            ["feedback", "record", "row", "policy_evaluated", "dkim"] => {
                row.dkim = value.eq_ignore_ascii_case("pass");
            }
            ["feedback", "record", "row", "policy_evaluated", "spf"] => {
                row.spf = value.eq_ignore_ascii_case("pass");
            }
            ["feedback", "record"] => self.end_row(),
            _ => {}
        }
        self.path.pop();
    }

    fn end_row(&mut self) {
        let ReadRow { source, count, disposition, dkim, spf } = std::mem::take(&mut self.row);
        let Some(count) = count else { return };
        let disposition = disposition.unwrap_or("none").to_owned();
        match source {
            Some(source) => {
                self.report.add(DmarcSummaryRow { source, dkim, spf, disposition, count });
            }
            None if dkim || spf => {
                self.report.other_passed = self.report.other_passed.saturating_add(count);
            }
            None => self.report.other_failed = self.report.other_failed.saturating_add(count),
        }
    }

    fn finish(self) -> Result<DmarcReport, ReportError> {
        let Self { report, path, has_begin, has_end, .. } = self;
        if !path.is_empty() {
            return Err(ReportError::Malformed("it is cut off"));
        }
        if report.domain.is_empty() || report.id.is_empty() || !has_begin || !has_end {
            return Err(ReportError::Malformed("its domain, id or period is missing"));
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests;
