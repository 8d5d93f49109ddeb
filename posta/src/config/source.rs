//! A configuration with the text that it was read from.

use super::{
    Config,
    definition::{Definition, Section},
    options::SECTIONS,
    read::{Mistake, Slot, Value},
    sense,
    survey::{Set, Survey, is_table, survey},
};
use anyhow::{Context, Result, anyhow};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use toml::de::{DeTable, DeValue};

/// A configuration and the source of each of its values.
#[derive(Debug)]
pub(crate) struct Source {
    /// The file; `None` if all values are defaults.
    pub(crate) path: Option<PathBuf>,
    pub(crate) config: Config,
    text: String,
    survey: Survey,
    /// Whether the data directory is from the command line.
    is_data_given: bool,
}

impl Source {
    /// Returns the configuration of an empty file.
    ///
    /// # Errors
    /// Never fails, unless a default in `options.rs` is invalid.
    pub(crate) fn defaults() -> Result<Self> {
        Self::parse(String::new())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Fails when the file cannot be read or is invalid; the error names the file, the line and the key.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                anyhow!("there is no configuration {}: --config names the file", path.display())
            }
            _ => anyhow!("the configuration {} cannot be read: {error}", path.display()),
        })?;
        let read = Self::parse(text);
        let read = read.with_context(|| format!("the configuration {}", path.display()))?;
        Ok(Self { path: Some(path.to_owned()), ..read })
    }

    pub(super) fn parse(text: String) -> Result<Self> {
        let told = |Mistake { at, words }| anyhow!("line {}: {words}", line(&text, at));
        let file = DeTable::parse(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            told(Mistake { at, words: format!("this is not TOML: {}", error.message()) })
        })?;
        let survey = survey(&file).map_err(told)?;
        let top = Slot { section: &SECTIONS[0], definition: &SECTIONS[0].options[0] };
        let at = file.span();
        let table = toml::Spanned::new(at, DeValue::Table(file.into_inner()));
        let config = Config::read(&table, &top).map_err(told)?;
        drop(table);
        sense::check(&config)?;
        Ok(Self { path: None, config, text, survey, is_data_given: false })
    }

    /// Returns every option with its value, in the order of the manual.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        SECTIONS.iter().flat_map(|section| self.settings_of(section)).collect()
    }

    /// Sets the data directory from the command line.
    pub(crate) fn set_data(&mut self, data: &Path) {
        data.clone_into(&mut self.config.data);
        self.is_data_given = true;
    }

    fn settings_of(&self, section: &'static Section) -> Vec<Setting> {
        let mut holders = SECTIONS.iter().flat_map(|holder| holder.options);
        let holder = holders.find(|option| option.value.contains(&section.holder));
        let tables = match holder.map(|holder| (holder.value[0], holder)) {
            Some(("Vec" | "Option", holder)) => {
                let tables = self.tables(section.path);
                if tables.is_empty() {
                    return self.default_tables(section.path, holder);
                }
                tables
            }
            _ => vec![section.path.to_owned()],
        };
        let options: Vec<_> = section.options.iter().filter(|option| !is_table(option)).collect();
        let mut settings = Vec::new();
        for table in tables {
            for option in &options {
                let path = match table.as_str() {
                    "" => option.name(),
                    table => format!("{table}.{}", option.name()),
                };
                settings.push(self.setting(path, option));
            }
        }
        settings
    }

    /// Returns the values that apply when the file lacks a table.
    fn default_tables(&self, name: &str, holder: &Definition) -> Vec<Setting> {
        let line = format!("{name} = {}", holder.default.unwrap_or_default());
        let set = DeTable::parse(&line).ok().and_then(|table| survey(&table).ok());
        let set = set.map_or_else(Vec::new, |survey| survey.set);
        if set.is_empty() {
            return vec![self.setting(name.to_owned(), holder)];
        }
        let default = |Set { path, value }| Setting {
            option: path,
            value: Some(line[value].to_owned()),
            origin: Origin::Default,
        };
        set.into_iter().map(default).collect()
    }

    /// Returns the tables of a name in the file: `listen[0]`, `listen[1]`; `oauth`.
    fn tables(&self, name: &str) -> Vec<String> {
        let mut tables: Vec<String> = Vec::new();
        for Set { path, .. } in &self.survey.set {
            let Some((table, _)) = path.rsplit_once('.') else { continue };
            let bare = table.split('[').next().unwrap_or_default();
            if bare == name && !tables.iter().any(|known| known == table) {
                tables.push(table.to_owned());
            }
        }
        tables
    }

    fn setting(&self, option: String, definition: &Definition) -> Setting {
        if option == "data" && self.is_data_given {
            let value = Some(format!("{:?}", self.config.data.display().to_string()));
            return Setting { option, value, origin: Origin::CommandLine };
        }
        if let Some(set) = self.survey.set.iter().find(|set| set.path == option) {
            let value = Some(self.text[set.value.clone()].to_owned());
            return Setting {
                option,
                value,
                origin: Origin::Line(line(&self.text, set.value.start)),
            };
        }
        if option == "hostname" {
            let value = Some(format!("{:?}", self.config.hostname().as_str()));
            return Setting { option, value, origin: Origin::Default };
        }
        match (definition.unset, definition.default) {
            ("", Some(default)) => {
                Setting { option, value: Some(default.to_owned()), origin: Origin::Default }
            }
            (unset, _) => Setting { option, value: None, origin: Origin::Unset(unset) },
        }
    }

    /// Returns the number of options that the file sets.
    pub(crate) fn set(&self) -> usize {
        self.survey.set.len()
    }

    /// Returns remarks on options in the file that no longer exist.
    pub(crate) fn outdated(&self) -> impl Iterator<Item = String> {
        let told =
            |Mistake { at, words }: &Mistake| format!("line {}: {words}", line(&self.text, *at));
        self.survey.removed.iter().map(told)
    }
}

/// An option and its value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The option's path, such as `listen[0].protocol` in an array of tables.
    pub(crate) option: String,
    /// Its value as TOML, if there is one.
    pub(crate) value: Option<String>,
    pub(crate) origin: Origin,
}

/// The source of a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A line of the file.
    Line(usize),
    /// The option's default.
    Default,
    /// The command line.
    CommandLine,
    /// No value; the words say what applies.
    Unset(&'static str),
}

/// Returns the number of the line that contains an offset.
fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}
