//! Looks at the world for a domain: gathers [`Facts`], and judges nothing.
//!
//! All look-ups and connections go on side by side, each with a time limit, so that one name server or port that does
//! not answer costs seconds and hides nothing else.

mod lists;
mod ports;

use super::{
    facts::{Facts, HostFacts, Machine, Seen, sending_addresses},
    publish::{
        MailSetup,
        record::{RecordData, records},
    },
};
use crate::{receive::origin_dns::OriginDns, send::trust::mta_sts};
use posta_net::{
    dns::{DnsAnswer, LookupError, Resolver},
    https::HttpsClient,
};
use posta_origin::{
    dmarc::{self, Author, DmarcOutcome},
    iprev,
    spf::{self, SpfOutcome, SpfRequest},
};
use std::{
    collections::BTreeMap,
    future::Future,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tokio::{task::JoinSet, time::timeout};

/// How long one look-up may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// The most servers of a domain whose addresses are looked up: others decide how many there are.
const HOSTS: usize = 10;

/// An address that nobody has (RFC 5737): all of an SPF record is evaluated for it, unless a term lets everybody pass.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 255));

/// What is asked of the world, and with what.
#[derive(Clone)]
pub struct Looking {
    /// Opens connections and asks DNS.
    pub https: HttpsClient,
    /// The domains of the block lists to ask.
    pub block_lists: Vec<String>,
    /// Whether the ports are tried.
    pub tries_ports: bool,
    /// A server elsewhere that takes mail, to see whether a connection to port 25 leaves this network.
    pub outgoing: Option<String>,
}

/// Gathers what there is to see of a domain and its server.
pub async fn look(looking: &Looking, setup: MailSetup, machine: Machine) -> Facts {
    let resolver = &looking.https.resolver;
    let dns = OriginDns(resolver.clone());
    let (domain, hostname) = (setup.domain.to_string(), setup.hostname.to_string());
    let exchangers = seen(&domain, resolver.exchangers(&domain)).await;
    let hosts = hosts(resolver, &hostname, &exchangers).await;
    let senders = sending_addresses(&setup, hosts.get(&hostname));
    let policy = async {
        let name = format!("_mta-sts.{domain}");
        let texts = seen(&name, resolver.texts(&name)).await;
        let is_there = texts.is_ok_and(|texts| texts.iter().any(|it| it.starts_with("v=STSv1")));
        if !is_there {
            return None;
        }
        Some(mta_sts::fetch(&looking.https, &domain).await.map_err(|(_, why)| why))
    };
    let tlsa = format!("_25._tcp.{hostname}");
    let dmarc = dmarc(&dns, &setup);
    let ports = async {
        if looking.tries_ports {
            ports::look(&looking.https, &setup, &hosts).await
        } else {
            Vec::new()
        }
    };
    let (texts, services, reverse, spf) = tokio::join!(
        texts(resolver, &setup),
        services(resolver, &setup),
        reverse(&dns, resolver, &senders),
        spf(&dns, &setup, &senders, machine.now.as_second()),
    );
    let outgoing = ports::outgoing(&looking.https, looking.outgoing.as_deref());
    let (policy, certificates, ports, outgoing, lists, (dmarc, unwanted_reports)) = tokio::join!(
        policy,
        seen(&tlsa, resolver.certificates(&tlsa)),
        ports,
        outgoing,
        lists::look(resolver, &looking.block_lists, &senders),
        dmarc,
    );
    let (spf, spf_of_strangers) = spf;
    Facts {
        machine,
        exchangers,
        hosts,
        reverse,
        texts,
        spf,
        spf_of_strangers,
        dmarc,
        unwanted_reports,
        policy,
        certificates,
        services,
        ports,
        outgoing,
        lists,
        setup,
    }
}

/// Waits for a look-up. A name that does not exist has no records.
async fn seen<T>(
    name: &str,
    looked_up: impl Future<Output = Result<DnsAnswer<T>, LookupError>>,
) -> Seen<T> {
    match timeout(PATIENCE, looked_up).await {
        Ok(Ok(answer)) => Ok(answer.found),
        Ok(Err(LookupError::NoDomain(_))) => Ok(Vec::new()),
        Ok(Err(error @ LookupError::Failed(..))) => Err(error.to_string()),
        Err(_) => Err(format!("DNS does not answer for {name} in time")),
    }
}

async fn hosts(
    resolver: &Arc<dyn Resolver>,
    hostname: &str,
    exchangers: &Seen<(u16, String)>,
) -> BTreeMap<String, HostFacts> {
    let named = exchangers.iter().flatten().map(|(_, host)| host.clone());
    let names = named.filter(|host| !host.is_empty()).take(HOSTS).chain([hostname.to_owned()]);
    let mut looking = JoinSet::new();
    for name in names {
        let resolver = resolver.clone();
        looking.spawn(async move {
            let facts = host(&*resolver, &name).await;
            (name, facts)
        });
    }
    looking.join_all().await.into_iter().collect()
}

async fn host(resolver: &dyn Resolver, name: &str) -> HostFacts {
    let nothing = |addresses| HostFacts { addresses, is_secure: false, alias: None };
    match timeout(PATIENCE, resolver.addresses(name)).await {
        Ok(Ok(answer)) => HostFacts {
            addresses: Ok(answer.found),
            is_secure: answer.is_secure,
            alias: answer.alias.map(|alias| alias.target),
        },
        Ok(Err(LookupError::NoDomain(_))) => nothing(Ok(Vec::new())),
        Ok(Err(error @ LookupError::Failed(..))) => nothing(Err(error.to_string())),
        Err(_) => nothing(Err(format!("DNS does not answer for {name} in time"))),
    }
}

/// Looks up every name that should have a TXT record.
async fn texts(resolver: &Arc<dyn Resolver>, setup: &MailSetup) -> BTreeMap<String, Seen<String>> {
    let mut looking = JoinSet::new();
    let wanted = records(setup).into_iter();
    let mut names: Vec<_> = wanted
        .filter(|record| matches!(record.data, RecordData::Text(_)))
        .map(|record| record.name)
        .chain([format!("_mta-sts.{}", setup.domain)])
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let resolver = resolver.clone();
        looking.spawn(async move {
            let texts = seen(&name, resolver.texts(&name)).await;
            (name, texts)
        });
    }
    looking.join_all().await.into_iter().collect()
}

/// Looks up every name that should have an SRV record.
async fn services(
    resolver: &Arc<dyn Resolver>,
    setup: &MailSetup,
) -> BTreeMap<String, Seen<posta_net::dns::ServiceHost>> {
    let mut looking = JoinSet::new();
    let wanted = records(setup).into_iter();
    for record in wanted.filter(|record| matches!(record.data, RecordData::Service(_))) {
        let resolver = resolver.clone();
        looking.spawn(async move {
            let found = seen(&record.name, resolver.services(&record.name)).await;
            (record.name, found)
        });
    }
    looking.join_all().await.into_iter().collect()
}

async fn reverse(
    dns: &OriginDns,
    resolver: &Arc<dyn Resolver>,
    senders: &[IpAddr],
) -> Vec<(IpAddr, Seen<String>, iprev::IprevOutcome)> {
    let mut found = Vec::new();
    for address in senders {
        let names = seen(&address.to_string(), resolver.names(*address)).await;
        found.push((*address, names, iprev::check(dns, *address).await));
    }
    found
}

/// Asks SPF about mail from our addresses, and from one that nobody has.
async fn spf(
    dns: &OriginDns,
    setup: &MailSetup,
    senders: &[IpAddr],
    now: i64,
) -> (Vec<(IpAddr, SpfOutcome)>, SpfOutcome) {
    let (domain, hostname) = (setup.domain.as_str(), setup.hostname.as_str());
    let time = u64::try_from(now).unwrap_or_default();
    let request = |address| {
        let helo = SpfRequest::helo(address, hostname, hostname, time);
        SpfRequest { domain, ..helo }
    };
    let mut found = Vec::new();
    for address in senders {
        found.push((*address, spf::check(dns, &request(*address)).await));
    }
    (found, spf::check(dns, &request(NOBODY)).await)
}

/// Asks what DMARC says of mail from the domain, and whether those to whom reports go want them.
async fn dmarc(dns: &OriginDns, setup: &MailSetup) -> (DmarcOutcome, Vec<String>) {
    let author = Author::Domains(vec![setup.domain.clone()]);
    let outcome = dmarc::check(dns, &author, &[], 0).await;
    let mut unwanted = Vec::new();
    if let Some((domain, record)) = &outcome.record {
        for address in &record.reports {
            let destinations = dmarc::report_destinations(dns, domain, address).await;
            if destinations.is_ok_and(|destinations| destinations.is_empty()) {
                unwanted.push(address.address.to_string());
            }
        }
    }
    (outcome, unwanted)
}
