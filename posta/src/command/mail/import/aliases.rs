//! `posta import aliases`: /etc/aliases, and the text of Postfix's virtual_alias_maps.

use super::records::{Words, records, with_domain};
use crate::{Place, operator::SharedSession, output::say, runtime::block_on};
use anyhow::Result;
use clap::Args;
use posta_mail::{Address, Domain};
use posta_server::admin::Request;
use std::{collections::BTreeMap, path::PathBuf};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The file: /etc/aliases (NAME: TARGET, …), or a virtual map of Postfix (ADDRESS TARGET …).
    file: PathBuf,
    /// The domain of names that have none.
    #[arg(long)]
    domain: Option<Domain>,
}

/// What a record says.
#[derive(Debug, PartialEq, Eq)]
enum Record {
    /// Mail for the name goes to the targets. Other targets, such as programs, are named, each with the reason why it
    /// is left out.
    Alias { name: String, targets: Vec<String>, others: Vec<String> },
    /// The domain is one of those that have only aliases.
    Domain(Domain),
    /// Each address of a domain means the same one of another.
    DomainAlias(Domain, Domain),
}

pub(super) fn run(arguments: Arguments) -> Result<()> {
    let Arguments { place, file, domain } = arguments;
    let text = super::records::read(&file)?;
    block_on(async {
        let session = SharedSession::open(&place).await?;
        let lines = session.aliases().await?;
        let there: BTreeMap<_, _> =
            lines.into_iter().map(|line| (line.name, line.targets)).collect();
        let mut words = Words::default();
        let (mut requests, mut known) = (Vec::new(), 0);
        for (number, line) in records(&text) {
            let about = format!("line {number}");
            match Record::parse(&line, domain.as_ref()) {
                Err(why) => words.skip(&about, &why),
                Ok(Record::Domain(domain)) => {
                    let request =
                        Request::DomainAdd { domain: domain.to_string(), postmaster: None };
                    requests.push((about, request));
                }
                Ok(Record::DomainAlias(alias, domain)) => {
                    let (alias, domain) = (alias.to_string(), domain.to_string());
                    requests.push((about, Request::DomainAlias { alias, domain }));
                }
                Ok(Record::Alias { name, targets, others }) => {
                    let about = format!("{about}, {name}");
                    others.iter().for_each(|other| words.skip(&about, other));
                    match there.get(&name) {
                        Some(members) if same(members, &targets) => known += 1,
                        Some(_) => words.skip(
                            &about,
                            "it is here with other members: `posta alias list` shows them",
                        ),
                        None if targets.is_empty() => {}
                        None => requests.push((about, Request::AliasSet { name, targets })),
                    }
                }
            }
        }
        let added = carry_out(&session, requests, &mut words).await;
        say!("aliases and domains: {added} added, {known} here before");
        words.end()
    })
}

/// Carries the requests out. A member may be an alias that comes later, so those that fail are tried again as long as
/// others succeed. Returns the number that succeeded.
async fn carry_out(
    session: &SharedSession,
    mut waiting: Vec<(String, Request)>,
    words: &mut Words,
) -> usize {
    let mut added = 0;
    loop {
        let before = waiting.len();
        let mut failed = Vec::new();
        for (about, request) in waiting {
            match session.ask(request.clone()).await {
                Ok(_) => added += 1,
                Err(error) => failed.push((about, request, error)),
            }
        }
        if failed.is_empty() || failed.len() == before {
            for (about, _, error) in failed {
                words.skip(&about, &crate::output::chain(&error));
            }
            return added;
        }
        waiting = failed.into_iter().map(|(about, request, _)| (about, request)).collect();
    }
}

/// Returns whether an alias has these members.
fn same(members: &[String], targets: &[String]) -> bool {
    let sorted = |list: &[String]| {
        let mut sorted: Vec<_> = list.iter().map(|it| it.to_lowercase()).collect();
        sorted.sort();
        sorted.dedup();
        sorted
    };
    sorted(members) == sorted(targets)
}

impl Record {
    fn parse(line: &str, domain: Option<&Domain>) -> Result<Self, String> {
        let words = split(line);
        let (first, rest) = words.split_first().ok_or("it is empty")?;
        // In /etc/aliases a colon follows the name; a virtual map has none.
        let (name, rest) = match first.strip_suffix(':') {
            Some(name) => (name, rest),
            None => match rest.split_first() {
                Some((colon, rest)) if colon == ":" => (first.as_str(), rest),
                _ => match first.split_once(':').filter(|(name, _)| !name.contains('@')) {
                    Some(_) => return Err("a blank is missing after the colon".to_owned()),
                    None => return Self::virtual_record(first, rest, domain),
                },
            },
        };
        Self::alias(with_domain(name, domain)?.as_str(), rest, domain)
    }

    /// Reads a record of a virtual map.
    fn virtual_record(
        name: &str,
        rest: &[String],
        domain: Option<&Domain>,
    ) -> Result<Self, String> {
        let of_all = name.strip_prefix('@').map(str::parse::<Domain>);
        match (of_all, rest) {
            (Some(Err(_)), _) => Err(format!("{name} is no domain")),
            (Some(Ok(alias)), [target]) if target.starts_with('@') => {
                let meant = target[1..].parse().map_err(|_| format!("{target} is no domain"))?;
                Ok(Self::DomainAlias(alias, meant))
            }
            (Some(Ok(_)), rest) => Self::alias(name, rest, domain),
            (None, _) if !name.contains('@') && name.contains('.') => {
                // `example.org anything` says that the domain has only aliases.
                name.parse().map(Self::Domain).map_err(|_| format!("{name} is no domain"))
            }
            (None, rest) => Self::alias(with_domain(name, domain)?.as_str(), rest, domain),
        }
    }

    fn alias(name: &str, rest: &[String], domain: Option<&Domain>) -> Result<Self, String> {
        let (mut targets, mut others) = (Vec::new(), Vec::new());
        for target in rest {
            let other = match target.chars().next() {
                Some('|') => "a program: let it fetch the mail over POP3",
                Some('/') => "a file: mail goes to mailboxes only",
                _ if target.starts_with(":include:") => {
                    "a list in a file: make its members the members of the alias"
                }
                _ => {
                    let target = target.trim_start_matches('\\');
                    match with_domain(target, domain) {
                        Ok(address) => targets.push(Address::to_string(&address)),
                        Err(why) => others.push(format!("{target}: {why}")),
                    }
                    continue;
                }
            };
            others.push(format!("{target} is {other}"));
        }
        if targets.is_empty() && others.is_empty() {
            return Err("it has no members".to_owned());
        }
        Ok(Self::Alias { name: name.to_lowercase(), targets, others })
    }
}

/// Splits a line into words at blanks and commas; what is in quotes is one.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    for character in line.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            ' ' | '\t' | ',' if !is_quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            other => word.push(other),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_files_are_read() {
        let domain = "x.test".parse().unwrap();
        let parsed = |line: &str| Record::parse(line, Some(&domain));
        let alias = |name: &str, targets: &[&str]| {
            let targets = targets.iter().map(|target| (*target).to_owned()).collect();
            Ok(Record::Alias { name: name.to_owned(), targets, others: Vec::new() })
        };
        for (line, expected) in [
            ("Postmaster: root", alias("postmaster@x.test", &["root@x.test"])),
            (
                "root : ana, \\bob, c@y.test",
                alias("root@x.test", &["ana@x.test", "bob@x.test", "c@y.test"]),
            ),
            ("info@y.test ana@x.test bob", alias("info@y.test", &["ana@x.test", "bob@x.test"])),
            ("@y.test  ana", alias("@y.test", &["ana@x.test"])),
            ("sales   ana,bob", alias("sales@x.test", &["ana@x.test", "bob@x.test"])),
            ("y.test anything", Ok(Record::Domain("y.test".parse().unwrap()))),
            (
                "@old.test @x.test",
                Ok(Record::DomainAlias("old.test".parse().unwrap(), "x.test".parse().unwrap())),
            ),
        ] {
            assert_eq!(parsed(line), expected, "{line}");
        }
        let line = "list: \"|/usr/bin/program -x\", /var/mail/file, :include:/etc/list, ana";
        let Ok(Record::Alias { targets, others, .. }) = parsed(line) else { panic!() };
        assert_eq!((targets.len(), others.len()), (1, 3), "{others:?}");
        assert!(others[0].starts_with("|/usr/bin/program -x is a program"), "{others:?}");
        for wrong in ["a:b", "info:", "@ ana", "a: b c@", "ana"] {
            let outcome = parsed(wrong);
            let has_others =
                matches!(&outcome, Ok(Record::Alias { others, .. }) if !others.is_empty());
            assert!(outcome.is_err() || has_others, "{wrong}: {outcome:?}");
        }
    }
}
