//! The HTTP requests of the ACME client, over this crate's own connections. The authority is one that the
//! operator chose, so it may be at any address; but nothing is sent outside TLS.

use crate::{
    dial::Dialer,
    https::{self, HttpsClient},
    tls::client::Verify,
};
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, Uri, body::Bytes, header::RETRY_AFTER};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use parking_lot::Mutex;
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::time::timeout;

/// The time within which the authority must answer a request.
const PATIENCE: Duration = Duration::from_secs(60);

/// The maximal number of octets in an answer.
const ANSWER: usize = 256 * 1024;

/// The longest time that an authority can make this server wait.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Sends requests to an authority.
#[derive(Clone)]
pub(super) struct AuthorityClient {
    https: HttpsClient,
    /// The wait that the last refusal asked for.
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl AuthorityClient {
    pub(super) fn new(https: HttpsClient) -> Self {
        Self { https, retry_after: Arc::default() }
    }

    /// Returns the wait that the last refusal asked for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        *self.retry_after.lock()
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, String> {
        let uri = request.uri().clone();
        let text = |error: std::io::Error| error.to_string();
        let host = uri.host().ok_or("the address names no host")?;
        if uri.scheme_str() != Some("https") {
            return Err("its address does not begin with https://".to_owned());
        }
        let port = uri.port_u16().unwrap_or(443);
        let HttpsClient { dialer, resolver, tls } = &self.https;
        let addresses = match host.trim_matches(['[', ']']).parse() {
            Ok(address) => vec![address],
            Err(_) => resolver.addresses(host).await.map_err(|error| error.to_string())?.found,
        };
        if addresses.is_empty() {
            return Err(format!("{host} has no address in DNS"));
        }
        let mut targets = Dialer::configured_host(addresses, port);
        let (stream, _) = dialer.connect(&mut targets, PATIENCE).await?;
        let (stream, _) = tls.connect(stream, host, &Verify::Authorities).await.map_err(text)?;
        let answer = https::exchange(stream, in_origin_form(request)?, ANSWER).await?;
        let is_refusal = matches!(
            answer.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        let wait = answer.headers.get(RETRY_AFTER).filter(|_| is_refusal);
        let wait = wait.and_then(|wait| wait.to_str().ok()?.trim().parse().ok());
        *self.retry_after.lock() = wait.map(|wait| Duration::from_secs(wait).min(LONGEST_WAIT));
        let mut response = Response::new(Full::new(answer.body));
        (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
        Ok(response.into())
    }
}

impl HttpClient for AuthorityClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (exchange, uri) = (self.clone(), request.uri().clone());
        Box::pin(async move {
            let sent = timeout(PATIENCE, exchange.send(request)).await;
            let sent = sent.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            sent.map_err(|why| {
                let host = uri.authority().map_or("", |authority| authority.as_str());
                Error::Other(format!("the authority {host} cannot be asked: {why}").into())
            })
        })
    }
}

/// Returns the request as HTTP/1.1 has it on a connection to the server itself.
fn in_origin_form<B>(mut request: Request<B>) -> Result<Request<B>, String> {
    let uri = request.uri();
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let host = host.parse().map_err(|_| "the host's name is not one of HTTP".to_owned())?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path: Uri = path.parse().map_err(|_| "the path is not one of HTTP".to_owned())?;
    request.headers_mut().insert("host", host);
    *request.uri_mut() = path;
    Ok(request)
}
