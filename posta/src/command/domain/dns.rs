//! `posta domain dns`.

use crate::{Place, command::show, mail_setup, output::say, runtime::block_on};
use anyhow::Result;
use posta_server::admin::checkup::publish::{
    MailSetup,
    record::{RecordLine, records},
    zone_file,
};

/// Prints the records of a domain.
pub(super) fn run(place: &Place, domain: &str, json: bool) -> Result<()> {
    let setup = block_on(mail_setup::of(place, domain))?.setup;
    show(&lines(&setup)[..], json, |_| say!("{}", zone_file::text(&setup).trim_end()))
}

/// Returns the records to publish, as lists have them.
pub(in crate::command) fn lines(setup: &MailSetup) -> Vec<RecordLine> {
    records(setup).iter().map(|record| RecordLine::new(record, &setup.domain)).collect()
}
