//! The files in which other servers keep users and aliases: a line for each, which may be continued on the next.

use crate::fault::demand;
use crate::output;
use anyhow::{Context, Result};
use posta_mail::{Address, Domain};
use posta_server::collect::plain_files;
use std::path::Path;

/// The most octets in such a file.
const FILE: u64 = 256 << 20;

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<String> {
    let about = || path.display().to_string();
    let file = plain_files::open(path).with_context(about)?;
    let octets = plain_files::read(file, FILE).with_context(about)?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

/// Returns the records of a file, each with the number of its first line: without comments and empty lines, and with
/// the lines that continue them, which begin with a blank.
pub(super) fn records(text: &str) -> Vec<(usize, String)> {
    let mut records: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        match records.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            Some((_, record)) => {
                record.push(' ');
                record.push_str(content);
            }
            None => records.push((number, content.to_owned())),
        }
    }
    records
}

/// Returns an address, with a domain if it has none.
pub(super) fn with_domain(name: &str, domain: Option<&Domain>) -> Result<Address, String> {
    let address = match (name.contains('@'), domain) {
        (true, _) => name.parse::<Address>(),
        (false, Some(domain)) => format!("{name}@{domain}").parse(),
        (false, None) => return Err("it has no domain: name one with --domain".to_owned()),
    };
    address.map_err(|error| error.to_string())
}

/// What is skipped.
#[derive(Default)]
pub(super) struct Words(u64);

impl Words {
    /// ImportNames something that is skipped, and why.
    pub(super) fn skip(&mut self, about: &str, why: &str) {
        self.0 += 1;
        output::complain(format_args!("skipped {about}: {why}"));
    }

    /// Returns an error if anything was skipped.
    pub(super) fn end(self) -> Result<()> {
        demand!(
            self.0 == 0,
            "import-incomplete",
            "{} entries were skipped, which are listed above",
            self.0
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_may_take_several_lines() {
        let text = "# users\na: b,\n\tc\n\n # d\ne: f\r\n  g\n";
        let expected = [(2, "a: b, c".to_owned()), (6, "e: f g".to_owned())];
        assert_eq!(records(text), expected);
    }

    #[test]
    fn names_get_a_domain() {
        let domain = "x.test".parse().unwrap();
        assert_eq!(with_domain("ana", Some(&domain)).unwrap().as_str(), "ana@x.test");
        assert_eq!(with_domain("ana@y.test", Some(&domain)).unwrap().as_str(), "ana@y.test");
        assert!(with_domain("ana", None).unwrap_err().contains("--domain"));
        assert!(with_domain("a b", Some(&domain)).is_err());
    }
}
