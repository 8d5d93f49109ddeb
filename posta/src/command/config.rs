//! `posta config`.

pub(crate) mod setup;

use crate::{
    Place,
    config::{Origin, Setting, Source},
    output::say,
    wiring,
};
use anyhow::{Context, Result};
use clap::Subcommand;
use posta_server::admin::{ConfigChecked, OptionLine, OptionOrigin};

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

fn show(place: &Place, json: bool) -> Result<()> {
    let source = wiring::source(place)?;
    super::show(&lines(&source)?[..], json, |_| print_table(&source, &source.settings()))
}

/// Returns every option with its value and where that comes from.
pub(super) fn lines(source: &Source) -> Result<Vec<OptionLine>> {
    source.settings().into_iter().map(|setting| line(source, setting)).collect()
}

fn line(source: &Source, setting: Setting) -> Result<OptionLine> {
    let Setting { option, value, origin } = setting;
    let value = value.map(|value| -> Result<_> {
        let table: toml::Table = toml::from_str(&format!("value = {value}"))?;
        Ok(serde_json::to_value(table.get("value").context("it has no value")?)?)
    });
    let (from, line) = match origin {
        Origin::Line(line) => (OptionOrigin::File, Some(line)),
        Origin::Default => (OptionOrigin::Default, None),
        Origin::CommandLine => (OptionOrigin::CommandLine, None),
        Origin::Unset(_) => (OptionOrigin::Unset, None),
    };
    let file = source.path.as_ref().filter(|_| from == OptionOrigin::File);
    let file = file.map(|path| path.display().to_string());
    Ok(OptionLine { option, value: value.transpose()?, from, file, line })
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

/// Checks a configuration and the files that it names.
pub(super) fn checked(source: &Source) -> Result<ConfigChecked> {
    wiring::check(&source.config)?;
    Ok(ConfigChecked {
        file: source.path.as_ref().map(|path| path.display().to_string()),
        set: source.set(),
        remarks: source.outdated().collect(),
    })
}

fn check(place: &Place) -> Result<()> {
    let source = wiring::source(place)?;
    for words in source.outdated() {
        say!("{words}.");
    }
    let ConfigChecked { file, set, .. } = checked(&source)?;
    match file {
        Some(path) => {
            let options = match set {
                1 => "1 option is set in it, and the others have their defaults".to_owned(),
                set => format!("{set} options are set in it, and the others have their defaults"),
            };
            say!("The configuration {path} is right: {options}.");
        }
        None => say!("There is no configuration: the defaults hold."),
    }
    Ok(())
}
