//! A small HTTPS client for the few things that mail needs from the web: fetching MTA-STS policies,
//! delivering TLS reports, and checking OAuth tokens.

use crate::{
    dial::Dialer,
    dns::Resolver,
    tls::{
        client::{ClientTls, Verify},
        failure::TlsFailure,
        words,
    },
    transport::Stream,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::{Body, Bytes},
    client::conn::http1,
    header::CONTENT_TYPE,
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time::timeout;

/// The port of HTTPS.
const PORT: u16 = 443;

/// A server's response, read completely.
pub struct HttpResponse {
    /// The status code, such as 200.
    pub status: StatusCode,
    /// The media type, in lower case and without parameters; empty if the server names none.
    pub media_type: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Sends a request over a connection and reads the response, whose body may have at most `most` octets.
///
/// # Errors
/// When the connection fails, the response breaks the protocol, or the body is too large; in words.
pub async fn exchange<B>(
    stream: Box<dyn Stream>,
    request: Request<B>,
    most: usize,
) -> Result<HttpResponse, String>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let connection = tokio::spawn(connection);
    let response = async {
        let response = sender.send_request(request).await.map_err(text)?;
        let status = response.status();
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let media_type = content_type.and_then(|kind| kind.split(';').next()).unwrap_or_default();
        let media_type = media_type.trim().to_ascii_lowercase();
        let headers = response.headers().clone();
        let body = Limited::new(response.into_body(), most).collect().await.map_err(text)?;
        Ok(HttpResponse { status, media_type, headers, body: body.to_bytes() })
    }
    .await;
    connection.abort();
    response
}

/// The reason why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// The certificate does not prove the server's identity. Contains the fault, in words.
    #[error("its certificate: {0}")]
    Certificate(String),
    /// Any other failure, in words.
    #[error("{0}")]
    Other(String),
}

/// Sends HTTPS requests to hosts whose names come from strangers.
#[derive(Clone)]
pub struct HttpsClient {
    /// Opens the connections, to public addresses only.
    pub dialer: Dialer,
    /// Finds the hosts' addresses.
    pub resolver: Arc<dyn Resolver>,
    /// Negotiates TLS, with the trusted authorities.
    pub tls: ClientTls,
}

impl HttpsClient {
    /// Sends a request to `host`, which must have a certificate for that name, and reads the response
    /// within `patience`. The body may have at most `most` octets.
    ///
    /// # Errors
    /// When there is no complete response in time.
    pub async fn request(
        &self,
        host: &str,
        request: Request<Full<Bytes>>,
        most: usize,
        patience: Duration,
    ) -> Result<HttpResponse, HttpsError> {
        let response = async {
            let addresses = self.resolver.addresses(host).await.map_err(other)?.found;
            let mut targets = self.dialer.strangers_host(addresses, PORT).map_err(other)?;
            let connected = self.dialer.connect(&mut targets, patience).await;
            let (stream, _) = connected.map_err(HttpsError::Other)?;
            let secured = self.tls.connect(stream, host, &Verify::Authorities).await;
            let (stream, _) = secured.map_err(|error| match words::failure(&error) {
                TlsFailure::ValidationFailure => other(error),
                _ => HttpsError::Certificate(text(error)),
            })?;
            exchange(stream, request, most).await.map_err(HttpsError::Other)
        };
        timeout(patience, response).await.unwrap_or_else(|_| Err(other("no answer in time")))
    }
}

fn other(error: impl std::fmt::Display) -> HttpsError {
    HttpsError::Other(text(error))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
