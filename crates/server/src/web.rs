//! What the server publishes over HTTPS. `listen` hands connections over.
//!
//! Strangers get the MTA-STS policy of the domains (RFC 8461 §3.2), the settings for mail programs, and whether the server
//! is well. Programs with a token
//! get the operator's interface ([`http`]). A new page is a line in [`Web`].
//! [`plain`] is what is served over plain HTTP.

pub mod mail_programs;
pub mod plain;

use crate::{
    admin::{
        Admin,
        http::{self, Caller, Health, Problem, TokenCaller},
    },
    login::{Authenticator, LoginError},
    send::trust::mta_sts::Policy,
};
use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, Method, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, HOST},
    },
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ipnet::IpNet;
use mail_programs::MailPrograms;
use posta_mail::ClientAddress;
use posta_net::transport::Stream;
use std::{io, pin::pin, sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};

/// The time within which the head of a request must have come, and within which a response must have been read. What a
/// request takes in between is not limited: moving a large mailbox here takes a while.
const PATIENCE: Duration = Duration::from_secs(30);

/// The policy's path (RFC 8461 §3.3).
const POLICY: &str = "/.well-known/mta-sts.txt";

/// The maximal number of octets in the head of a request.
const HEAD: usize = 8 * 1024;

/// What is published. Clones share it.
#[derive(Clone)]
pub struct Web {
    router: Router,
}

/// The number of requests of a connection that are being carried out.
type Busy = Arc<watch::Sender<u32>>;

impl Web {
    /// Returns a server of the policy alone.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let router = Router::new().route(POLICY, get(tell_policy)).with_state(Arc::new(policy));
        Self { router }
    }

    /// Adds the settings for mail programs.
    #[must_use]
    pub fn with_mail_programs(self, programs: MailPrograms) -> Self {
        Self { router: self.router.merge(programs.routes()) }
    }

    /// Adds the answers about the server's health.
    #[must_use]
    pub fn with_health(self, health: Health) -> Self {
        Self { router: self.router.merge(http::health(health)) }
    }

    /// Adds the operator's interface, for clients that show a token. Clients in `metrics_for` read the metrics without
    /// one.
    #[must_use]
    pub fn with_operator(
        self,
        admin: Admin,
        authenticator: Arc<Authenticator>,
        metrics_for: Vec<IpNet>,
    ) -> Self {
        let door = Door { authenticator, metrics_for: metrics_for.into() };
        let authorised = from_fn_with_state(door, authorise);
        let operator = http::routes(admin).route_layer(authorised);
        Self { router: self.router.merge(operator) }
    }

    /// Serves one connection, which carries one request.
    ///
    /// # Errors
    /// When the connection fails, or the client is too slow.
    pub async fn serve(&self, stream: Box<dyn Stream>, client: ClientAddress) -> io::Result<()> {
        let busy = Busy::default();
        let mut requests = busy.subscribe();
        let router = self.router.clone().layer(from_fn(count));
        let router = router.layer(Extension(busy.clone())).layer(Extension(client));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .keep_alive(false)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        let mut connection = pin!(connection);
        loop {
            let is_idle = *requests.borrow_and_update() == 0;
            tokio::select! {
                ended = &mut connection => return ended.map_err(io::Error::other),
                // `busy` lives as long as this loop, so waiting does not fail.
                _ = requests.changed() => {}
                () = sleep(PATIENCE), if is_idle => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }
}

/// A request that is being carried out, until this value is dropped.
struct Counted(Busy);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|requests| *requests -= 1);
    }
}

/// Counts a request until it is carried out: until the response begins, or ends, if that goes on for as long as its
/// reader likes.
async fn count(Extension(busy): Extension<Busy>, request: Request, next: Next) -> Response {
    busy.send_modify(|requests| *requests += 1);
    let counted = Counted(busy);
    let response = next.run(request).await;
    match response.headers().get(CONTENT_TYPE) {
        Some(kind) if kind == http::JSON_LINES => response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _held = &counted;
                frame
            }))
        }),
        _ => response,
    }
}

/// The host name determines whose policy is requested: `mta-sts.x.test` has that of `x.test`.
async fn tell_policy(State(policy): State<Arc<Policy>>, headers: HeaderMap) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !host.to_ascii_lowercase().starts_with("mta-sts.") {
        return StatusCode::NOT_FOUND.into_response();
    }
    ([(CONTENT_TYPE, "text/plain")], policy.text()).into_response()
}

/// What lets requests to the operator's interface pass.
#[derive(Clone)]
struct Door {
    authenticator: Arc<Authenticator>,
    /// The networks whose clients read the metrics without a token.
    metrics_for: Arc<[IpNet]>,
}

impl Door {
    /// Returns whether a request needs no token.
    fn is_open(&self, request: &Request, client: ClientAddress) -> bool {
        let is_known = |ip| self.metrics_for.iter().any(|network| network.contains(&ip));
        request.uri().path() == http::METRICS
            && request.method() == Method::GET
            && client.ip().is_some_and(is_known)
    }
}

/// Lets a request pass that shows a token, or needs none.
async fn authorise(
    State(door): State<Door>,
    Extension(client): Extension<ClientAddress>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let token = match secret(request.headers()) {
        Some(secret) => door.authenticator.api_token(client, secret).await.map_err(refusal)?,
        None if door.is_open(&request, client) => {
            // The metrics are all that this request gets.
            request.extensions_mut().insert(Caller::Operator);
            return Ok(next.run(request).await);
        }
        None => {
            let detail = "show a token, Authorization: Bearer TOKEN; `posta token add` makes one";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "token-needed", detail));
        }
    };
    let caller = TokenCaller { token: Arc::new(token), client };
    request.extensions_mut().insert(Caller::Token(caller));
    Ok(next.run(request).await)
}

/// Returns the token in a request (RFC 6750 §2.1).
fn secret(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn refusal(error: LoginError) -> Problem {
    let (status, code, detail) = match error {
        LoginError::Credentials(_) => (
            StatusCode::UNAUTHORIZED,
            "token-refused",
            "there is no such token; `posta token list` shows those there are",
        ),
        LoginError::Disabled(_) => {
            (StatusCode::UNAUTHORIZED, "token-ended", "the token has ended; make a new one")
        }
        LoginError::Locked(_) => (
            StatusCode::TOO_MANY_REQUESTS,
            "locked-out",
            "too many failed logins from this network: wait a quarter of an hour",
        ),
        LoginError::Store(_) | LoginError::Tokens(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "store-failed",
            "tokens cannot be checked; the server's log says why",
        ),
    };
    Problem::new(status, code, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::trust::mta_sts::Mode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    fn web() -> Web {
        Web::new(Policy { mode: Mode::Enforce, mx: vec!["mail.x.test".into()], max_age: 60 })
    }

    #[tokio::test]
    async fn only_the_policy_is_told() {
        for (method, host, path, status) in [
            ("GET", "mta-sts.x.test", POLICY, "200"),
            ("GET", "MTA-STS.X.test", POLICY, "200"),
            ("GET", "x.test", POLICY, "404"),
            ("GET", "mta-sts.x.test", "/", "404"),
            ("POST", "mta-sts.x.test", POLICY, "405"),
            ("GET", "x.test", "/v1/account-list", "404"),
        ] {
            let (ours, theirs) = duplex(64 * 1024);
            let served =
                tokio::spawn(
                    async move { web().serve(Box::new(theirs), ClientAddress::Unknown).await },
                );
            let (mut ours, mut said) = (ours, String::new());
            let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            ours.write_all(request.as_bytes()).await.unwrap();
            ours.read_to_string(&mut said).await.unwrap();
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{said}");
            served.await.unwrap().unwrap();
        }
    }

    /// A client that says nothing, or does not read, is not waited for for ever.
    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_let_go() {
        for said in ["", "GET / HTTP/1.1\r\n"] {
            let (mut ours, theirs) = duplex(1024);
            ours.write_all(said.as_bytes()).await.unwrap();
            let web = web();
            let served = web.serve(Box::new(theirs), ClientAddress::Unknown);
            assert!(tokio::time::timeout(PATIENCE * 2, served).await.is_ok(), "{said:?}");
        }
    }

    #[test]
    fn a_token_is_read_from_its_header() {
        for (value, expected) in [
            ("Bearer posta_x", Some("posta_x")),
            ("bearer  posta_x ", Some("posta_x")),
            ("Basic posta_x", None),
            ("posta_x", None),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(secret(&headers), expected, "{value}");
        }
        assert_eq!(secret(&HeaderMap::new()), None);
    }
}
