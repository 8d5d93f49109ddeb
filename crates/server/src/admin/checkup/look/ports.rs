//! Tries the ports of the server, as a client would.

use crate::admin::checkup::{
    facts::{HostFacts, PortFacts, PortService},
    publish::MailSetup,
};
use posta_net::{dial::Dialer, https::HttpsClient, tls::client::Verify};
use std::{collections::BTreeMap, net::IpAddr, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    task::JoinSet,
    time::timeout,
};

/// How long a connection and its greeting may take. Some servers keep strangers waiting for the greeting.
const PATIENCE: Duration = Duration::from_secs(15);

/// The most octets of a greeting that are read (RFC 5321 §4.5.3.1.5).
const GREETING: u64 = 512;

/// The most addresses of the server that are tried.
const ADDRESSES: usize = 4;

/// The port of mail from other servers.
const SMTP: u16 = 25;

/// The port of HTTPS.
const HTTPS: u16 = 443;

/// Tries each port at each address that DNS has for the server.
pub(super) async fn look(
    https: &HttpsClient,
    setup: &MailSetup,
    hosts: &BTreeMap<String, HostFacts>,
) -> Vec<PortFacts> {
    let hostname = setup.hostname.as_str();
    let Some(Ok(addresses)) = hosts.get(hostname).map(|host| &host.addresses) else {
        return Vec::new();
    };
    let mut wanted = vec![(PortService::Smtp, SMTP)];
    let programs = setup.services.iter();
    wanted.extend(programs.map(|service| (PortService::Program(service.kind), service.port)));
    wanted.extend(setup.policy.iter().map(|_| (PortService::Https, HTTPS)));
    let mut trying = JoinSet::new();
    let mut order = 0;
    for (service, port) in wanted {
        for address in addresses.iter().take(ADDRESSES).copied() {
            let (https, hostname) = (https.clone(), hostname.to_owned());
            trying.spawn(async move {
                let greeting = greeting(&https, &hostname, service, (address, port));
                let outcome = timeout(PATIENCE, greeting).await;
                let outcome = outcome.unwrap_or_else(|_| Err("it does not answer in time".into()));
                (order, PortFacts { service, address, port, outcome })
            });
            order += 1;
        }
    }
    let mut found = trying.join_all().await;
    found.sort_by_key(|(order, _)| *order);
    found.into_iter().map(|(_, facts)| facts).collect()
}

/// Tries port 25 of a server elsewhere. Many providers block connections to it until their customers ask.
pub(super) async fn outgoing(
    https: &HttpsClient,
    server: Option<&str>,
) -> Option<(String, Result<String, String>)> {
    let server = server?;
    let greeting = async {
        let found = https.resolver.addresses(server).await.map_err(|error| error.to_string())?;
        if found.found.is_empty() {
            return Err("it has no address".to_owned());
        }
        let targets = https.dialer.strangers_host(found.found, SMTP);
        let mut targets = targets.map_err(|refused| refused.to_string())?;
        let (stream, _) = https.dialer.connect(&mut targets, PATIENCE).await?;
        first_line(stream).await
    };
    let outcome = timeout(PATIENCE, greeting).await;
    let outcome = outcome.unwrap_or_else(|_| Err("it does not answer in time".to_owned()));
    Some((server.to_owned(), outcome))
}

/// Connects, and reads the greeting.
async fn greeting(
    https: &HttpsClient,
    hostname: &str,
    service: PortService,
    (address, port): (IpAddr, u16),
) -> Result<String, String> {
    let mut targets = Dialer::configured_host(vec![address], port);
    let (mut stream, _) = https.dialer.connect(&mut targets, PATIENCE).await?;
    if service.begins_with_tls() {
        let secured = https.tls.connect(stream, hostname, &Verify::Anyone).await;
        (stream, _) = secured.map_err(|error| error.to_string())?;
    }
    if service == PortService::Https {
        return Ok(String::new());
    }
    first_line(stream).await
}

async fn first_line(stream: impl AsyncRead + Unpin) -> Result<String, String> {
    let mut stream = stream.take(GREETING);
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        match stream.read_u8().await {
            Ok(octet) => line.push(octet),
            Err(_) if line.is_empty() => return Err("it says nothing".to_owned()),
            Err(_) => break,
        }
    }
    Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
}
