//! What a domain's records depend on, from the configuration and the server: for `posta domain dns` and `posta check`.

use crate::{
    Place,
    config::{Config, Protocol, TlsMode},
    fault::fail,
    operator, wiring,
};
use anyhow::{Result, bail};
use posta_mail::Domain;
use posta_net::{
    public_address,
    tls::{
        server::{read_all_certificates, read_certificates},
        summary::CertificateSummary,
    },
    transport::Endpoint,
};
use posta_server::{
    admin::{
        CertificateRequest, DomainKeyLine, DomainLine, KeyRequest, LocalDomain, Request, Response,
        checkup::publish::{DkimRecord, MailService, MailSetup, ServiceKind},
    },
    send::trust::mta_sts::Policy,
    sign::{certificates::IssuedLine, keys::KeyState},
};
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// What the configuration and the store say about a domain's mail.
pub(crate) struct DomainMail {
    /// What the domain's records depend on.
    pub(crate) setup: MailSetup,
    /// Who reads the domain's mail for postmaster and abuse.
    pub(crate) line: DomainLine,
    /// The server's certificate, if it can be read.
    pub(crate) certificate: Option<CertificateSummary>,
    /// The certificates that an authority issues.
    pub(crate) issued: Vec<IssuedLine>,
}

/// Returns what is known of a local domain.
///
/// # Errors
/// Fails when the configuration is wrong or the domain is not local.
pub(crate) async fn of(place: &Place, domain: &str) -> Result<DomainMail> {
    let config = wiring::config(place)?;
    let line = local(place, domain).await?;
    let keys = keys(place, domain).await?;
    // What an authority issued, or did not, while [acme] was enabled matters no longer.
    let issued = if config.acme.enabled { certificates(place).await? } else { Vec::new() };
    made(&config, LocalDomain { line, keys, issued })
}

/// Returns what is known of a local domain from the configuration and the store.
///
/// # Errors
/// Fails when the domain's name is wrong.
pub(crate) fn made(config: &Config, domain: LocalDomain) -> Result<DomainMail> {
    let LocalDomain { line, keys, issued } = domain;
    let (certificate, stays) = certificate(config, &issued);
    let has_web = config.listen.iter().any(|listen| listen.protocol == Protocol::Https);
    let setup = MailSetup {
        domain: line.domain.parse()?,
        alias_of: line.stands_for.as_deref().map(str::parse).transpose()?,
        hostname: config.hostname(),
        addresses: addresses(config),
        smarthost: config.relay.smarthost.as_ref().map(|server| server.host().to_owned()),
        policy: has_web.then(|| policy(config)),
        keys: published(keys),
        certificate_key: certificate.as_ref().filter(|_| stays).map(|it| it.key_sha256),
        next_certificate_key: next_key(config, &issued),
        services: services(config),
    };
    Ok(DomainMail { setup, line, certificate, issued })
}

/// Returns a local domain as `posta domain list` has it.
async fn local(place: &Place, domain: &str) -> Result<DomainLine> {
    let wanted: Domain = match domain.parse() {
        Ok(wanted) => wanted,
        Err(error) => {
            fail!("invalid-domain", "{domain:?} is no domain, such as example.org: {error}")
        }
    };
    let Response::Domains(lines) = operator::execute(place, Request::DomainList).await? else {
        bail!(operator::UNEXPECTED);
    };
    match lines.into_iter().find(|line| line.domain == wanted.as_str()) {
        Some(line) => Ok(line),
        None => fail!(
            "no-such-domain",
            "{wanted} is no local domain: `posta domain add {wanted}` makes it one, `posta domain list` names those \
             there are"
        ),
    }
}

/// Returns the keys of a domain.
async fn keys(place: &Place, domain: &str) -> Result<Vec<DomainKeyLine>> {
    let request = Request::DomainKeys { domain: domain.to_owned(), request: KeyRequest::List };
    let Response::DomainKeys(lines) = operator::execute(place, request).await? else {
        bail!(operator::UNEXPECTED);
    };
    Ok(lines)
}

/// Returns the keys of a domain whose records have to be in DNS.
fn published(lines: Vec<DomainKeyLine>) -> Vec<DkimRecord> {
    let published = lines.into_iter().filter(|line| line.state != KeyState::Retired);
    let record = |line: DomainKeyLine| DkimRecord {
        is_waiting: line.state == KeyState::Waiting,
        is_retiring: line.state == KeyState::Retiring,
        selector: line.selector,
        text: line.record,
    };
    published.map(record).collect()
}

/// Returns the server's own certificate: the one in a file that the configuration names, else the one that an authority
/// issued, else the self-signed one. None where it does not exist yet, or this user may not read it. Also returns whether
/// its key stays: a record in DNS of one that the authority's takes the place of would stop mail.
fn certificate(config: &Config, issued: &[IssuedLine]) -> (Option<CertificateSummary>, bool) {
    let waits = config.tls.certificate.is_none() && config.acme.enabled;
    if waits {
        let hostname = config.hostname();
        let own = issued.iter().find(|line| line.name == hostname.as_str());
        if let Some(issued) = own.and_then(IssuedLine::summary) {
            return (Some(issued), true);
        }
    }
    let path = wiring::own_certificate(config);
    // Without one of the files, its authority is not believed; the server says what is wrong with the file.
    let more = read_all_certificates(&config.tls.authorities).unwrap_or_default();
    let chain = read_certificates(&path).ok();
    let found = chain.and_then(|chain| CertificateSummary::of(&chain, &more));
    (found, !waits)
}

/// Returns the key that is to take the place of the one of the server's own certificate, if an authority issued that.
fn next_key(config: &Config, issued: &[IssuedLine]) -> Option<[u8; 32]> {
    let hostname = config.hostname();
    let own = issued.iter().find(|line| line.name == hostname.as_str());
    own.filter(|_| config.tls.certificate.is_none() && config.acme.enabled)?.next_key()
}

/// Returns the certificates that an authority issues.
///
/// # Errors
/// Fails when neither the server nor the store can be asked.
pub(crate) async fn certificates(place: &Place) -> Result<Vec<IssuedLine>> {
    let request = Request::Certificates { request: CertificateRequest::List };
    let Response::Certificates(lines) = operator::execute(place, request).await? else {
        bail!(operator::UNEXPECTED);
    };
    Ok(lines)
}

fn policy(config: &Config) -> Policy {
    let mut mx = config.mta_sts.hosts();
    if mx.is_empty() {
        mx.push(config.hostname().to_string());
    }
    Policy { mode: config.mta_sts.mode, mx, max_age: config.mta_sts.max_age.0.as_secs() }
}

/// Returns the services for mail programs on addresses that others can reach.
fn services(config: &Config) -> Vec<MailService> {
    let services = config.listen.iter().filter_map(|listen| {
        let Endpoint::Tcp(address) = &listen.address else { return None };
        let kind = match (listen.protocol, listen.tls) {
            (Protocol::Submission, TlsMode::Implicit) => ServiceKind::Submissions,
            (Protocol::Submission, _) => ServiceKind::Submission,
            (Protocol::Pop3, TlsMode::Implicit) => ServiceKind::Pop3s,
            (Protocol::Pop3, _) => ServiceKind::Pop3,
            (Protocol::Smtp | Protocol::Lmtp | Protocol::Https | Protocol::Http, _) => {
                return None;
            }
        };
        (!address.ip().is_loopback()).then_some(MailService { kind, port: address.port() })
    });
    services.collect()
}

/// Returns the public addresses of this machine, as far as it knows them: those that the configuration names, else those
/// from which it would reach the internet. Behind a router that translates addresses there are none.
fn addresses(config: &Config) -> Vec<IpAddr> {
    let listening = config.listen.iter().filter_map(|listen| match &listen.address {
        Endpoint::Tcp(address) => Some(address.ip()),
        Endpoint::Unix(_) => None,
    });
    let named = config.relay.source.iter().copied().chain(listening);
    let mut found = Vec::new();
    for address in named.filter(|address| !address.is_unspecified()) {
        if public_address::purpose(address).is_none() && !found.contains(&address) {
            found.push(address);
        }
    }
    for (any, far) in FAR {
        let is_known = found.iter().any(|address| address.is_ipv4() == far.is_ipv4());
        if !is_known && let Some(address) = source_towards(any, far) {
            found.push(address);
        }
    }
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

/// Our side's unspecified address and a far one of each family (RFC 5737, RFC 3849). Nothing is sent there.
const FAR: [(IpAddr, IpAddr); 2] = [
    (
        IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    ),
    (
        IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    ),
];

/// Returns the address from which the system would send to a far one, if that is public. Connecting a datagram socket
/// sends nothing: the system only chooses the route.
fn source_towards(any: IpAddr, far: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(far, 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    public_address::purpose(address).is_none().then_some(address)
}
