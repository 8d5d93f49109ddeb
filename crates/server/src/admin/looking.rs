//! What the operator sees of the server: its state on one screen, its figures while it works, its metrics for
//! Prometheus, the nodes of a cluster, and the history of messages.

pub(super) mod cluster;
mod export;
mod follow;
mod statistics;
mod status;
pub(super) mod survey;
mod trace;

pub use crate::limits::metrics::{
    CountedFigures, DestinationFigures, LoginFigures, NamedDestination, Outcomes, RecentRefusal,
};
pub(crate) use export::metrics;
pub use follow::{FollowLine, FollowRequest};
pub(crate) use follow::{JSON_LINES, follow};
pub use statistics::{PeriodLine, Statistics, TopLine};
pub use status::{
    BackupLine, CertificateLine, Disk, FailingSource, ListenerLine, Lockedout, ServerStatus,
    SourcesSummary,
};
pub use survey::{QueueStateLine, QueueSurvey};
pub use trace::TRACED;

use super::{Admin, AdminError, Response};
use crate::limits::metrics::Metrics;
use posta_mail::{Domain, Timestamp};
use posta_net::tls::server::Tls;
use posta_store::StoreFigures;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::watch;

/// A request to look at the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LookRequest {
    /// Returns the state of the server and the store.
    Status,
    /// Returns what the server has counted since its start.
    Figures,
    /// Adds the history up.
    Statistics {
        /// Only events of this many seconds; default: a week.
        #[serde(default)]
        within: Option<u64>,
    },
}

/// The response to a [`LookRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Looked {
    /// The state of the server and the store.
    Status(Box<ServerStatus>),
    /// What the server has counted; none if no server runs.
    Figures(Option<Box<ServerFigures>>),
    /// The history added up.
    Statistics(Box<Statistics>),
}

/// The facts about a running server that the operator may want to see.
#[derive(Clone)]
pub struct RunningServer {
    /// The server's name.
    pub hostname: Domain,
    /// The time when the server started.
    pub started: Timestamp,
    /// The listeners.
    pub listeners: Vec<ListenerLine>,
    /// The certificates, if any listener offers TLS.
    pub tls: Option<Tls>,
    /// What the server counts.
    pub metrics: Arc<Metrics>,
    /// Becomes true when the server stops.
    pub stopping: watch::Receiver<bool>,
}

/// What a server has counted since its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ServerFigures {
    /// The program's version.
    pub version: String,
    /// The server's name.
    pub hostname: String,
    /// The time of these figures.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The time when the server started.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started: Timestamp,
    /// The server's counts.
    pub counted: CountedFigures,
    /// The store's counts.
    pub store: StoreFigures,
    /// The queue.
    pub queue: QueueSurvey,
    /// The number of lock-outs in force.
    pub lockouts: usize,
}

impl Admin {
    /// Lets the operator look at a running server.
    #[must_use]
    pub fn with_running_server(self, running: RunningServer) -> Self {
        Self { running: Some(Arc::new(running)), ..self }
    }

    pub(super) async fn look(&self, request: LookRequest) -> Result<Response, AdminError> {
        Ok(Response::Looked(match request {
            LookRequest::Status => Looked::Status(Box::new(self.status().await?)),
            LookRequest::Figures => Looked::Figures(self.figures().await?.map(Box::new)),
            LookRequest::Statistics { within } => {
                Looked::Statistics(Box::new(self.statistics(within).await?))
            }
        }))
    }

    async fn figures(&self) -> Result<Option<ServerFigures>, AdminError> {
        let Some(running) = &self.running else { return Ok(None) };
        Ok(Some(ServerFigures {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname: running.hostname.to_string(),
            time: self.clock.now(),
            started: running.started,
            counted: running.metrics.figures(),
            store: self.store.figures(),
            queue: self.surveys.survey(&*self.store, &*self.clock).await?,
            lockouts: self.lockouts().len(),
        }))
    }
}
