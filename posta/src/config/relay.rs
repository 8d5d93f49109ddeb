//! The table `[relay]`: what goes together, and the settings that the server makes of it.

use super::{
    mistakes::Mistakes,
    options::{Destination, Relay, partial},
    read::{Written, WrittenTable, partial_tables, place_in},
    routes::{DomainRoute, HostPort},
    values::Retry,
    words::Protection,
};
use anyhow::{Context, Result};
use posta_mail::Secret;
use posta_server::send::{RelaySettings, Rules, Smarthost, SmarthostTls, schedule::Schedule};
use std::{
    collections::{HashMap, HashSet},
    fs,
    net::IpAddr,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The port on which TLS comes first (RFC 8314 §3.3).
const SUBMISSIONS: u16 = 465;

impl Relay {
    /// Returns the files that hold passwords of smarthosts.
    pub(crate) fn password_files(&self) -> impl Iterator<Item = &PathBuf> {
        let domains = self.domain.iter().filter_map(|domain| domain.password_file.as_ref());
        self.password_file.iter().chain(domains)
    }
}

impl partial::Relay {
    /// Finds what does not go together, or would do harm.
    pub(super) fn check(&self, found: &WrittenTable<'_, '_>, mistakes: &mut Mistakes) {
        for is_of_family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
            let sources = self.source.iter().flatten().enumerate();
            let mut of_family = sources.filter(|(_, ip)| is_of_family(ip));
            if let Some((index, _)) = of_family.nth(1) {
                let words = "relay.source names one IPv4 and one IPv6 address at most";
                mistakes.conflict(&found.element("source", index), words);
            }
        }
        // A smarthost that cannot be read is one all the same.
        check_smarthost(self.smarthost != Some(None), self.tls.flatten(), found, mistakes);
    }
}

impl Relay {
    fn smarthost_options(&self) -> SmarthostOptions<'_> {
        SmarthostOptions {
            smarthost: self.smarthost.as_ref(),
            user: self.user.as_deref(),
            password_file: self.password_file.as_deref(),
            tls: self.tls,
        }
    }

    /// Returns the settings of the server's floor that sends.
    ///
    /// # Errors
    /// Fails when a password file cannot be read.
    pub(crate) fn settings(&self) -> Result<RelaySettings> {
        let schedule = Schedule {
            retry: self.retry.waits(),
            give_up: self.give_up.0,
            delay_notice: self.delay_notice.0,
        };
        let all = Rules { schedule, route: self.smarthost_options().smarthost()?, rate: self.rate };
        let mut domains = HashMap::new();
        for domain in &self.domain {
            domains.insert(domain.name.as_str().to_owned(), domain.rules(&all)?);
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

impl partial::Destination {
    /// Finds what does not go together.
    pub(super) fn check(&self, found: &WrittenTable<'_, '_>, mistakes: &mut Mistakes) {
        let has_smarthost = !matches!(self.smarthost, Some(None | Some(DomainRoute::Mx)));
        check_smarthost(has_smarthost, self.tls.flatten(), found, mistakes);
    }

    /// Finds domains that are named twice: only one of their rules could hold.
    pub(super) fn check_list(written: &[Written<'_>], _: &Range<usize>, mistakes: &mut Mistakes) {
        let mut named = HashSet::new();
        for (Self { name, .. }, table) in partial_tables(written) {
            let Some(name) = name else { continue };
            let name = name.as_str().to_owned();
            if named.contains(&name) {
                let words = format!("relay.domain.name: {name:?} is named twice: leave one out");
                mistakes.conflict(&place_in(table, "name"), words);
            }
            named.insert(name);
        }
    }
}

impl Destination {
    fn own_smarthost(&self) -> Option<&HostPort> {
        match &self.smarthost {
            Some(DomainRoute::Smarthost(place)) => Some(place),
            Some(DomainRoute::Mx) | None => None,
        }
    }

    fn smarthost_options(&self) -> SmarthostOptions<'_> {
        SmarthostOptions {
            smarthost: self.own_smarthost(),
            user: self.user.as_deref(),
            password_file: self.password_file.as_deref(),
            tls: self.tls,
        }
    }

    /// Returns the rules of the domain. Those that it leaves out are as for all.
    fn rules(&self, all: &Rules) -> Result<Rules> {
        let Schedule { retry, give_up, delay_notice } = all.schedule.clone();
        let own = self.retry.as_ref().map(Retry::waits);
        let schedule = Schedule {
            retry: own.unwrap_or(retry),
            give_up: self.give_up.map_or(give_up, |span| span.0),
            delay_notice: self.delay_notice.map_or(delay_notice, |span| span.0),
        };
        let route = match self.smarthost {
            Some(DomainRoute::Mx) => None,
            Some(DomainRoute::Smarthost(_)) => self.smarthost_options().smarthost()?,
            None => all.route.clone(),
        };
        Ok(Rules { schedule, route, rate: self.rate.or(all.rate) })
    }
}

/// Finds what does not go together in a table that may name a smarthost.
fn check_smarthost(
    has_smarthost: bool,
    tls: Option<Protection>,
    found: &WrittenTable<'_, '_>,
    mistakes: &mut Mistakes,
) {
    let table = found.section.path;
    let of_smarthost = found.first_set(&["user", "password-file", "tls"]);
    if let (Some(option), false) = (of_smarthost, has_smarthost) {
        let words = format!("{table}: user, password-file and tls are the smarthost's: name one");
        mistakes.conflict(&found.place(option), words);
    }
    let is_open = matches!(tls, Some(Protection::None | Protection::Opportunistic));
    if is_open && found.first_set(&["user"]).is_some() {
        let words = format!("{table}.tls: a password needs \"starttls\" or \"implicit\"");
        mistakes.conflict(&found.place("tls"), words);
    }
}

/// The options of a smarthost, of one of the two tables that have them.
struct SmarthostOptions<'a> {
    smarthost: Option<&'a HostPort>,
    user: Option<&'a str>,
    password_file: Option<&'a Path>,
    tls: Option<Protection>,
}

impl SmarthostOptions<'_> {
    fn smarthost(&self) -> Result<Option<Arc<Smarthost>>> {
        let Some(HostPort { host, port }) = self.smarthost.cloned() else { return Ok(None) };
        let login = self.user.zip(self.password_file).map(|(user, path)| -> Result<_> {
            let password = fs::read(path)
                .with_context(|| format!("the password file {} cannot be read", path.display()))?;
            Ok((user.to_owned(), Secret::new(password.trim_ascii())))
        });
        let login = login.transpose()?;
        let tls = match self.tls {
            Some(Protection::None) => SmarthostTls::None,
            Some(Protection::Opportunistic) => SmarthostTls::Opportunistic,
            Some(Protection::Starttls) => SmarthostTls::StartTls,
            Some(Protection::Implicit) => SmarthostTls::Implicit,
            None if port == SUBMISSIONS => SmarthostTls::Implicit,
            None if login.is_some() => SmarthostTls::StartTls,
            None => SmarthostTls::Opportunistic,
        };
        Ok(Some(Arc::new(Smarthost { host, port, tls, login })))
    }
}
