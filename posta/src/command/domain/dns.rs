//! `posta domain dns`.

use crate::{Place, command::show, mail_setup, output::say, runtime::block_on};
use anyhow::Result;
use posta_mail::Domain;
use posta_server::admin::checkup::publish::{
    record::{DnsRecord, RecordNeed, RecordPurpose, records},
    zone_file,
};
use serde::Serialize;

/// A record, in the form for scripts.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RecordLine {
    purpose: RecordPurpose,
    need: RecordNeed,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    data: String,
    in_zone: bool,
}

impl RecordLine {
    fn new(record: &DnsRecord, domain: &Domain) -> Self {
        Self {
            purpose: record.purpose,
            need: record.purpose.need(),
            name: record.name.clone(),
            kind: record.data.kind(),
            data: record.data.to_string(),
            in_zone: record.is_within(domain),
        }
    }
}

/// Prints the records of a domain.
pub(super) fn run(place: &Place, domain: &str, json: bool) -> Result<()> {
    let setup = block_on(mail_setup::of(place, domain))?.setup;
    let lines: Vec<_> =
        records(&setup).iter().map(|record| RecordLine::new(record, &setup.domain)).collect();
    show(&lines[..], json, |_| say!("{}", zone_file::text(&setup).trim_end()))
}
