//! What sets mail programs up: Thunderbird and those that do as it does (autoconfig), Outlook (autodiscover), and Apple's
//! Mail (a profile). A program asks about an address, and is told the hosts, ports and kinds of TLS of the listeners.
//!
//! The answers depend on the domain only, and are the same whether or not there is such an account: nobody learns here
//! who has one.

mod apple;
mod outlook;
mod thunderbird;

use crate::{
    admin::checkup::publish::{MailService, ServiceKind},
    settings::{ListenerKind, TlsMode},
};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, RawQuery, Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HOST},
    },
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use posta_mail::{Address, Domain};
use posta_net::transport::Endpoint;
use posta_store::Store;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// The paths at which Thunderbird asks: on `autoconfig.DOMAIN`, and on the domain itself.
const THUNDERBIRD: [&str; 2] =
    ["/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml"];

/// The paths at which versions of Outlook ask, on `autodiscover.DOMAIN` and on the domain itself.
const OUTLOOK: [&str; 3] = [
    "/autodiscover/autodiscover.xml",
    "/Autodiscover/Autodiscover.xml",
    "/AutoDiscover/AutoDiscover.xml",
];

/// The path of Apple's profile, for which there is no convention.
const APPLE: &str = "/email.mobileconfig";

/// The largest request of Outlook, in octets. Its own has 400.
const REQUEST: usize = 8 * 1024;

/// The time within which a request must have come whole.
const PATIENCE: Duration = Duration::from_secs(30);

/// What mail programs are told.
#[derive(Clone)]
pub struct MailPrograms {
    hostname: Domain,
    /// The services, the preferred one of each protocol first.
    services: Vec<MailService>,
    store: Arc<dyn Store>,
}

/// A listener that can be told about.
pub type Listening<'a> = (ListenerKind, &'a Endpoint, TlsMode);

impl MailPrograms {
    /// Returns what is told about a server with these listeners.
    #[must_use]
    pub fn new(hostname: Domain, listening: &[Listening<'_>], store: Arc<dyn Store>) -> Self {
        Self { hostname, services: services(listening), store }
    }

    /// Returns the pages.
    pub(super) fn routes(self) -> Router {
        let mut router = Router::new().route(APPLE, get(tell_apple));
        for path in THUNDERBIRD {
            router = router.route(path, get(tell_thunderbird));
        }
        for path in OUTLOOK {
            router = router.route(path, post(tell_outlook));
        }
        let router = router.layer(DefaultBodyLimit::max(REQUEST)).layer(from_fn(in_time));
        router.with_state(Arc::new(self))
    }

    /// Returns a domain if mail for it is kept here.
    async fn local(&self, domain: &str) -> Result<Domain, StatusCode> {
        let domain: Domain = domain.parse().map_err(|_| StatusCode::NOT_FOUND)?;
        let is_local = self.store.is_local(domain.as_str()).await;
        let is_alias = match is_local {
            Ok(false) => {
                self.store.domain_alias(domain.as_str()).await.map(|alias| alias.is_some())
            }
            other => other,
        };
        match is_alias {
            Ok(true) => Ok(domain),
            Ok(false) => Err(StatusCode::NOT_FOUND),
            Err(error) => {
                tracing::warn!(%error, "a mail program cannot be told how to set itself up");
                Err(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }
}

/// Returns the services that programs elsewhere can use, the preferred ones first. A listener without TLS is not told
/// of: a password would cross the network in plaintext. Those on loopback are told of only where all are there, as
/// behind a tunnel.
fn services(listening: &[Listening<'_>]) -> Vec<MailService> {
    let service = |(kind, endpoint, tls): &Listening<'_>| {
        let Endpoint::Tcp(address) = endpoint else { return None };
        let kind = match (kind, tls) {
            (ListenerKind::Submission, TlsMode::Implicit) => ServiceKind::Submissions,
            (ListenerKind::Submission, TlsMode::StartTls) => ServiceKind::Submission,
            (ListenerKind::Pop3, TlsMode::Implicit) => ServiceKind::Pop3s,
            (ListenerKind::Pop3, TlsMode::StartTls) => ServiceKind::Pop3,
            _ => return None,
        };
        Some((address.ip().is_loopback(), MailService { kind, port: address.port() }))
    };
    let all: Vec<_> = listening.iter().filter_map(service).collect();
    let is_private = all.iter().all(|(is_loopback, _)| *is_loopback);
    let reachable = all.iter().filter(|(is_loopback, _)| is_private || !is_loopback);
    let reachable: Vec<_> = reachable.map(|(_, service)| *service).collect();
    let of = |kind| reachable.iter().find(|service| service.kind == kind).copied();
    ServiceKind::ALL.into_iter().filter_map(of).collect()
}

/// The protocol of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MailProtocol {
    Pop3,
    Smtp,
}

const fn protocol(kind: ServiceKind) -> MailProtocol {
    match kind {
        ServiceKind::Pop3s | ServiceKind::Pop3 => MailProtocol::Pop3,
        ServiceKind::Submissions | ServiceKind::Submission => MailProtocol::Smtp,
    }
}

/// Returns whether TLS comes first.
const fn is_implicit(kind: ServiceKind) -> bool {
    matches!(kind, ServiceKind::Pop3s | ServiceKind::Submissions)
}

/// Does not wait for ever for the rest of a request.
async fn in_time(request: Request, next: Next) -> Response {
    let answered = timeout(PATIENCE, next.run(request)).await;
    answered.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
}

/// Tells Thunderbird about the domain of the address in `emailaddress`, else about the one whose host was asked.
async fn tell_thunderbird(
    State(programs): State<Arc<MailPrograms>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, StatusCode> {
    let address = field(query.as_deref(), "emailaddress");
    let domain = match address.as_deref().and_then(|address| address.rsplit_once('@')) {
        Some((_, domain)) => domain.to_owned(),
        None => asked_domain(&headers),
    };
    let domain = programs.local(&domain).await?;
    Ok(document("text/xml; charset=utf-8", thunderbird::document(&programs, &domain)))
}

async fn tell_outlook(
    State(programs): State<Arc<MailPrograms>>,
    request: Bytes,
) -> Result<Response, StatusCode> {
    let text = std::str::from_utf8(&request).map_err(|_| StatusCode::BAD_REQUEST)?;
    let address = outlook::address(text).ok_or(StatusCode::BAD_REQUEST)?;
    programs.local(address.domain()).await?;
    Ok(document("text/xml; charset=utf-8", outlook::document(&programs, &address)))
}

async fn tell_apple(
    State(programs): State<Arc<MailPrograms>>,
    RawQuery(query): RawQuery,
) -> Result<Response, StatusCode> {
    let address = field(query.as_deref(), "email").ok_or(StatusCode::BAD_REQUEST)?;
    let address: Address = address.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    programs.local(address.domain()).await?;
    let document =
        document("application/x-apple-aspen-config", apple::document(&programs, &address));
    let name = HeaderValue::from_static("attachment; filename=\"email.mobileconfig\"");
    Ok(([(CONTENT_DISPOSITION, name)], document).into_response())
}

fn document(kind: &'static str, text: String) -> Response {
    // The listeners may be others after a restart.
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "max-age=3600")], text).into_response()
}

/// Returns the domain of which `autoconfig.DOMAIN`, or DOMAIN itself, was asked.
fn asked_domain(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    host.strip_prefix("autoconfig.").map(str::to_owned).unwrap_or(host)
}

/// Returns a field of a query, decoded.
fn field(query: Option<&str>, name: &str) -> Option<String> {
    let mut fields = query?.split('&').filter_map(|field| field.split_once('='));
    let (_, value) = fields.find(|(key, _)| *key == name)?;
    decoded(value)
}

/// Decodes a value of a query (WHATWG URL, application/x-www-form-urlencoded), but for `+`, which stands for itself in
/// addresses that programs and people write there.
fn decoded(value: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let digit = |octet: Option<u8>| char::from(octet?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            octet => octet,
        });
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::{Directory, MemoryStore, conformance::block_on};

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    /// Returns what is told about a server with the listeners of the README.
    pub(super) fn programs() -> MailPrograms {
        let listening = [
            (ListenerKind::Smtp, "192.0.2.1:25", TlsMode::StartTls),
            (ListenerKind::Submission, "192.0.2.1:587", TlsMode::StartTls),
            (ListenerKind::Submission, "192.0.2.1:465", TlsMode::Implicit),
            (ListenerKind::Pop3, "192.0.2.1:995", TlsMode::Implicit),
            (ListenerKind::Pop3, "127.0.0.1:110", TlsMode::StartTls),
        ];
        let endpoints = listening.map(|(kind, text, tls)| (kind, endpoint(text), tls));
        let listening: Vec<_> =
            endpoints.iter().map(|(kind, endpoint, tls)| (*kind, endpoint, *tls)).collect();
        let store = Arc::new(MemoryStore::default());
        block_on(store.add_domain(&"x.test".parse().unwrap())).unwrap();
        MailPrograms::new("mail.x.test".parse().unwrap(), &listening, store)
    }

    #[test]
    fn only_what_programs_elsewhere_can_use_safely_is_told() {
        let told: Vec<_> =
            programs().services.iter().map(|service| (service.kind, service.port)).collect();
        assert_eq!(
            told,
            [
                (ServiceKind::Submissions, 465),
                (ServiceKind::Submission, 587),
                (ServiceKind::Pop3s, 995),
            ]
        );
        let (near, far) = (endpoint("127.0.0.1:2110"), endpoint("192.0.2.1:110"));
        let unix = endpoint("unix:/run/posta/lmtp");
        let pop3 = |endpoint, tls| services(&[(ListenerKind::Pop3, endpoint, tls)]).len();
        assert_eq!(pop3(&near, TlsMode::StartTls), 1, "all are on loopback");
        assert_eq!(pop3(&far, TlsMode::None), 0, "passwords would be readable");
        assert_eq!(pop3(&unix, TlsMode::Implicit), 0);
    }

    #[test]
    fn queries_are_decoded() {
        for (query, expected) in [
            ("emailaddress=ana%40x.test", Some("ana@x.test")),
            ("a=b&emailaddress=ana@x.test&c", Some("ana@x.test")),
            ("emailaddress=ana+lists@x.test", Some("ana+lists@x.test")),
            ("emailaddress=%C8%99@x.test", Some("ș@x.test")),
            ("emailaddress=%4", None),
            ("emailaddress=%zz", None),
            ("emailaddress=%FF", None),
            ("address=ana@x.test", None),
        ] {
            assert_eq!(field(Some(query), "emailaddress").as_deref(), expected, "{query}");
        }
        assert_eq!(field(None, "emailaddress"), None);
    }
}
