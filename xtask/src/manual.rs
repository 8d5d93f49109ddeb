//! `cargo xtask docs`: writes docs/configuration.md from the definitions of the options. The definitions
//! are compiled here as in the program, but without the types.

#[path = "../../posta/src/config/definition.rs"]
#[macro_use]
mod definition;

/// Expands the definitions in `options.rs` into data, leaving out the types.
macro_rules! options {
    ($($all:tt)*) => {
        use super::definition::*;
        sections! { $($all)* }
    };
}

/// Expands the lists of words in `words.rs` into data, leaving out the types.
macro_rules! words {
    ($($all:tt)*) => {
        use super::definition::*;
        vocabularies! { $($all)* }
    };
}

#[path = "../../posta/src/config/options.rs"]
mod options;

#[path = "../../posta/src/config/words.rs"]
mod words;

use definition::{Definition, Section, Vocabulary};
use options::{REMOVED, SECTIONS};
use std::{fmt::Write as _, fs, path::Path};
use words::VOCABULARIES;

const MANUAL: &str = "docs/configuration.md";

/// The maximal number of columns in a line, where it can be broken.
const COLUMNS: usize = 118;

/// The column of comments in the overview.
const COMMENTS: usize = 42;

const HEAD: &str = "\
<!-- Written by `cargo xtask docs` from posta/src/config/options.rs: change that, and run it again. -->

# Configuration

One file in TOML: `/etc/posta/posta.toml`, or `./posta.toml` where there is none; `POSTA_CONFIG` or `--config FILE` names
another. Keys that do not exist, values of the wrong kind, options that do not go together and values that would do harm are
refused, all at once, each with its line and the cure.

Spans of time are written `30s`, `5m`, `1h`, `7d`; sizes `128B`, `64KiB`, `50MiB`, `1GiB`; networks `192.0.2.0/24`, or an
address alone.

## Overview

**Lines without `#` in front show the defaults**; whoever leaves them out gets the same. **Lines that begin with `#` are
examples** of options that are not set by default.
";

const CHANGES: &str = "\
## Changes while the server runs

Certificates that change on disk are read again within ten seconds. `posta reload` has the server take the whole
configuration, for sessions that begin from then on and for what is sent out, and prints what changed. If anything is
wrong with it, all stays as it was, and the error says why. SIGHUP does the same and logs the result; `systemctl reload
posta` runs `posta reload`. These hold from the next start on:
";

const GONE: &str = "\
## Options that are gone

Lines with these options can be deleted. They are ignored, and a start tells of each:
";

/// Writes the manual.
pub(crate) fn write(root: &Path) -> Result<(), String> {
    let manual = manual()?;
    let path = root.join(MANUAL);
    fs::write(&path, manual).map_err(|error| format!("{MANUAL} cannot be written: {error}"))
}

/// Returns the problem with the manual, if there is one.
pub(crate) fn check(root: &Path) -> Option<String> {
    let stands = fs::read_to_string(root.join(MANUAL)).unwrap_or_default();
    match manual() {
        Ok(manual) if manual == stands => None,
        Ok(_) => Some(format!("{MANUAL} is not what the options say: run `cargo xtask docs`")),
        Err(problem) => Some(problem),
    }
}

fn manual() -> Result<String, String> {
    let mut text = format!("{HEAD}\n```toml\n");
    for section in SECTIONS {
        overview(section, &mut text);
    }
    text.push_str("```\n");
    for section in SECTIONS {
        describe(section, &mut text)?;
    }
    text.push_str(&format!("\n{CHANGES}"));
    let fixed = SECTIONS.iter().flat_map(|section| {
        let fixed = section.options.iter().filter(|option| option.needs_restart);
        fixed.map(|option| path(section, option))
    });
    let fixed: Vec<_> = fixed.map(|path| format!("`{path}`")).collect();
    text.push('\n');
    wrap(
        &format!("{}; and `limits.message-size` for what is collected.", fixed.join(", ")),
        "",
        &mut text,
    );
    text.push_str(&format!("\n{GONE}\n"));
    for (table, name, instead) in REMOVED {
        let _ = writeln!(text, "- `{table}.{name}`: {instead}.");
    }
    Ok(text)
}

fn path(section: &Section, option: &Definition) -> String {
    match section.path {
        "" => option.name(),
        table => format!("{table}.{}", option.name()),
    }
}

/// Returns the section that an option's table consists of.
fn inner(option: &Definition) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| option.value.contains(&section.holder))
}

/// Returns whether a section is written in double brackets and can be repeated.
fn is_repeated(section: &Section) -> bool {
    let mut options = SECTIONS.iter().flat_map(|section| section.options);
    options.any(|option| option.value == ["Vec", section.holder])
}

/// Returns whether a section may be absent, so that the overview presents it as an example.
fn is_optional(section: &Section) -> bool {
    let mut options = SECTIONS.iter().flat_map(|section| section.options);
    options.any(|option| option.value == ["Option", section.holder])
        || is_repeated(section) && listeners(section).is_none()
}

/// Returns the first line of a documentation, without its full stop.
fn help(documentation: &[&'static str]) -> &'static str {
    documentation.first().map_or("", |line| line.trim().trim_end_matches('.'))
}

/// Returns the comment on an option in the overview.
fn comment(option: &Definition) -> String {
    let mut words = help(option.documentation).to_owned();
    if let Some(vocabulary) = vocabulary(option) {
        let (before, after) = if takes_flag(option) { ("true | ", " | false") } else { ("", "") };
        let listed: Vec<_> = vocabulary.words.iter().map(|(word, _)| *word).collect();
        let _ = write!(words, ": {before}{}{after}", listed.join(" | "));
    }
    if !option.zero.is_empty() {
        let _ = write!(words, "; 0: {}", option.zero);
    }
    words
}

/// Returns whether an option may be true or false as well as one of its words.
fn takes_flag(option: &Definition) -> bool {
    option.value[0] == "LoopbackTrust"
}

/// Adds a section to the overview.
fn overview(section: &Section, text: &mut String) {
    let mark = if is_optional(section) { "# " } else { "" };
    if !section.path.is_empty() {
        let header = match is_repeated(section) {
            true => format!("{mark}[[{}]]", section.path),
            false => format!("{mark}[{}]", section.path),
        };
        text.push('\n');
        line(&header, help(section.documentation), text);
    }
    if let Some(default) = listeners(section) {
        return listener_lines(section, default, text);
    }
    let options: Vec<_> = section.options.iter().filter(|option| inner(option).is_none()).collect();
    let width = options.iter().filter(|option| option.default.is_some() || !mark.is_empty());
    let width = width.map(|option| option.name().len()).max().unwrap_or_default();
    for option in options {
        let name = option.name();
        let comment = comment(option);
        match option.default {
            Some(default) if mark.is_empty() => {
                line(&format!("{mark}{name:width$} = {default}"), &comment, text)
            }
            None if mark.is_empty() => {
                line(&format!("# {name} = {}", option.example()), &comment, text);
            }
            _ => line(&format!("{mark}{name:width$} = {}", option.example()), &comment, text),
        }
    }
}

/// Returns the default of a repeated section; none if there is no such section by default.
fn listeners(section: &Section) -> Option<&'static str> {
    let mut options = SECTIONS.iter().flat_map(|section| section.options);
    let option = options.find(|option| option.value == ["Vec", section.holder])?;
    option.default.filter(|default| default.contains('{'))
}

/// Adds the tables of a default; the first one has comments on its options.
fn listener_lines(section: &Section, default: &str, text: &mut String) {
    for (index, table) in default.split('{').skip(1).enumerate() {
        if index > 0 {
            let _ = writeln!(text, "\n[[{}]]", section.path);
        }
        let table = table.split('}').next().unwrap_or_default();
        for (assignment, option) in table.split(',').zip(section.options) {
            let (name, value) = assignment.split_once('=').unwrap_or_default();
            let assignment = format!("{:8} = {}", name.trim(), value.trim());
            let comment = if index == 0 { comment(option) } else { String::new() };
            line(&assignment, &comment, text);
        }
    }
}

/// Adds a line of the overview. A long line has its comment above.
fn line(code: &str, comment: &str, text: &mut String) {
    if comment.is_empty() {
        let _ = writeln!(text, "{code}");
    } else if code.len() < COMMENTS {
        let _ = writeln!(text, "{code:COMMENTS$}# {comment}");
    } else {
        let _ = writeln!(text, "{:COMMENTS$}# {comment}:\n{code}", "");
    }
}

/// Adds the chapter about a section.
fn describe(section: &Section, text: &mut String) -> Result<(), String> {
    let heading = match (section.path, is_repeated(section)) {
        ("", _) => "At the top of the file".to_owned(),
        (path, true) => format!("`[[{path}]]`"),
        (path, false) => format!("`[{path}]`"),
    };
    let _ = writeln!(text, "\n## {heading}\n");
    if !section.path.is_empty() {
        paragraphs(section.documentation, text);
        text.push('\n');
    }
    for option in section.options.iter().filter(|option| inner(option).is_none()) {
        let mut words = format!("`{}` ({})", option.name(), kind(option)?);
        let _ = write!(words, ": {}", option.documentation.first().map_or("", |line| line.trim()));
        if let Some(rest) = option.documentation.get(2..) {
            for line in rest {
                let _ = write!(words, " {}", line.trim());
            }
        }
        wrap(&format!("- {words}"), "  ", text);
        for (word, means) in vocabulary(option).map_or(&[][..], |vocabulary| vocabulary.words) {
            wrap(&format!("  - `\"{word}\"`: {means}"), "    ", text);
        }
    }
    Ok(())
}

/// Adds documentation as paragraphs.
fn paragraphs(documentation: &[&str], text: &mut String) {
    let lines: Vec<_> = documentation.iter().map(|line| line.trim()).collect();
    let joined: Vec<_> =
        lines.split(|line| line.is_empty()).map(|paragraph| paragraph.join(" ")).collect();
    wrap(&joined.join(" "), "", text);
}

fn vocabulary(option: &Definition) -> Option<&'static Vocabulary> {
    VOCABULARIES.iter().find(|vocabulary| option.value.contains(&vocabulary.holder))
}

/// Returns the type of an option and its default, in words.
fn kind(option: &Definition) -> Result<String, String> {
    let [outer, inner] = option.value;
    let (is_list, of) = match outer {
        "Vec" => (true, inner),
        "Option" => (false, inner),
        own => (false, own),
    };
    let kind = match of {
        "PathBuf" if is_list => "a list of files",
        "PathBuf" => "a path",
        "String" if is_list => "a list of texts",
        "String" => "text",
        "Domain" => "a host name",
        "TagSeparators" => "some of `+-_.=~#%!`",
        "DnsList" => "a list of DNS lists, by their zones",
        "PolicyHost" => "a list of host names, `*.` before one for any below it",
        "TokenEndpoint" | "HttpsAddress" | "ObjectEndpoint" => "a web address",
        "EmailAddress" => "an e-mail address",
        "HostPort" => "a host and a port",
        "DomainRoute" => "a host and a port, or `\"mx\"`",
        "DomainPattern" => "a domain",
        "Endpoint" => "an address and a port",
        "MetricsNetwork" | "ProxyNetwork" | "SenderNetwork" => "a list of networks",
        "IpAddr" => "a list of addresses",
        "FilterAddress" => "a host and a port, or the path of a Unix socket",
        "NameServer" => "a list of addresses, each with a port if it is not 53",
        "Span" if is_list => "a list of spans of time",
        "Retry" => "a list of spans of time",
        "Span" => "a span of time",
        "Octets" => "a size",
        "u32" | "usize" => "a number",
        "bool" => "true or false",
        _ if takes_flag(option) => "true, false or a word",
        _ if vocabulary(option).is_some() => "a word",
        other => return Err(format!("xtask/src/manual.rs has no words for the type {other}")),
    };
    let mut words = match option.of {
        "" => kind.to_owned(),
        of => format!("{kind} of {of}"),
    };
    if !option.least.is_empty() {
        let least = option.least.trim_matches(['[', ']', '"']);
        let _ = write!(words, ", at least {least}");
    }
    if !option.zero.is_empty() {
        let _ = write!(words, ", 0 for {}", option.zero);
    }
    match (option.default, option.unset) {
        (Some(default), "") => {
            let _ = write!(words, "; default `{default}`");
        }
        (Some(_), unset) | (None, unset) if !unset.is_empty() => {
            let _ = write!(words, "; default: {unset}");
        }
        _ => words.push_str("; needed"),
    }
    Ok(words)
}

/// Adds text in lines of limited length; all but the first begin with `indent`.
fn wrap(words: &str, indent: &str, text: &mut String) {
    let mut line = String::new();
    let indented = words.len() - words.trim_start().len();
    line.push_str(&words[..indented]);
    for word in words.split_whitespace() {
        let is_first = line.trim().is_empty();
        if !is_first && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            let _ = writeln!(text, "{line}");
            line = indent.to_owned();
        } else if !is_first {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_stands_in_the_manual() {
        let manual = manual().unwrap();
        for section in SECTIONS {
            for option in section.options.iter().filter(|option| inner(option).is_none()) {
                let name = option.name();
                assert!(manual.contains(&format!("\n- `{name}` (")), "{name}");
            }
        }
        let long: Vec<_> = manual.lines().filter(|line| line.chars().count() > 125).collect();
        assert!(long.is_empty(), "{long:#?}");
    }

    #[test]
    fn lines_are_broken_between_words() {
        let mut text = String::new();
        wrap(&format!("- {}", "word ".repeat(30)), "  ", &mut text);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("- word") && lines[1].starts_with("  word"));
    }
}
