//! Evaluating SPF records (RFC 7208 §4 to §6). [`super::check`] calls this module.

use super::{
    LOOKUPS, MatchedTerm, NAMES, SpfError, SpfOutcome, SpfRequest, SpfResult, VOID_LOOKUPS,
    macros::{MacroPlace, MacroString, NAME, Values},
    record::{self, Directive, Hosts, Mechanism, Network, SpfRecord},
};
use crate::dns::{Family, Lookup, LookupError};
use std::{future::Future, net::IpAddr, pin::Pin};

pub(super) async fn check(dns: &dyn Lookup, request: &SpfRequest<'_>) -> SpfOutcome {
    // RFC 7208 §4.3: a sender without a local-part is the postmaster.
    let local_part = if request.local_part.is_empty() { "postmaster" } else { request.local_part };
    let request = SpfRequest { local_part, ..*request };
    let mut evaluation =
        Evaluation { dns, request, lookups: 0, void_lookups: 0, validated_names: None };
    let mut outcome = SpfOutcome {
        result: SpfResult::None,
        matched: None,
        error: None,
        explanation: None,
        sends_nothing: false,
        lookups: 0,
    };
    match evaluation.check_domain(request.domain.to_owned()).await {
        Ok(found) => {
            outcome.result = found.result;
            outcome.sends_nothing = found.sends_nothing;
            if let Some(explanation) = found.explanation.filter(|_| found.result == SpfResult::Fail)
            {
                outcome.explanation = evaluation.explain(&explanation, &found.domain).await;
            }
            outcome.matched =
                found.term.map(|term| MatchedTerm { domain: found.domain, term: term.into() });
        }
        Err(error) => {
            outcome.result = error.result();
            outcome.error = Some(error);
        }
    }
    outcome.lookups = evaluation.lookups;
    outcome
}

/// The state of one check, and its cost so far.
struct Evaluation<'a> {
    dns: &'a dyn Lookup,
    request: SpfRequest<'a>,
    lookups: u32,
    void_lookups: u32,
    /// The client's names that lead back to its address, once they have been looked up.
    validated_names: Option<Vec<String>>,
}

/// The result of evaluating a domain's record.
struct Finding {
    result: SpfResult,
    /// The domain in whose record the evaluation ended, which differs after a redirect.
    domain: String,
    /// The term that matched.
    term: Option<Box<str>>,
    explanation: Option<MacroString>,
    sends_nothing: bool,
}

impl Finding {
    const fn new(result: SpfResult, domain: String) -> Self {
        Self { result, domain, term: None, explanation: None, sends_nothing: false }
    }
}

type Boxed<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

impl Evaluation<'_> {
    /// Evaluates the record of a domain, and of those that it redirects to.
    ///
    /// Includes and redirects count as look-ups, so this goes no deeper than [`LOOKUPS`].
    fn check_domain(&mut self, domain: String) -> Boxed<'_, Result<Finding, SpfError>> {
        Box::pin(async move {
            let Some(record) = self.record(&domain).await? else {
                return Ok(Finding::new(SpfResult::None, domain));
            };
            let has_all = record.directives.iter().any(|one| one.mechanism == Mechanism::All);
            let sends_nothing = record.sends_nothing();
            for Directive { result, mechanism, text } in record.directives {
                if self.matches(&mechanism, &domain).await? {
                    return Ok(Finding {
                        result,
                        domain,
                        term: Some(text),
                        explanation: record.explanation,
                        sends_nothing,
                    });
                }
            }
            // RFC 7208 §5.1: a redirect is ignored if there is an `all`, wherever it is.
            let Some(redirect) = record.redirect.filter(|_| !has_all) else {
                return Ok(Finding::new(SpfResult::Neutral, domain));
            };
            self.count_lookup()?;
            let target = self.expand(&redirect, &domain).await;
            let finding = self.check_domain(target).await?;
            if finding.result == SpfResult::None {
                return Err(SpfError::NoRecord(domain, finding.domain));
            }
            Ok(Finding { sends_nothing: false, ..finding })
        })
    }

    /// Looks up and reads the record of a domain (RFC 7208 §4.3 to §4.6).
    async fn record(&self, domain: &str) -> Result<Option<SpfRecord>, SpfError> {
        let Some(name) = name_to_ask(domain).filter(|name| name.contains('.')) else {
            return Ok(None);
        };
        let texts = match self.dns.txt(name).await {
            Ok(texts) => texts,
            Err(LookupError::Nothing) => return Ok(None),
            Err(LookupError::Temporary) => return Err(SpfError::Temporary(name.to_owned())),
        };
        let mut records = texts.iter().filter(|text| record::is_spf(text));
        match (records.next(), records.next()) {
            (None, _) => Ok(None),
            (Some(record), None) => match SpfRecord::parse(record) {
                Ok(record) => Ok(Some(record)),
                Err(error) => Err(SpfError::Syntax(name.to_owned(), error)),
            },
            (Some(_), Some(_)) => Err(SpfError::SeveralRecords(name.to_owned())),
        }
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, SpfError> {
        let address = self.request.address();
        if !matches!(mechanism, Mechanism::All | Mechanism::Network(_)) {
            self.count_lookup()?;
        }
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Network(network) => Ok(network.contains(address)),
            Mechanism::Include(target) => self.is_included(target, domain).await,
            Mechanism::A(hosts) => {
                let host = self.target(hosts.domain.as_ref(), domain).await;
                self.host_has(&host, hosts).await
            }
            Mechanism::Mx(hosts) => {
                let target = self.target(hosts.domain.as_ref(), domain).await;
                self.servers_have(&target, hosts).await
            }
            Mechanism::Ptr(target) => {
                let target = self.target(target.as_ref(), domain).await;
                let names = self.validated_names(true).await?;
                Ok(names.iter().any(|name| is_within(name, &target)))
            }
            // RFC 7208 §5.7: the look-up is for an IPv4 address, whatever the client has.
            Mechanism::Exists(target) => {
                let host = self.expand(target, domain).await;
                Ok(!self.addresses(&host, Family::V4).await?.is_empty())
            }
        }
    }

    async fn is_included(&mut self, target: &MacroString, domain: &str) -> Result<bool, SpfError> {
        let target = self.expand(target, domain).await;
        let finding = self.check_domain(target).await?;
        match finding.result {
            SpfResult::Pass => Ok(true),
            SpfResult::None => Err(SpfError::NoRecord(domain.to_owned(), finding.domain)),
            _ => Ok(false),
        }
    }

    async fn host_has(&mut self, host: &str, hosts: &Hosts) -> Result<bool, SpfError> {
        let client = self.request.address();
        let bits = match client {
            IpAddr::V4(_) => hosts.v4,
            IpAddr::V6(_) => hosts.v6,
        };
        let addresses = self.addresses(host, Family::of(&client)).await?;
        Ok(addresses.into_iter().any(|address| Network { address, bits }.contains(client)))
    }

    async fn servers_have(&mut self, target: &str, hosts: &Hosts) -> Result<bool, SpfError> {
        let Some(name) = name_to_ask(target) else { return Ok(false) };
        let servers = match self.dns.mx(name).await {
            Ok(servers) => servers,
            Err(error) => return self.nothing(error, name).map(|()| false),
        };
        // RFC 7208 §4.6.4: more than ten are an error, even if the client's is among them.
        if servers.len() > NAMES {
            return Err(SpfError::TooManyServers(name.to_owned()));
        }
        for (_, server) in servers {
            if self.host_has(&server, hosts).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the addresses of a host; none if there is no such name.
    async fn addresses(&mut self, host: &str, family: Family) -> Result<Vec<IpAddr>, SpfError> {
        let Some(name) = name_to_ask(host) else { return Ok(Vec::new()) };
        match self.dns.addresses(name, family).await {
            Ok(addresses) => Ok(addresses),
            Err(error) => self.nothing(error, name).map(|()| Vec::new()),
        }
    }

    /// Returns the names of the client that lead back to its address (RFC 7208 §5.5). A failed look-up
    /// counts as no name. The names are looked up once.
    async fn validated_names(&mut self, counts: bool) -> Result<Vec<String>, SpfError> {
        if let Some(names) = &self.validated_names {
            return Ok(names.clone());
        }
        let address = self.request.address();
        let names = match self.dns.ptr(address).await {
            Ok(names) => names,
            Err(LookupError::Nothing) if counts => {
                self.nothing(LookupError::Nothing, "")?;
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        let mut validated = Vec::new();
        for name in names.into_iter().take(NAMES) {
            let Some(asked) = name_to_ask(&name) else { continue };
            match self.dns.addresses(asked, Family::of(&address)).await {
                Ok(addresses) if addresses.contains(&address) => validated.push(name),
                Err(LookupError::Nothing) if counts => self.nothing(LookupError::Nothing, asked)?,
                Ok(_) | Err(_) => {}
            }
        }
        self.validated_names = Some(validated.clone());
        Ok(validated)
    }

    /// Records a look-up without an answer.
    fn nothing(&mut self, error: LookupError, name: &str) -> Result<(), SpfError> {
        match error {
            LookupError::Temporary => Err(SpfError::Temporary(name.to_owned())),
            LookupError::Nothing if self.void_lookups == VOID_LOOKUPS => {
                Err(SpfError::TooManyVoidLookups)
            }
            LookupError::Nothing => {
                self.void_lookups += 1;
                Ok(())
            }
        }
    }

    fn count_lookup(&mut self) -> Result<(), SpfError> {
        if self.lookups == LOOKUPS {
            return Err(SpfError::TooManyLookups);
        }
        self.lookups += 1;
        Ok(())
    }

    async fn target(&mut self, target: Option<&MacroString>, domain: &str) -> String {
        match target {
            Some(target) => self.expand(target, domain).await,
            None => domain.to_owned(),
        }
    }

    async fn expand(&mut self, target: &MacroString, domain: &str) -> String {
        let validated_name = self.validated_name(target, domain).await;
        let request = &self.request;
        target.expand_domain(&Values { request, domain, validated_name: &validated_name })
    }

    /// Returns the value of the macro `p` (RFC 7208 §7.3): the domain itself if the client has that
    /// name, otherwise a name inside it, otherwise any. It costs look-ups, but no more than once.
    async fn validated_name(&mut self, text: &MacroString, domain: &str) -> String {
        if !text.needs_validated_name() {
            return String::new();
        }
        let names = self.validated_names(false).await.unwrap_or_default();
        let same = names.iter().find(|name| name.eq_ignore_ascii_case(domain));
        let within = || names.iter().find(|name| is_within(name, domain));
        let name = same.or_else(within).or_else(|| names.first());
        name.map_or_else(|| "unknown".to_owned(), Clone::clone)
    }

    /// Looks up and writes the explanation of a fail (RFC 7208 §6.2); none if there is any fault.
    async fn explain(&mut self, target: &MacroString, domain: &str) -> Option<String> {
        let target = self.expand(target, domain).await;
        let texts = self.dns.txt(name_to_ask(&target)?).await.ok()?;
        let [text] = &texts[..] else { return None };
        let text = MacroString::parse(text, MacroPlace::Explanation)?;
        let validated_name = self.validated_name(&text, domain).await;
        let request = &self.request;
        let values = Values { request, domain, validated_name: &validated_name };
        Some(text.expand_explanation(&values)).filter(|text| !text.is_empty())
    }
}

/// Returns a name without the dot at its end; none if DNS cannot have it (RFC 1035 §2.3.4).
fn name_to_ask(name: &str) -> Option<&str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| (1..=63).contains(&label.len());
    (name.len() <= NAME && name.is_ascii() && name.split('.').all(is_label)).then_some(name)
}

/// Returns whether a name is a domain or within it.
fn is_within(name: &str, domain: &str) -> bool {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let Some(start) = name.len().checked_sub(domain.len()) else { return false };
    name.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(domain))
        && (start == 0 || name.as_bytes()[start - 1] == b'.')
}
