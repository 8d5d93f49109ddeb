//! A configuration with the text that it was read from.

use super::{
    Config,
    definition::{Definition, Section},
    mistakes::{Mistakes, Read, line},
    options::SECTIONS,
    read::{Slot, Value},
    survey::{Set, Survey, is_table, survey},
};
use crate::fault::fault;
use anyhow::{Context, Result};
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
                let words = format!(
                    "there is no configuration file {}: give its path with --config",
                    path.display()
                );
                fault("config-not-found", words)
            }
            _ => fault(
                "config-unreadable",
                format!("the configuration {} cannot be read: {error}", path.display()),
            ),
        })?;
        let read = Self::parse(text);
        let read = read.with_context(|| format!("the configuration {}", path.display()))?;
        Ok(Self { path: Some(path.to_owned()), ..read })
    }

    pub(super) fn parse(text: String) -> Result<Self> {
        match read(&text) {
            Ok((config, survey)) => {
                Ok(Self { path: None, config, text, survey, is_data_given: false })
            }
            Err(mistakes) => Err(mistakes.into_error(&text)),
        }
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
        let table = DeTable::parse(&line).ok();
        let survey = table.map(|table| survey(&table, &mut Mistakes::default()));
        let set = survey.map_or_else(Vec::new, |survey| survey.set);
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
        self.survey.removed.iter().map(|removed| removed.with_line(&self.text))
    }
}

/// Reads the text of a file, and finds all of its mistakes.
fn read(text: &str) -> Read<(Config, Survey)> {
    let mut mistakes = Mistakes::default();
    let (file, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let words = format!("this is not TOML: {}", error.message());
        mistakes.add_coded(&error.span().unwrap_or_default(), "config-syntax", words);
    }
    if !errors.is_empty() {
        // The meaning of the other lines would be a guess.
        return Err(mistakes);
    }
    let survey = survey(&file, &mut mistakes);
    let top = Slot { section: &SECTIONS[0], definition: &SECTIONS[0].options[0] };
    let at = file.span();
    let table = toml::Spanned::new(at, DeValue::Table(file.into_inner()));
    let config = mistakes.keep(Config::read(&table, &top));
    mistakes.unless_any(config.map(|config| (config, survey)))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what a person is told of a file.
    fn told(text: &str) -> String {
        format!("{:#}", Source::parse(text.to_owned()).unwrap_err())
    }

    #[test]
    fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
        let words = told(
            "hostnme = 'x'\n\
             [tls]\n\
             key = '/etc/key.pem'\n\
             [[tls.also]]\n\
             certificat = '/etc/other.pem'\n\
             [limits]\n\
             message-size = '50MB'\n\
             hold = 5\n\
             [relay]\n\
             smarthost = 'smtp.example.net'\n\
             networks = ['10.0.0.0/8',\n\
             '0.0.0.0/0']\n\
             [[relay.domain]]\n\
             name = 'a b'\n\
             retry = []\n\
             [[listen]]\n\
             protocol = 'imap'\n\
             address = 'localhost'\n",
        );
        let lines: Vec<_> = words.lines().collect();
        assert_eq!(lines[0], "12 mistakes:");
        for (line, beginning) in lines[1..].iter().zip([
            "line 1: unknown key \"hostnme\": did you mean \"hostname\"",
            "line 3: tls.key and tls.certificate belong together",
            "line 4: [[tls.also]] needs key",
            "line 5: unknown key \"certificat\" in [tls.also]: did you mean",
            "line 7: limits.message-size: \"50MB\"",
            "line 8: limits.hold is a span of time",
            "line 10: relay.smarthost: \"smtp.example.net\" is no server",
            "line 12: relay.networks: 0.0.0.0/0 would let everybody",
            "line 14: relay.domain.name: \"a b\" is no domain",
            "line 15: relay.domain.retry: at least one",
            "line 17: listen.protocol = \"imap\"",
            "line 18: listen.address: ",
        ]) {
            assert!(line.trim_start().starts_with(beginning), "{line} is not: {beginning}");
        }
        assert_eq!(lines.len(), 13, "{words}");
    }

    #[test]
    fn a_mistake_alone_is_told_in_one_line() {
        assert_eq!(
            told("[limits]\n\nsessions = 'many'"),
            "line 3: limits.sessions is a number of sessions, without unit or quotation marks, as sessions = 20000"
        );
    }

    /// What two options make together has the line of the one to change.
    #[test]
    fn options_that_do_not_go_together_are_told_with_their_line() {
        let oauth = "[oauth]\nintrospection = 'https://a.test/'";
        let listen = "[[listen]]\nprotocol = 'smtp'\naddress = '0.0.0.0:25'";
        for (text, beginning) in [
            ("data = '/d'\n[tls]\ncertificate = 'x'".to_owned(), "line 3: tls.certificate and"),
            (format!("{oauth}\naudience = 'a'\nsecret-file = 'x'"), "line 4: oauth.secret-file and"),
            (format!("[log]\n{oauth}"), "line 2: oauth: a token"),
            ("[mta-sts]\nmode = 'testing'\nmax-age = '400d'".to_owned(), "line 3: mta-sts.max-age"),
            ("[dns]\ndnssec = false\ntrust-anchor = 'x'".to_owned(), "line 3: dns.trust-anchor"),
            ("[relay]\nrate = 1\ntls = 'starttls'".to_owned(), "line 3: relay: user,"),
            (
                "[relay]\nsmarthost = 'a:25'\nuser = 'u'\npassword-file = 'p'\ntls = 'none'".to_owned(),
                "line 5: relay.tls: a password needs",
            ),
            ("[relay]\nsource = ['::1',\n'::2']".to_owned(), "line 3: relay.source names one"),
            (
                "[[relay.domain]]\nname = 'a.test'\nsmarthost = 'mx'\nuser = 'u'\npassword-file = 'p'"
                    .to_owned(),
                "line 4: relay.domain: user,",
            ),
            (
                "[[relay.domain]]\nname = 'a.test'\n[[relay.domain]]\nname = 'A.test'".to_owned(),
                "line 4: relay.domain.name: \"a.test\" is named twice",
            ),
            ("\nlisten = []".to_owned(), "line 2: listen = [] serves nobody"),
            (format!("{listen}\n{listen}"), "line 6: 0.0.0.0:25 is listened on twice"),
            (format!("{listen}\n{}", listen.replace("0.0.0.0", "[::]")), "line 6: 0.0.0.0:25 for"),
            (listen.replace("0.0.0.0:25", "unix:/x"), "line 3: listen.address: only lmtp"),
            (listen.replace("smtp", "https"), "line 1: listen.tls: https needs"),
        ] {
            let words = told(&text);
            assert!(words.starts_with(beginning), "{text}\n{words} is not: {beginning}");
        }
    }

    /// An option that cannot be read hides no mistake that the others make together.
    #[test]
    fn options_that_do_not_go_together_are_told_beside_one_that_is_wrong() {
        let words = told(
            "[dns]\n\
             servers = ['localhost']\n\
             dnssec = false\n\
             trust-anchor = 'x'\n\
             [relay]\n\
             timeout = 5\n\
             tls = 'starttls'\n\
             source = ['::1', '::2']\n\
             [[relay.domain]]\n\
             name = 'a.test'\n\
             retry = []\n\
             [[relay.domain]]\n\
             name = 'a.test'\n\
             smarthost = 'x'\n\
             tls = 'starttls'\n\
             [mta-sts]\n\
             mode = 'of'\n\
             max-age = '400d'\n\
             [oauth]\n\
             introspection = 'a'\n\
             [[listen]]\n\
             protocol = 'smtp'\n\
             address = '0.0.0.0:25'\n\
             tls = 'no'\n\
             [[listen]]\n\
             protocol = 'https'\n\
             address = '0.0.0.0:25'\n\
             tls = 'none'\n",
        );
        let lines: Vec<_> = words.lines().skip(1).map(str::trim_start).collect();
        for beginning in [
            "line 2: dns.servers",
            "line 4: dns.trust-anchor means nothing",
            "line 6: relay.timeout",
            "line 7: relay: user, password-file and tls",
            "line 8: relay.source names one",
            "line 11: relay.domain.retry",
            "line 13: relay.domain.name: \"a.test\" is named twice",
            "line 14: relay.domain.smarthost",
            "line 17: mta-sts.mode",
            "line 18: mta-sts.max-age",
            "line 19: oauth: a token",
            "line 20: oauth.introspection",
            "line 24: listen.tls",
            "line 27: 0.0.0.0:25 is listened on twice",
            "line 28: listen.tls: https needs",
        ] {
            assert!(lines.iter().any(|line| line.starts_with(beginning)), "{beginning}: {words}");
        }
        assert_eq!(lines.len(), 15, "{words}");
    }

    #[test]
    fn lines_that_are_not_toml_are_told_at_once() {
        let words = told("hostname = x\n[limits\nsessions = 1\n");
        let lines: Vec<_> = words.lines().map(str::trim_start).collect();
        assert!(lines.iter().any(|line| line.starts_with("line 1: this is not TOML")), "{words}");
        assert!(lines.iter().any(|line| line.starts_with("line 2: this is not TOML")), "{words}");
    }
}
