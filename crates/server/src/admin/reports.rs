//! The operator's requests about the reports of other servers: what they say of a domain's mail and of TLS.

use super::{Admin, AdminError, Response, parse_domain};
use crate::{
    receive::origin_dns::OriginDns,
    reports::received::statistics::{self, SourceCount},
};
use posta_net::dns::Resolver;
use posta_origin::iprev;
use posta_store::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

/// The time that statistics cover if the request does not say.
const USUAL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The longest time that they cover; older reports are removed.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The time limit for looking up the names of all sources.
const NAMING: Duration = Duration::from_secs(5);

/// The subject of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReportSubject {
    /// Mail in a domain's name (DMARC).
    Dmarc,
    /// TLS to a domain's servers.
    Tls,
}

/// The reports that the operator wants to have added up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportsQuery {
    /// What the reports are about.
    pub subject: ReportSubject,
    /// A local domain; default: all.
    #[serde(default)]
    pub domain: Option<String>,
    /// Only reports about days within this many seconds; default: 30 days.
    #[serde(default)]
    pub within: Option<u64>,
}

/// Looks up the names of sources. Only a name that leads back to the address counts (RFC 8601 §3): the owner of an address
/// can give it any name.
pub async fn name_sources(resolver: &Arc<dyn Resolver>, sources: &mut [SourceCount]) {
    let mut looking = JoinSet::new();
    for (index, source) in sources.iter().enumerate() {
        let (dns, address) = (OriginDns(resolver.clone()), source.source);
        looking.spawn(async move { (index, iprev::check(&dns, address).await.name) });
    }
    let end = Instant::now() + NAMING;
    while let Ok(Some(looked_up)) = timeout_at(end, looking.join_next()).await {
        if let Ok((index, name)) = looked_up {
            sources[index].name = name;
        }
    }
}

impl Admin {
    /// Adds up the reports about a domain, or about all of them.
    pub(super) async fn reports(&self, query: ReportsQuery) -> Result<Response, AdminError> {
        let ReportsQuery { subject, domain, within } = query;
        let domains = match domain {
            Some(domain) => {
                let domain = parse_domain(domain)?;
                if !self.store.is_local(domain.as_str()).await? {
                    return Err(StoreError::NoSuchDomain(domain).into());
                }
                vec![domain.to_string()]
            }
            None => self.store.domains().await?.iter().map(ToString::to_string).collect(),
        };
        let within = within.map_or(USUAL, Duration::from_secs).min(LONGEST);
        let since = self.clock.now() - within;
        let store = &*self.store;
        Ok(match subject {
            ReportSubject::Dmarc => {
                Response::DmarcReports(statistics::dmarc(store, &domains, since).await?)
            }
            ReportSubject::Tls => {
                Response::TlsReports(statistics::tls(store, &domains, since).await?)
            }
        })
    }
}
