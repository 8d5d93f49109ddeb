//! How mail for other servers goes out: the table `[relay]`.

use super::options::{Destination, Protection, Relay};
use anyhow::{Context, Result, bail};
use posta_mail::{Domain, Secret};
use posta_server::send::{RelaySettings, Rules, Smarthost, SmarthostTls, schedule::Schedule};
use std::{
    collections::HashMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The port on which TLS comes first (RFC 8314 §3.3).
const SUBMISSIONS: u16 = 465;

impl Relay {
    /// The files that hold passwords of smarthosts.
    pub(crate) fn password_files(&self) -> impl Iterator<Item = &PathBuf> {
        let domains = self.domain.iter().filter_map(|domain| domain.password_file.as_ref());
        self.password_file.iter().chain(domains)
    }
}

impl Relay {
    /// Whether it makes sense.
    pub(super) fn check(&self) -> Result<()> {
        if self.retry.is_empty() {
            bail!("relay.retry needs at least one time to wait");
        }
        let families = [IpAddr::is_ipv4, IpAddr::is_ipv6];
        if families.iter().any(|is| self.source.iter().filter(|ip| is(ip)).count() > 1) {
            bail!("relay.source names one IPv4 and one IPv6 address at most");
        }
        self.relay_place().check("relay")?;
        for domain in &self.domain {
            let name = domain.name.strip_prefix('.').unwrap_or(&domain.name);
            if name.parse::<Domain>().is_err() {
                bail!("relay.domain.name: {:?} is no domain", domain.name);
            }
            if domain.retry.as_ref().is_some_and(Vec::is_empty) {
                bail!("relay.domain.retry needs at least one time to wait");
            }
            domain.relay_place().check("relay.domain")?;
        }
        Ok(())
    }

    fn relay_place(&self) -> Place<'_> {
        Place {
            smarthost: self.smarthost.as_deref(),
            user: self.user.as_deref(),
            password_file: self.password_file.as_deref(),
            tls: self.tls,
        }
    }

    /// As the server takes it.
    pub(crate) fn settings(&self) -> Result<RelaySettings> {
        let schedule = Schedule {
            retry: self.retry.iter().map(|wait| wait.0).collect(),
            give_up: self.give_up.0,
            delay_notice: self.delay_notice.0,
        };
        let all = Rules { schedule, route: self.relay_place().smarthost()?, rate: self.rate };
        let mut domains = HashMap::new();
        for domain in &self.domain {
            domains.insert(domain.name.to_ascii_lowercase(), domain.rules(&all)?);
        }
        Ok(RelaySettings {
            all,
            domains,
            patience: self.timeout.0,
            connections: self.connections,
            sources: self.source.clone(),
            private_addresses: self.private_addresses,
        })
    }
}

impl Destination {
    fn relay_place(&self) -> Place<'_> {
        Place {
            smarthost: self.smarthost.as_deref(),
            user: self.user.as_deref(),
            password_file: self.password_file.as_deref(),
            tls: self.tls,
        }
    }

    /// Its own rules; what it leaves out is as for all.
    fn rules(&self, all: &Rules) -> Result<Rules> {
        let Schedule { retry, give_up, delay_notice } = all.schedule.clone();
        let own = self.retry.as_ref().map(|waits| waits.iter().map(|wait| wait.0).collect());
        let schedule = Schedule {
            retry: own.unwrap_or(retry),
            give_up: self.give_up.map_or(give_up, |span| span.0),
            delay_notice: self.delay_notice.map_or(delay_notice, |span| span.0),
        };
        let route = match self.smarthost.as_deref() {
            // So that one domain can be left out of a smarthost for all.
            Some("mx") => None,
            Some(_) => self.relay_place().smarthost()?,
            None => all.route.clone(),
        };
        Ok(Rules { schedule, route, rate: self.rate.or(all.rate) })
    }
}

/// A smarthost, as a table names it.
struct Place<'a> {
    smarthost: Option<&'a str>,
    user: Option<&'a str>,
    password_file: Option<&'a Path>,
    tls: Option<Protection>,
}

impl Place<'_> {
    fn check(&self, table: &str) -> Result<()> {
        let Self { smarthost, user, password_file, tls } = self;
        match smarthost {
            Some("mx") if table != "relay" => {}
            Some(place) if split(place).is_none() => {
                bail!("{table}.smarthost has the form host:port, such as smtp.example.net:587");
            }
            Some(_) => {}
            None if user.is_some() || password_file.is_some() || tls.is_some() => {
                bail!("{table}: user, password-file and tls are the smarthost's: name one");
            }
            None => {}
        }
        if user.is_some() != password_file.is_some() {
            bail!("{table}.user and {table}.password-file belong together: set both, or neither");
        }
        let is_open = matches!(tls, Some(Protection::None | Protection::Opportunistic));
        if user.is_some() && is_open {
            bail!("{table}.tls: a password needs \"starttls\" or \"implicit\"");
        }
        Ok(())
    }

    fn smarthost(&self) -> Result<Option<Arc<Smarthost>>> {
        let Some((host, port)) = self.smarthost.and_then(split) else { return Ok(None) };
        let login = match (self.user, self.password_file) {
            (Some(user), Some(path)) => {
                let password = fs::read(path);
                let password = password.with_context(|| {
                    format!("the password file {} cannot be read", path.display())
                })?;
                Some((user.to_owned(), Secret::new(password.trim_ascii())))
            }
            _ => None,
        };
        let tls = match self.tls {
            Some(Protection::None) => SmarthostTls::None,
            Some(Protection::Opportunistic) => SmarthostTls::Opportunistic,
            Some(Protection::Starttls) => SmarthostTls::StartTls,
            Some(Protection::Implicit) => SmarthostTls::Implicit,
            None if port == SUBMISSIONS => SmarthostTls::Implicit,
            None if login.is_some() => SmarthostTls::StartTls,
            None => SmarthostTls::Opportunistic,
        };
        Ok(Some(Arc::new(Smarthost { host: host.to_owned(), port, tls, login })))
    }
}

/// The host and the port of `host:port`; brackets around an IPv6 address are taken away.
fn split(place: &str) -> Option<(&str, u16)> {
    let (host, port) = place.rsplit_once(':')?;
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = inside.unwrap_or(host);
    let port = port.parse().ok().filter(|&port| port > 0)?;
    (!host.is_empty()).then_some((host, port))
}
