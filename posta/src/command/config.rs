//! `posta config`.

use crate::{
    Place,
    config::{Origin, Setting, Source},
    output::say,
    wiring,
};
use anyhow::{Context, Result};
use clap::Subcommand;
use serde::Serialize;

/// See what the configuration says, and whether it is right.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show every option with its value, and where that comes from.
    Show {
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration and the files that it names, without starting anything.
    Check {
        #[command(flatten)]
        place: Place,
    },
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Show { place, json } => show(&place, json),
        Command::Check { place } => check(&place),
    }
}

/// An option, as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown {
    option: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<serde_json::Value>,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

fn show(place: &Place, json: bool) -> Result<()> {
    let source = wiring::source(place)?;
    let settings = source.settings();
    let shown: Vec<_> = settings.iter().map(as_json).collect::<Result<_>>()?;
    super::show(&shown[..], json, |_| print_table(&source, &settings))
}

fn as_json(setting: &Setting) -> Result<Shown> {
    let Setting { option, value, origin } = setting;
    let value = value.as_ref().map(|value| -> Result<_> {
        let table: toml::Table = toml::from_str(&format!("value = {value}"))?;
        Ok(serde_json::to_value(table.get("value").context("it has no value")?)?)
    });
    let line = match origin {
        Origin::Line(line) => Some(*line),
        Origin::Default | Origin::CommandLine | Origin::Unset(_) => None,
    };
    let from = match origin {
        Origin::Line(_) => "file",
        Origin::Default => "default",
        Origin::CommandLine => "command-line",
        Origin::Unset(_) => "unset",
    };
    Ok(Shown { option: option.clone(), value: value.transpose()?, from: from.to_owned(), line })
}

fn print_table(source: &Source, settings: &[Setting]) {
    match &source.path {
        Some(path) => say!("{}", path.display()),
        None => say!("There is no configuration: the defaults hold."),
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["OPTION", "VALUE", "FROM"]);
    for Setting { option, value, origin } in settings {
        let value = value.as_deref().unwrap_or("-");
        let from = match origin {
            Origin::Line(line) => format!("line {line}"),
            Origin::Default => "default".to_owned(),
            Origin::CommandLine => "--data".to_owned(),
            Origin::Unset(holds) => format!("not set: {holds}"),
        };
        table.add_row([option, value, &from]);
    }
    say!("{table}");
}

fn check(place: &Place) -> Result<()> {
    let source = wiring::source(place)?;
    let outdated: Vec<_> = source.outdated().collect();
    for words in &outdated {
        say!("{words}.");
    }
    wiring::check(&source.config)?;
    match &source.path {
        Some(path) => {
            let options = match source.set() {
                1 => "1 option is set in it, and the others have their defaults".to_owned(),
                set => format!("{set} options are set in it, and the others have their defaults"),
            };
            say!("The configuration {} is right: {options}.", path.display());
        }
        None => say!("There is no configuration: the defaults hold."),
    }
    Ok(())
}
