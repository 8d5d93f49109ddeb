//! The life of an account: `add`, `password`, `send-only`, `remove`, `undelete`, `rename`, `disable`, `enable`, `junk`.

use crate::{
    Place,
    command::{
        account::{Add, Junk, WithPassword, app_password},
        alias, carry_out, show,
    },
    config::Span,
    fault::{demand, fault},
    operator,
    output::{counted, say},
    runtime::block_on,
    wiring,
};
use anyhow::{Context, Result, bail};
use posta_mail::Timestamp;
use posta_net::clock::Clock;
use posta_server::admin::{JunkOverPop3, PersonalRequest, RemovedLine, Request, Response};
use std::io::{self, IsTerminal};

pub(super) fn add(add: Add) -> Result<()> {
    let Add { account, send_only } = add;
    let request = |address, password, apop| Request::AccountAdd { address, password, apop };
    let said = if send_only { "can log in" } else { "can receive mail and log in" };
    account.carry_out(request, said)?;
    if send_only { self::send_only(&account.place, account.address, true) } else { Ok(()) }
}

pub(super) fn password(change: &WithPassword) -> Result<()> {
    let request = |address, password, apop| Request::AccountPassword { address, password, apop };
    change.carry_out(request, "has a new password")?;
    app_password::tell_of_others(&change.place, &change.address)
}

pub(super) fn send_only(place: &Place, address: String, send_only: bool) -> Result<()> {
    let said = match send_only {
        true => format!(
            "{address} only sends: mail for it is refused, unless `posta forward set {address} ADDRESS` names \
             somebody who gets it"
        ),
        false => format!("{address} has a mailbox"),
    };
    let request = PersonalRequest::SendOnly(send_only);
    carry_out(place, Request::Personal { address, request }, &said)
}

pub(super) fn remove(place: &Place, address: &str, is_sure: bool) -> Result<()> {
    if !is_sure {
        demand!(
            io::stdin().is_terminal(),
            "confirmation-needed",
            "say --yes to remove {address} and its mail: there is no terminal to ask on"
        );
        ask(place, address)?;
    }
    let request = Request::AccountRemove { address: address.to_owned() };
    let Response::AccountRemoved { until, leading, postmaster_of } =
        block_on(operator::execute(place, request))?
    else {
        bail!(operator::UNEXPECTED);
    };
    say!(
        "{address} is removed; `posta account undelete {address}` brings it back until {until:.0}"
    );
    alias::tell_leading(address, &leading);
    for domain in postmaster_of {
        say!(
            "{address} read what is sent to postmaster@{domain}: `posta domain add {domain} \
             --postmaster ADDRESS` names somebody else"
        );
    }
    Ok(())
}

/// Asks for confirmation that an account may be removed.
fn ask(place: &Place, address: &str) -> Result<()> {
    let lines = block_on(operator::accounts(place))?;
    let line = lines.iter().find(|line| line.address.eq_ignore_ascii_case(address));
    let line = line.with_context(|| {
        format!("there is no account {address}; `posta account list` shows those there are")
    })?;
    say!(
        "Remove {}? It has {}, and can be brought back for a week. Answer y or n:",
        line.address,
        counted(line.messages, "message")
    );
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("the terminal cannot be read")?;
    let is_yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    demand!(is_yes, "not-confirmed", "{} is as it was", line.address);
    Ok(())
}

pub(super) fn list_removed(place: &Place, json: bool) -> Result<()> {
    let request = Request::AccountListRemoved;
    let Response::RemovedAccounts(lines) = block_on(operator::execute(place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    show(&lines[..], json, |lines| {
        if lines.is_empty() {
            say!("No account was removed in the last week.");
        }
        for RemovedLine { address, removed, until } in lines {
            say!("{address} was removed at {removed:.0} and can be brought back until {until:.0}");
        }
    })
}

pub(super) fn undelete(place: &Place, address: String, since: Option<String>) -> Result<()> {
    let since = since.as_deref().map(since_when).transpose()?;
    let request = Request::AccountUndelete { address: address.clone(), since };
    match block_on(operator::execute(place, request))? {
        Response::Count(0) => {
            say!("Nothing to bring back: {address} has no removed messages of that time.");
        }
        Response::Count(count) => {
            say!("brought {} back into the mailbox of {address}", counted(count, "message"));
        }
        Response::AccountRestored { messages, members } => {
            let messages = counted(messages, "message");
            say!("{address} is there again, with its password and {messages}");
            if !members.is_empty() {
                say!(
                    "mail for {address} goes to {}: `posta alias remove {address}` ends that",
                    members.join(", ")
                );
            }
        }
        _ => bail!(operator::UNEXPECTED),
    }
    Ok(())
}

/// Parses a point in time, or a span before now.
fn since_when(text: &str) -> Result<Timestamp> {
    if let Ok(Span(span)) = text.parse() {
        return Ok(wiring::clock().now() - span);
    }
    text.parse().map_err(|_| {
        fault(
            "invalid-time",
            format!(
                "{text:?} is neither a time such as 2026-11-24T08:00:00Z nor a span such as 2h"
            ),
        )
    })
}

pub(super) fn rename(place: &Place, address: &str, new: &str, keeps_old: bool) -> Result<()> {
    let (old, renamed) = (address.to_owned(), new.to_owned());
    let request = Request::AccountRename { address: old, new: renamed, alias: keeps_old };
    let Response::AccountRenamed { aliases, allowed } =
        block_on(operator::execute(place, request))?
    else {
        bail!(operator::UNEXPECTED);
    };
    say!(
        "{address} is {new} now, which is the name to log in with; mail and password are the same"
    );
    if keeps_old {
        say!("mail for {address} goes to {new}");
    } else {
        say!("{address} takes no mail any more: `posta alias add {address} {new}` changes that");
    }
    for alias in aliases {
        say!("{alias} leads to {new} in place of {address}");
    }
    for account in allowed {
        say!("{account} may send as {new}, as it might as {address}");
    }
    Ok(())
}

pub(super) fn disable(place: &Place, address: String) -> Result<()> {
    let said = format!("nobody can log in as {address}; its mail is taken all the same");
    carry_out(place, Request::AccountDisable { address, disabled: true }, &said)
}

pub(super) fn enable(place: &Place, address: String) -> Result<()> {
    let said = format!("{address} can log in");
    carry_out(place, Request::AccountDisable { address, disabled: false }, &said)
}

pub(super) fn junk(place: &Place, address: String, junk: Junk) -> Result<()> {
    let (junk, said) = match junk {
        Junk::Folder => (JunkOverPop3::Folder, format!("POP3 does not show {address}'s junk")),
        Junk::Mark => (
            JunkOverPop3::Mark,
            format!(
                "POP3 shows {address}'s junk with [Junk] before the subject, from the next login on"
            ),
        ),
    };
    carry_out(place, Request::AccountJunk { address, junk }, &said)
}
