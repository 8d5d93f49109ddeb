//! `posta queue`.

pub(crate) mod quarantine;

use crate::{
    Place,
    config::Span,
    fault::fail,
    operator,
    output::{self, counted, say},
    runtime::block_on,
};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use posta_server::admin::{DestinationLine, QueueAction, QueueLine, Request, Response, Selection};

/// Show and manage the queue of outgoing mail, whether the server runs or not.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the items in the queue.
    List {
        #[command(flatten)]
        which: Which,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show items in full, with the other server's last reply.
    Show(Which),
    /// Count the items of each destination.
    Summary {
        #[command(flatten)]
        which: Which,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Try to send items now.
    Retry(Which),
    /// Hold items until they are released.
    Hold(Which),
    /// Release held items.
    Release(Which),
    /// Delete items. The senders are not notified.
    Remove(Which),
}

/// The error for a selection that selects nothing.
const NOTHING_FITS: &str = "nothing in the queue matches; `posta queue list` shows what is there";

/// Selects the items that match every option given. Without options, commands that only read select the whole
/// queue; commands that change it need a selection or `--all`.
#[derive(Args)]
pub(crate) struct Which {
    #[command(flatten)]
    place: Place,
    /// Ids of items or messages.
    ids: Vec<String>,
    /// Only items for this destination domain.
    #[arg(long)]
    domain: Option<String>,
    /// Only items from this sender.
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Only items that were accepted at least this long ago: 30m, 2h, 1d.
    #[arg(long, value_name = "TIME")]
    older: Option<Span>,
    /// All items in the queue.
    #[arg(long, conflicts_with_all = ["ids", "domain", "sender", "older"])]
    all: bool,
}

impl Which {
    fn selection(&self) -> Selection {
        Selection {
            ids: self.ids.clone(),
            domain: self.domain.clone(),
            sender: self.sender.clone(),
            older: self.older.map(|span| span.0.as_secs()),
        }
    }

    /// Prints the selected items, a page at a time: a queue may be larger than memory.
    fn each_page(&self, mut show: impl FnMut(Vec<QueueLine>) -> Result<()>) -> Result<()> {
        let mut after = None;
        loop {
            let request = Request::QueueList { selection: self.selection(), after };
            match block_on(operator::execute(&self.place, request))? {
                Response::Queue { lines, next } => {
                    show(lines)?;
                    if next.is_none() {
                        return Ok(());
                    }
                    after = next;
                }
                _ => bail!(operator::UNEXPECTED),
            }
        }
    }

    fn list(&self, json: bool) -> Result<()> {
        if json {
            return self.list_json();
        }
        let mut shown = 0;
        self.each_page(|lines| {
            if !lines.is_empty() {
                print_list(&lines, shown == 0);
            }
            shown += lines.len();
            Ok(())
        })?;
        if shown == 0 {
            say!("Nothing waits.");
        }
        Ok(())
    }

    fn show(&self) -> Result<()> {
        let mut shown = 0;
        self.each_page(|lines| {
            lines.iter().for_each(print_item);
            shown += lines.len();
            Ok(())
        })?;
        if shown == 0 && self.selection() != Selection::default() {
            fail!("nothing-in-queue", "{NOTHING_FITS}");
        }
        if shown == 0 {
            say!("Nothing waits.");
        }
        Ok(())
    }

    fn list_json(&self) -> Result<()> {
        // Held back until it is known whether another follows it.
        let mut last: Option<String> = None;
        self.each_page(|lines| {
            for line in &lines {
                match last.replace(output::json(line)?) {
                    Some(last) => say!("{last},"),
                    None => say!("["),
                }
            }
            Ok(())
        })?;
        match last {
            Some(last) => say!("{last}\n]"),
            None => say!("[]"),
        }
        Ok(())
    }

    fn summary(&self) -> Result<Vec<DestinationLine>> {
        let request = Request::QueueSummary { selection: self.selection() };
        match block_on(operator::execute(&self.place, request))? {
            Response::QueueSummary(lines) => Ok(lines),
            _ => bail!(operator::UNEXPECTED),
        }
    }

    /// Changes the selected items. Without a selection nothing is changed: a forgotten option must not hold or
    /// delete everybody's mail.
    fn change(&self, action: QueueAction, said: &str) -> Result<()> {
        let selection = self.selection();
        if selection == Selection::default() && !self.all {
            fail!(
                "no-selection",
                "say which: ids, --domain, --sender, --older, or --all for everything in the queue"
            );
        }
        let request = Request::QueueChange { selection, action };
        match block_on(operator::execute(&self.place, request))? {
            Response::Count(0) => fail!("nothing-in-queue", "{NOTHING_FITS}"),
            Response::Count(count) => say!("{count} {said}"),
            _ => bail!(operator::UNEXPECTED),
        }
        Ok(())
    }
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::List { which, json } => which.list(json),
        Command::Show(which) => which.show(),
        Command::Summary { which, json } => super::show(&which.summary()?[..], json, print_sum),
        Command::Retry(which) => which.change(QueueAction::Retry, "will be tried at once"),
        Command::Hold(which) => which.change(QueueAction::Hold, "held"),
        Command::Release(which) => which.change(QueueAction::Release, "released"),
        Command::Remove(which) => which.change(QueueAction::Remove, "removed"),
    }
}

fn print_list(lines: &[QueueLine], is_first: bool) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if is_first {
        table.set_header(["ID", "FROM", "TO", "STATE", "TRIED", "NEXT"]);
    }
    for line in lines {
        let to = match &line.recipients[..] {
            [only] => only.address.clone(),
            several => format!("{} at {}", several.len(), line.destination),
        };
        table.add_row([
            line.id.clone(),
            format!("<{}>", line.reverse_path),
            to,
            state(line),
            line.attempts.to_string(),
            next(line),
        ]);
    }
    say!("{table}");
}

fn print_item(line: &QueueLine) {
    say!("{}", line.id);
    say!("  message      {}", line.message_id.as_deref().unwrap_or("without Message-ID"));
    say!("  from         <{}>", line.reverse_path);
    say!("  destination  {}", line.destination);
    say!("  accepted     {}, {} octets", line.accepted, line.octets);
    let tried = counted(line.attempts, "time");
    say!("  state        {}, tried {tried}, next {}", state(line), next(line));
    for recipient in &line.recipients {
        say!("  to           <{}>", recipient.address);
        for words in recipient.reply.iter().flat_map(|reply| reply.lines()) {
            say!("               {words}");
        }
    }
}

fn state(line: &QueueLine) -> String {
    serde_json::to_value(line.state)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn next(line: &QueueLine) -> String {
    line.next_attempt.map_or_else(|| "when released".to_owned(), |at| format!("{at:.0}"))
}

fn print_sum(sums: &[DestinationLine]) {
    if sums.is_empty() {
        say!("Nothing waits.");
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["DESTINATION", "ITEMS", "RECIPIENTS"]);
    for DestinationLine { destination, items, recipients } in sums {
        table.add_row([destination.clone(), items.to_string(), recipients.to_string()]);
    }
    say!("{table}");
}
