//! `posta store`.

mod copy;

use super::bar;
use crate::{
    Place, command,
    fault::demand,
    output::{self, say},
    wiring::{self, Checked, Damage, OnFiles, Repaired},
};
use anyhow::Result;
use clap::Subcommand;
use posta_net::clock::Clock as _;
use serde::Serialize;
use std::io::{self, BufRead as _, IsTerminal as _};

/// Check the store, repair it, or move it to another engine, while the server is stopped.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Verify every reference and checksum in the store; nothing is changed. Exit status 1 if anything is damaged.
    Check {
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a new store of all that is whole. The old one is kept beside it.
    ///
    /// It takes as much room on the disk as the store has. What is lost is named.
    Repair {
        #[command(flatten)]
        place: Place,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
    Copy(copy::Arguments),
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Check { place, json } => check(&place, json),
        Command::Repair { place, yes } => repair(&place, yes),
        Command::Copy(arguments) => copy::run(arguments),
    }
}

/// The finding about one message.
#[derive(Serialize)]
struct Lost {
    of: String,
    folder: String,
    uid: u32,
    id: String,
    time: posta_mail::Timestamp,
}

/// What a check tells.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Told<'a> {
    messages: u64,
    octets: u64,
    files: &'a [String],
    lost: Vec<Lost>,
    records: &'a [String],
    not_named: u64,
}

fn check(place: &Place, json: bool) -> Result<()> {
    let bar = bar("{spinner} {human_pos} messages checked, {elapsed}");
    let shown = bar.clone();
    let checked =
        wiring::check_store(&wiring::config(place)?, move |count| shown.set_position(count));
    bar.finish_and_clear();
    let checked = checked?;
    if json {
        let Checked { messages, octets, damage } = &checked;
        let Damage { files, messages: lost, records, more } = damage;
        let lost = lost.iter().map(|it| Lost {
            of: it.of.clone(),
            folder: it.folder.clone(),
            uid: it.uid,
            id: it.id.to_string(),
            time: it.time,
        });
        let (messages, octets, lost) = (*messages, *octets, lost.collect());
        let told = Told { messages, octets, files, lost, records, not_named: *more };
        say!("{}", output::json(&told)?);
    } else {
        tell(&checked);
    }
    demand!(
        checked.damage.is_none(),
        "store-damaged",
        "the store is damaged: `posta store repair` saves what is whole, `posta restore` brings back what a backup has"
    );
    Ok(())
}

fn tell(checked: &Checked) {
    let Checked { messages, octets, damage } = checked;
    say!("{messages} messages checked, {}", command::size(*octets));
    damage.files.iter().for_each(|file| say!("damaged: {file}"));
    for lost in &damage.messages {
        let uid = if lost.uid == 0 { String::new() } else { format!(", UID {}", lost.uid) };
        say!("lost: message {} of {:.0} to {} ({}{uid})", lost.id, lost.time, lost.of, lost.folder);
    }
    damage.records.iter().for_each(|record| say!("wrong: {record}"));
    if damage.more > 0 {
        say!("and {} findings more", damage.more);
    }
}

fn repair(place: &Place, yes: bool) -> Result<()> {
    let config = wiring::config(place)?;
    wiring::expect_embedded(&config, OnFiles::Repair)?;
    if !yes {
        demand!(
            io::stdin().is_terminal(),
            "confirmation-needed",
            "a repair asks before it begins: --yes answers"
        );
        let data = config.data.display();
        say!(
            "This makes a new store of what is whole in {data}, and keeps the old one. Go on? [y/N]"
        );
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        demand!(
            ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()),
            "not-confirmed",
            "nothing was changed"
        );
    }
    let bar = bar("{spinner} {human_pos} messages checked, {elapsed}");
    let now = wiring::clock().now();
    let shown = bar.clone();
    let repaired = wiring::repair_store(&config, now, move |count| shown.set_position(count));
    bar.finish_and_clear();
    let Repaired { checked, before } = repaired?;
    tell(&checked);
    match before {
        None => say!("nothing is damaged: the store stays as it is"),
        Some(before) => {
            let lost = match checked.damage.messages.len() {
                0 => "no message is lost".to_owned(),
                1 => "1 message is lost".to_owned(),
                count => format!("{count} messages are lost"),
            };
            say!("the store is whole again, and {lost}; as it was, it is in {}", before.display());
            say!("once nothing in it is needed any more: rm -r {}*", before.display());
        }
    }
    Ok(())
}
