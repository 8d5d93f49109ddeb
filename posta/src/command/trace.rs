//! `posta trace`.

use crate::{Place, config::Span, operator, output::say};
use anyhow::{Result, bail, ensure};
use clap::Args;
use posta_server::admin::{Request, Response, TRACED};
use posta_store::{CountedClient, CountedRefusals, Event, Origin, Refusal, What};

/// Tell what happened to a message: who brought it, where it went, what the other side said; of many,
/// the newest hundred.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// A message's id, as the 250 and Received name it; its Message-ID; an address that sent it or
    /// was to receive it; or the IP address of a client.
    named: String,
    /// Only of messages that came so long ago, or later: 30m, 2h, 1d.
    #[arg(long, value_name = "TIME")]
    since: Option<Span>,
    /// As JSON: the events in order.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let Arguments { place, named, since, json } = arguments;
    let within = since.map(|span| span.0.as_secs());
    let request = Request::Trace { named: named.clone(), within };
    let Response::Events(events) = super::block_on(operator::execute(&place, request))? else {
        bail!("the server answered something else");
    };
    ensure!(
        !events.is_empty(),
        "nothing is told of {named}: is it a message's id, a Message-ID or an address, and less than 30 days ago?"
    );
    super::show(&events[..], json, |events| {
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

fn print(event: &Event) {
    let time = format!("{:.3}", event.time);
    match &event.what {
        What::Accepted { origin, from, to, message_id, octets, refused } => {
            say!("  {time}  accepted {octets} octets from {from}, {}", described(origin));
            let to: Vec<_> = to.iter().map(|to| format!("<{to}>")).collect();
            detail(&format!("to {}", to.join(", ")));
            if let Some(id) = message_id {
                detail(&format!("Message-ID {id}"));
            }
            print_refused(refused);
        }
        What::Refused { origin, from, refused } => {
            let from = from.as_ref().map(|from| format!(" {from}")).unwrap_or_default();
            say!("  {time}  refused{from}, {}", described(origin));
            print_refused(refused);
        }
        What::Counted { since, networks, refusals } => {
            say!("  {time}  refused since {since:.0}, from {networks} networks");
            refusals.iter().for_each(print_counted);
        }
        What::Collected { origin, messages, retrieved, removed, refused } => {
            say!("  {time}  maildrop opened, {}", described(origin));
            detail(&format!("{messages} messages, {retrieved} retrieved, {removed} removed"));
            print_refused(refused);
        }
        What::Attempted { destination, host, tls, recipients, next } => {
            let host = host.as_deref().unwrap_or("no server");
            let tls = tls.as_deref().map(|tls| format!(", {tls}")).unwrap_or_default();
            say!("  {time}  tried {destination}: {host}{tls}");
            for fate in recipients {
                detail(&format!("<{}> {}: {}", fate.recipient, fate.action, fate.reply));
            }
            if let Some(next) = next {
                detail(&format!("again at {next:.0}"));
            }
        }
        What::Reported { report, to, action } => {
            say!("  {time}  told <{to}> that it was {action}: {report}");
        }
        What::Removed { destination } => {
            say!("  {time}  removed from the queue for {destination}");
        }
    }
}

fn print_refused(refused: &[Refusal]) {
    for Refusal { about, reply, times } in refused {
        let like = match times {
            1 => String::new(),
            times => format!(" (and {} like it)", times - 1),
        };
        detail(&format!("refused {about}: {reply}{like}"));
    }
}

fn print_counted(refused: &CountedRefusals) {
    let CountedRefusals { command, reply, times, clients } = refused;
    detail(&format!("{times} times {command}: {reply}"));
    for CountedClient { client, times } in clients {
        detail(&format!("    {times} times {client}"));
    }
}

/// What another server says may have many lines.
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
