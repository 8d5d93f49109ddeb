//! The operator's requests about the nodes of a cluster.

use crate::admin::{Admin, AdminError, Response};
use posta_mail::Timestamp;
use posta_store::{CLOCK_TOLERANCE, NodeStanding, NodeState, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An action on the nodes of a cluster. A store that one server has for itself has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClusterRequest {
    /// Lists the nodes, dead ones too.
    Status,
    /// Makes a node finish what it does and take nothing new: no item of the queue, no source, no connection of a mail
    /// program or another server. It knows within some seconds.
    Drain {
        /// The node's name or id.
        node: String,
    },
    /// Makes a drained node work again.
    Resume {
        /// The node's name or id.
        node: String,
    },
    /// Forgets a node that is dead or drained, and frees what it had claimed.
    Remove {
        /// The node's name or id.
        node: String,
    },
}

/// A node of the cluster. Times are by the database's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct NodeLine {
    /// Names this run of the node.
    pub id: String,
    /// The name of the server.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// `live`; `draining` while it finishes what it does; `drained` once it has nothing left; `dead` if it was not heard of
    /// for 15 seconds.
    pub state: String,
    /// The time when the node joined.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// The seconds since then.
    pub up: u64,
    /// The milliseconds since its last heartbeat.
    pub silent: u64,
    /// The number of its open sessions.
    pub sessions: u64,
    /// The number of items of the queue that it works on.
    pub items: u64,
    /// The number of sources that it visits.
    pub sources: u64,
    /// What it does for all nodes, such as the sweeps.
    pub duties: Vec<String>,
    /// The milliseconds by which its clock is ahead of the database's; negative if it is behind; null if that was not
    /// measured.
    pub clock_ahead: Option<i64>,
}

impl From<NodeState> for NodeLine {
    fn from(node: NodeState) -> Self {
        let is_empty = node.sessions + node.items + node.sources == 0;
        let state = match (node.is_live, node.is_draining) {
            (false, _) => "dead",
            (true, false) => "live",
            (true, true) if is_empty => "drained",
            (true, true) => "draining",
        };
        Self {
            state: state.to_owned(),
            id: node.id,
            name: node.name,
            version: node.version,
            since: node.since,
            up: node.up.as_secs(),
            silent: u64::try_from(node.silent.as_millis()).unwrap_or(u64::MAX),
            sessions: node.sessions,
            items: node.items,
            sources: node.sources,
            duties: node.duties,
            clock_ahead: node.clock_ahead,
        }
    }
}

impl Admin {
    /// Lists, drains or removes nodes.
    pub(in crate::admin) async fn cluster(
        &self,
        request: ClusterRequest,
    ) -> Result<Response, AdminError> {
        match request {
            ClusterRequest::Status => {
                let nodes = self.store.nodes().await?;
                return Ok(Response::Nodes(nodes.into_iter().map(NodeLine::from).collect()));
            }
            ClusterRequest::Drain { node } => self.store.drain_node(&node, true).await?,
            ClusterRequest::Resume { node } => self.store.drain_node(&node, false).await?,
            ClusterRequest::Remove { node } => self.store.remove_node(&node).await?,
        }
        Ok(Response::Done)
    }

    /// Returns what needs attention in the cluster, with the cure; nothing if there is none.
    pub(super) async fn cluster_warnings(&self) -> Result<Vec<String>, AdminError> {
        let nodes = match self.store.nodes().await {
            Ok(nodes) => nodes,
            Err(StoreError::OneNode) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let own = self.running.is_some().then(|| self.store.standing());
        Ok(warnings(own, &nodes))
    }
}

fn warnings(own: Option<NodeStanding>, nodes: &[NodeState]) -> Vec<String> {
    let mut warnings = Vec::new();
    if own.is_some_and(|own| !own.is_live) {
        warnings.push(
            "the heartbeat of this node is late: it takes nothing from the queue until the database has it"
                .to_owned(),
        );
    }
    if own.is_some_and(|own| own.is_draining) {
        warnings.push(
            "this node is drained: `posta cluster resume` makes it take work again".to_owned(),
        );
    }
    for NodeState { name, id, is_live, clock_ahead, .. } in nodes {
        if !is_live {
            warnings.push(format!(
                "the node {name} is dead: start it again, or forget it (`posta cluster remove {id}`)"
            ));
        }
        if let Some(ahead) = clock_ahead.filter(|_| *is_live)
            && (NodeStanding { clock_ahead: ahead, ..NodeStanding::ALONE }).has_wrong_clock()
        {
            let word = if ahead > 0 { "ahead of" } else { "behind" };
            warnings.push(format!(
                "the clock of the node {name} is {} s {word} the database's, and more than {} s are too many: see \
                 whether both are synchronised (NTP)",
                ahead.unsigned_abs() / 1_000,
                CLOCK_TOLERANCE.as_secs()
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn node(name: &str) -> NodeState {
        NodeState {
            id: format!("id of {name}"),
            name: name.to_owned(),
            version: "1.0".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            up: Duration::ZERO,
            silent: Duration::ZERO,
            is_live: true,
            is_draining: false,
            sessions: 0,
            items: 1,
            sources: 0,
            duties: Vec::new(),
            clock_ahead: Some(-4_000),
        }
    }

    #[test]
    fn a_node_has_one_state() {
        let state = |is_live, is_draining, items| {
            NodeLine::from(NodeState { is_live, is_draining, items, ..node("x") }).state
        };
        assert_eq!(state(true, false, 0), "live");
        assert_eq!(state(true, true, 1), "draining");
        assert_eq!(state(true, true, 0), "drained");
        assert_eq!(state(false, true, 0), "dead");
    }

    #[test]
    fn what_needs_attention_in_a_cluster_is_told_with_its_cure() {
        assert_eq!(warnings(Some(NodeStanding::ALONE), &[node("one")]), [""; 0]);
        let own = NodeStanding { is_live: false, is_draining: true, ..NodeStanding::ALONE };
        let late = NodeState { clock_ahead: Some(-3_600_000), ..node("two") };
        let dead = NodeState { is_live: false, clock_ahead: Some(99_000), ..node("three") };
        let warned = warnings(Some(own), &[node("one"), late, dead]).join("\n");
        for part in [
            "the heartbeat of this node is late",
            "this node is drained: `posta cluster resume`",
            "the clock of the node two is 3600 s behind the database's",
            "the node three is dead: start it again, or forget it (`posta cluster remove id of three`)",
        ] {
            assert!(warned.contains(part), "{part}: {warned}");
        }
        assert_eq!(warned.lines().count(), 4, "{warned}");
    }
}
