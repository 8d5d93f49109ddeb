//! `posta import users`: the accounts of another server, from Dovecot's passwd-file or /etc/shadow.

use super::records::{Words, records, with_domain};
use crate::{Place, operator::SharedSession, output::say, runtime::block_on};
use anyhow::Result;
use clap::Args;
use posta_mail::Domain;
use posta_server::admin::{Request, TransferRequest};
use std::{collections::HashSet, path::PathBuf};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The file: a Dovecot passwd-file, /etc/shadow, or lines NAME:HASH.
    file: PathBuf,
    /// The domain of names that have none.
    #[arg(long)]
    domain: Option<Domain>,
}

/// A user of another server.
#[derive(Debug, PartialEq, Eq)]
struct User {
    name: String,
    password: String,
    /// The octets that the mailbox may hold.
    quota: Option<u64>,
}

pub(super) fn run(arguments: Arguments) -> Result<()> {
    let Arguments { place, file, domain } = arguments;
    let text = super::records::read(&file)?;
    block_on(async {
        let session = SharedSession::open(&place).await?;
        let lines = session.accounts().await?;
        let there: HashSet<_> = lines.into_iter().map(|line| line.address.to_lowercase()).collect();
        let (mut added, mut known, mut words) = (0, 0, Words::default());
        for (number, line) in records(&text) {
            let about = format!("line {number}");
            let Some(user) = User::parse(&line) else {
                words.skip(&about, "it is not NAME:HASH");
                continue;
            };
            let address = match with_domain(&user.name, domain.as_ref()) {
                Ok(address) => address,
                Err(why) => {
                    words.skip(&format!("{about}, {}", user.name), &why);
                    continue;
                }
            };
            if there.contains(&address.as_str().to_lowercase()) {
                known += 1;
                continue;
            }
            let (password, quota) = (user.password, user.quota);
            // The system's own users, of which nobody expects mail.
            if password.is_empty() || password.starts_with(['*', '!']) {
                say!("left out: {}, which has no password there, or is locked", user.name);
                continue;
            }
            let request = TransferRequest::Account { password, quota };
            let request = Request::Transfer { address: address.to_string(), request };
            match session.ask(request).await {
                Ok(_) => added += 1,
                Err(error) => words.skip(address.as_str(), &crate::output::chain(&error)),
            }
        }
        say!("accounts with their passwords: {added} added, {known} here before");
        if added > 0 {
            say!(
                "Each password is hashed anew at its owner's first login. Start the server again: until all have \
                 logged in, it does not offer SCRAM, which needs more than the old hashes."
            );
        }
        words.end()
    })
}

impl User {
    /// Parses a line `name:password:uid:gid:gecos:home:shell:fields` (Dovecot), or `name:hash:…` (shadow).
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(8, ':');
        let (name, password) = (parts.next()?.trim(), parts.next()?);
        let fields = parts.nth(5).unwrap_or_default();
        let quota = fields.split_ascii_whitespace().find_map(quota);
        let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
        is_name.then(|| Self { name: name.to_owned(), password: password.to_owned(), quota })
    }
}

/// Reads Dovecot's quota: `userdb_quota_rule=*:storage=1G`, or `userdb_quota_storage_size=1G`. Without a unit it is KiB.
fn quota(field: &str) -> Option<u64> {
    let (name, value) = field.split_once('=')?;
    let size = match name.strip_prefix("userdb_").unwrap_or(name) {
        "quota_rule" => value
            .strip_prefix("*:")?
            .split(':')
            .find_map(|rule| rule.strip_prefix("storage=").or(rule.strip_prefix("bytes=")))?,
        "quota_storage_size" => value,
        _ => return None,
    };
    let digits = size.trim_end_matches(|character: char| !character.is_ascii_digit());
    let factor: u64 = match &size[digits.len()..].to_ascii_lowercase()[..] {
        "b" => 1,
        "" | "k" | "kb" if !value.contains("bytes=") => 1 << 10,
        "" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        "t" | "tb" => 1 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|octets| *octets > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read() {
        let user = |name: &str, password: &str, quota| {
            let (name, password) = (name.to_owned(), password.to_owned());
            Some(User { name, password, quota })
        };
        for (line, expected) in [
            (
                "ana@x.test:{SSHA}abc=:1000:1000:Ana:/home/ana:/bin/sh:userdb_quota_rule=*:storage=1G nopassword",
                user("ana@x.test", "{SSHA}abc=", Some(1 << 30)),
            ),
            (
                "bob:$6$a$b:::::: userdb_mail=maildir:~/Maildir userdb_quota_storage_size=500M",
                user("bob", "$6$a$b", Some(500 << 20)),
            ),
            ("carl:{PLAIN}x y", user("carl", "{PLAIN}x y", None)),
            ("daemon:*:19000:0:99999:7:::", user("daemon", "*", None)),
            ("dora:$y$j9T$a$b:19000:0:99999:7:::", user("dora", "$y$j9T$a$b", None)),
            ("no colon", None),
            (":x", None),
        ] {
            assert_eq!(User::parse(line), expected, "{line}");
        }
        for (field, expected) in [
            ("userdb_quota_rule=*:storage=1024", Some(1 << 20)),
            ("userdb_quota_rule=*:bytes=1024", Some(1024)),
            ("quota_rule=*:messages=5:storage=2M", Some(2 << 20)),
            ("userdb_quota_rule=Trash:storage=+100M", None),
            ("userdb_quota_rule=*:storage=99999999999T", None),
            ("x", None),
        ] {
            assert_eq!(quota(field), expected, "{field}");
        }
    }
}
