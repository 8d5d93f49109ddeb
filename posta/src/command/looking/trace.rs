//! `posta trace`.

use crate::{
    Place,
    config::Span,
    fault::demand,
    operator,
    output::{counted, say},
    runtime::block_on,
};
use anyhow::{Result, bail};
use clap::Args;
use posta_mail::{MailId, ReversePath, visible::escaped_json};
use posta_server::admin::{Request, Response, TRACED, looking::FollowLine};
use posta_store::{
    CheckResult, CountedClient, CountedRefusals, Event, Fate, FilterResult, InMailbox, Origin,
    Refusal, What,
};

/// Show a message's history: where it came from and went, and what other servers answered.
///
/// If many messages match, the newest hundred are shown. With --follow, what happens is shown as it happens: to what is
/// named, or to everything.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// What to look for: a message's id, as in the 250 reply and the Received field; its Message-ID; the
    /// address of a sender, recipient or mailbox; the domain of such an address, or of a client's name; or
    /// a client's IP address.
    #[arg(required_unless_present = "follow")]
    named: Option<String>,
    /// Show only messages that arrived within this time: 30m, 2h, 1d.
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    since: Option<Span>,
    /// Show events as they happen, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Print the events as JSON, in order; with --follow, one object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let Arguments { place, named, since, follow, json } = arguments;
    if follow {
        return block_on(operator::follow(&place, named, Follower { json, last: None }.shower()));
    }
    let named = named.unwrap_or_default();
    let within = since.map(|span| span.0.as_secs());
    let request = Request::Trace { named: named.clone(), within };
    let Response::Events(events) = block_on(operator::execute(&place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    demand!(
        json || !events.is_empty(),
        "nothing-found",
        "nothing is known of {named}: is it a message's id, a Message-ID, an address, a domain or an IP address, \
         and less than 30 days ago?"
    );
    crate::command::show(&events[..], json, |events| {
        let stories = events.chunk_by(|one, other| one.id == other.id);
        if stories.clone().count() == TRACED {
            say!("The newest {TRACED} messages:");
        }
        for story in stories {
            say!("{}", story[0].id);
            story.iter().for_each(print);
        }
    })
}

/// Shows a history that is followed.
struct Follower {
    json: bool,
    /// The message of the last event.
    last: Option<MailId>,
}

impl Follower {
    /// Returns what shows each line.
    fn shower(mut self) -> impl FnMut(FollowLine) -> Result<()> {
        move |line| self.show(line)
    }

    fn show(&mut self, line: FollowLine) -> Result<()> {
        match line {
            FollowLine::Event(event) if self.json => {
                say!("{}", escaped_json(&serde_json::to_string(&event)?));
            }
            FollowLine::Event(event) => {
                if self.last.replace(event.id) != Some(event.id) {
                    say!("{}", event.id);
                }
                print(&event);
            }
            FollowLine::Missed(missed) if self.json => say!("{{\"missed\":{missed}}}"),
            FollowLine::Missed(missed) => {
                say!(
                    "  … {missed} events were missed: this terminal, or what reads this, was too slow"
                );
            }
        }
        Ok(())
    }
}

fn print(event: &Event) {
    let time = format!("{:.3}", event.time);
    match &event.what {
        What::Accepted { origin, from, to, message_id, octets, mailboxes, refused } => {
            say!("  {time}  {}", accepted(origin, from, *octets));
            let to: Vec<_> = to.iter().map(|to| format!("<{to}>")).collect();
            detail(&format!("to {}", to.join(", ")));
            if let Some(id) = message_id {
                detail(&format!("Message-ID {id}"));
            }
            print_refused(refused);
            print_mailboxes(&time, mailboxes);
        }
        What::Filtered { results, decision } => {
            say!("  {time}  asked the filters");
            results.iter().for_each(print_filter);
            decision.iter().for_each(|decision| detail(decision));
        }
        What::Checked { results, decision } => {
            say!("  {time}  checked where it came from");
            results.iter().for_each(print_result);
            decision.iter().for_each(|decision| detail(decision));
        }
        What::Refused { origin, from, refused } => {
            let from = from.as_ref().map(|from| format!(" {from}")).unwrap_or_default();
            say!("  {time}  refused{from}, {}", described(origin));
            print_refused(refused);
        }
        What::Counted { since, networks, refusals } => {
            say!("  {time}  refused since {since:.0}, from {}", counted(*networks, "network"));
            refusals.iter().for_each(print_counted);
        }
        What::LockedOut { who, is_network, name, failures, until } => {
            let how = if *is_network { "out" } else { "for networks that it was not used from" };
            let last = name.as_ref().map(|name| format!(", the last as {name}"));
            let last = last.unwrap_or_default();
            let failures = counted(*failures, "failed login");
            say!("  {time}  {who} is locked {how} after {failures}{last}, until {until:.0}");
        }
        What::Collected { origin, messages, retrieved, removed, refused } => {
            say!("  {time}  maildrop opened, {}", described(origin));
            let messages = counted(*messages, "message");
            detail(&format!("{messages}, {retrieved} retrieved, {removed} removed"));
            print_refused(refused);
        }
        What::Attempted { destination, recipients, mailboxes, .. } if destination == "local" => {
            say!("  {time}  tried here");
            print_fates(recipients);
            print_mailboxes(&time, mailboxes);
        }
        What::Attempted { destination, host, tls, recipients, next, .. } => {
            let host = host.as_deref().unwrap_or("no server");
            let tls = tls.as_deref().map(|tls| format!(", {tls}")).unwrap_or_default();
            say!("  {time}  tried {destination}: {host}{tls}");
            print_fates(recipients);
            if let Some(next) = next {
                detail(&format!("again at {next:.0}"));
            }
        }
        What::Reported { report, to, action } => match action.as_str() {
            "away" => say!("  {time}  sent <{to}> a note of absence: {report}"),
            action => say!("  {time}  sent <{to}> a report ({action}): {report}"),
        },
        What::Released => say!("  {time}  released from quarantine"),
        What::Removed { destination } => {
            say!("  {time}  removed from the queue for {destination}");
        }
    }
}

/// Where a message came from: from a client, from a mailbox elsewhere, or from this server itself.
fn accepted(origin: &Origin, from: &ReversePath, octets: u64) -> String {
    let of = match from {
        ReversePath::Null => String::new(),
        ReversePath::Address(sender) => format!(" of {sender}"),
    };
    match (origin.protocol.as_str(), &origin.hello) {
        ("", _) => format!("made by this server, {octets} octets"),
        ("POP3", server) => format!("collected {octets} octets{of} from {server} by POP3"),
        ("backup", backup) => format!("restored {octets} octets from {backup}"),
        ("Maildir" | "mbox", path) => format!("imported {octets} octets{of} from {path}"),
        _ => format!("accepted {octets} octets from {from}, {}", described(origin)),
    }
}

fn print_filter(result: &FilterResult) {
    let FilterResult { filter, said, notes, failed } = result;
    let said = if *failed { format!("failed: {said}") } else { said.clone() };
    detail(&format!("{filter}: {said}"));
    notes.iter().for_each(|note| detail(&format!("{filter}: {note}")));
}

fn print_result(found: &CheckResult) {
    let CheckResult { method, result, about, reason } = found;
    let about = if about.is_empty() { String::new() } else { format!(" for {about}") };
    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    detail(&format!("{method} {result}{about}{reason}"));
}

fn print_fates(fates: &[Fate]) {
    for Fate { recipient, action, reply, ours } in fates {
        let whose = if *ours { " (found here, not answered there)" } else { "" };
        detail(&format!("<{recipient}> {action}: {reply}{whose}"));
    }
}

fn print_mailboxes(time: &str, mailboxes: &[InMailbox]) {
    for in_mailbox in mailboxes {
        let names: Vec<_> = in_mailbox.mailboxes().iter().map(ToString::to_string).collect();
        let what = if names.len() == 1 { "mailbox" } else { "mailboxes" };
        let through = in_mailbox.through().map(|through| format!(", through {through}"));
        let through = through.unwrap_or_default();
        say!("  {time}  in the {what} of {}{through}", names.join(", "));
    }
}

fn print_refused(refused: &[Refusal]) {
    for Refusal { about, reply, why, times } in refused {
        let like = match times {
            1 => String::new(),
            times => format!(" (and {} like it)", times - 1),
        };
        match why {
            Some(why) => detail(&format!("refused {about}: {why} ({reply}){like}")),
            None => detail(&format!("refused {about}: {reply}{like}")),
        }
    }
}

fn print_counted(refused: &CountedRefusals) {
    let CountedRefusals { command, reply, times, clients } = refused;
    detail(&format!("{} {command}: {reply}", counted(*times, "time")));
    for CountedClient { client, times } in clients {
        detail(&format!("    {} {client}", counted(*times, "time")));
    }
}

/// Prints another server's reply, which may have many lines.
fn detail(text: &str) {
    for line in text.lines() {
        say!("      {line}");
    }
}

fn described(origin: &Origin) -> String {
    let Origin { client, hello, protocol, tls, account, .. } = origin;
    let client = client.map_or_else(|| "this machine".to_owned(), |client| client.to_string());
    let hello = if hello.is_empty() { String::new() } else { format!(" ({hello})") };
    let mut text = format!("{client}{hello} by {protocol}");
    if let Some(tls) = tls {
        text.push_str(&format!(", {tls}"));
    }
    if let Some(account) = account {
        text.push_str(&format!(", as {account}"));
    }
    text
}
