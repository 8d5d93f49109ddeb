//! The sockets that are open before the server starts: those that systemd hands over (`LISTEN_FDS`, sd_listen_fds(3)),
//! and those that root opens before it becomes the server's user.

use crate::config::{Config, Listen};
use crate::fault::fail;
use anyhow::{Context, Result};
use listenfd::ListenFd;
use posta_net::{system_net::SystemNet, transport::Endpoint};
use posta_server::assembly::StartError;
use std::fmt::Display;

/// Takes over the sockets that the process was started with. Each must be that of a listener in the configuration:
/// connections to another one would never be answered.
///
/// # Errors
/// When a socket cannot be used, or the configuration does not name its address.
pub(super) fn take_over(net: &SystemNet, config: &Config) -> Result<()> {
    let mut given = ListenFd::from_env();
    for index in 0..given.len() {
        let endpoint = adopt(net, &mut given, index)
            .with_context(|| format!("socket {} of those handed over (LISTEN_FDS)", index + 1))?;
        if !config.listen.iter().any(|listen| listen.address == endpoint) {
            fail!(
                "unknown-socket",
                "a socket was handed over that listens at {endpoint}, but no [[listen]] has this address (they have \
                 {}): add one to the configuration, or remove its ListenStream= from posta.socket",
                list(config.listen.iter().map(|listen| &listen.address))
            );
        }
    }
    Ok(())
}

fn adopt(net: &SystemNet, given: &mut ListenFd, index: usize) -> Result<Endpoint> {
    if let Ok(Some(listener)) = given.take_tcp_listener(index) {
        return Ok(net.adopt_tcp(listener)?);
    }
    match given.take_unix_listener(index) {
        Ok(Some(listener)) => Ok(net.adopt_unix(listener)?),
        _ => fail!(
            "unknown-socket",
            "it is no socket that listens for TCP or Unix connections: in posta.socket, use ListenStream= with \
             Accept=no"
        ),
    }
}

/// Opens the TCP sockets of the configuration, unless they are open. Unix sockets are left to the server's user, who
/// removes them in the end.
///
/// # Errors
/// When the system refuses.
pub(super) async fn open_tcp(net: &SystemNet, config: &Config) -> Result<(), StartError> {
    for Listen { address, .. } in &config.listen {
        if let Endpoint::Tcp(_) = address {
            let opened = net.open(address).await;
            opened.map_err(|cause| StartError::Bind { endpoint: address.clone(), cause })?;
        }
    }
    Ok(())
}

fn list(endpoints: impl Iterator<Item = impl Display>) -> String {
    let list: Vec<_> = endpoints.map(|endpoint| endpoint.to_string()).collect();
    list.join(", ")
}
