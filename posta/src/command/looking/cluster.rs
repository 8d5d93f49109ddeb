//! `posta cluster`.

use super::span;
use crate::{Place, operator, output::say, runtime::block_on};
use anyhow::{Result, bail};
use clap::Subcommand;
use posta_server::admin::{ClusterRequest, NodeLine, Request, Response};
use std::time::Duration;

/// Look at the nodes of a cluster, drain and remove them.
///
/// The nodes are the servers that share a store on PostgreSQL (docs/cluster.md). Works on any of them, and without a running
/// server.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the nodes: their state, what they do, and how far their clocks are off.
    Status {
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a node finish what it does and take nothing new, such as before its machine is stopped.
    ///
    /// It knows within some seconds. New connections get 421 and go elsewhere, /readyz says no, and the status is `drained`
    /// once nothing is left. A restart ends the draining, too.
    Drain {
        #[command(flatten)]
        place: Place,
        /// The node's name, or its id.
        node: String,
    },
    /// Make a drained node work again.
    Resume {
        #[command(flatten)]
        place: Place,
        /// The node's name, or its id.
        node: String,
    },
    /// Forget a node that is dead or drained, and free what it had claimed.
    Remove {
        #[command(flatten)]
        place: Place,
        /// The node's name, or its id.
        node: String,
    },
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Status { place, json } => status(&place, json),
        Command::Drain { place, node } => {
            let said = format!(
                "{node} finishes what it does, and takes nothing new; `posta cluster status` says when it is done"
            );
            order(&place, ClusterRequest::Drain { node }, &said)
        }
        Command::Resume { place, node } => {
            let said = format!("{node} takes work again within some seconds");
            order(&place, ClusterRequest::Resume { node }, &said)
        }
        Command::Remove { place, node } => {
            let said = format!("{node} is forgotten, and what it had claimed is free");
            order(&place, ClusterRequest::Remove { node }, &said)
        }
    }
}

fn order(place: &Place, request: ClusterRequest, said: &str) -> Result<()> {
    crate::command::carry_out(place, Request::Cluster { request }, said)
}

fn status(place: &Place, json: bool) -> Result<()> {
    let request = Request::Cluster { request: ClusterRequest::Status };
    let Response::Nodes(nodes) = block_on(operator::execute(place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    crate::command::show(&nodes[..], json, |nodes| {
        if nodes.is_empty() {
            say!("No node runs: `posta serve` starts one.");
        } else {
            print_table(nodes);
        }
    })
}

fn print_table(nodes: &[NodeLine]) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "NODE", "ID", "STATE", "VERSION", "UP", "HEARD", "SESSIONS", "ITEMS", "SOURCES", "CLOCK",
    ]);
    for node in nodes {
        let NodeLine { name, id, state, version, up, silent, .. } = node;
        let NodeLine { sessions, items, sources, clock_ahead, .. } = node;
        let counts = [sessions, items, sources].map(ToString::to_string);
        let [sessions, items, sources] = &counts;
        let up = span(Duration::from_secs(*up));
        let heard = format!("{} ago", span(Duration::from_millis(*silent)));
        let clock = clock_ahead.map_or_else(|| "unknown".to_owned(), difference);
        table.add_row([name, id, state, version, &up, &heard, sessions, items, sources, &clock]);
    }
    say!("{table}");
    for NodeLine { name, duties, .. } in nodes.iter().filter(|node| !node.duties.is_empty()) {
        say!("{name} does for all: {}", duties.join(", "));
    }
}

/// Formats the milliseconds by which a clock is ahead.
fn difference(milliseconds: i64) -> String {
    let seconds = milliseconds.unsigned_abs() / 1_000;
    match (seconds, milliseconds < 0) {
        (0, _) => "right".to_owned(),
        (_, false) => format!("{} ahead", crate::command::span(seconds)),
        (_, true) => format!("{} behind", crate::command::span(seconds)),
    }
}
