//! One request over HTTP, and its answer: for the few things that mail looks up on the web.

use crate::{
    dial::Dialer,
    dns::Resolver,
    tls::{
        client::{ClientTls, Verify},
        failure::Failure,
        words,
    },
    transport::Stream,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::CONTENT_TYPE};
use hyper_util::rt::TokioIo;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// The port of HTTPS.
const PORT: u16 = 443;

/// What the other side answered.
pub struct Answer {
    /// The status, such as 200.
    pub status: StatusCode,
    /// Its media type, without parameters, in lower case.
    pub kind: String,
    /// The content, whole.
    pub body: Bytes,
}

/// Sends a request over a connection, and reads the answer: at most so many octets of it.
pub async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Answer, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let connection = tokio::spawn(connection);
    let answered = async {
        let answer = sender.send_request(request).await.map_err(text)?;
        let status = answer.status();
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
        let kind = kind.trim().to_ascii_lowercase();
        let body = Limited::new(answer.into_body(), most).collect().await.map_err(text)?;
        Ok(Answer { status, kind, body: body.to_bytes() })
    }
    .await;
    connection.abort();
    answered
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The server is not known to be the one that was asked for.
    #[error("its certificate: {0}")]
    Certificate(String),
    /// Everything else, in words.
    #[error("{0}")]
    Other(String),
}

/// What a request over HTTPS to a host that DNS names takes.
#[derive(Clone)]
pub struct Web {
    /// Connections to hosts that strangers name.
    pub dialer: Dialer,
    /// Where hosts are.
    pub resolver: Arc<dyn Resolver>,
    /// TLS, with the authorities that are believed.
    pub tls: ClientTls,
}

impl Web {
    /// The same to a host that DNS names, with a certificate for that name, within so much time.
    pub async fn ask(
        &self,
        host: &str,
        request: Request<Full<Bytes>>,
        most: usize,
        patience: Duration,
    ) -> Result<Answer, WebError> {
        let asked = async {
            let addresses = self.resolver.addresses(host).await.map_err(other)?.found;
            let mut targets = self.dialer.strangers_host(addresses, PORT).map_err(other)?;
            let connected = self.dialer.connect(&mut targets, patience).await;
            let (stream, _) = connected.map_err(WebError::Other)?;
            let secured = self.tls.connect(stream, host, &Verify::Authorities).await;
            let (stream, _) = secured.map_err(|error| match words::failure(&error) {
                Failure::ValidationFailure => other(error),
                _ => WebError::Certificate(text(error)),
            })?;
            exchange(stream, request, most).await.map_err(WebError::Other)
        };
        timeout(patience, asked).await.unwrap_or_else(|_| Err(other("no answer in time")))
    }
}

fn other(error: impl std::fmt::Display) -> WebError {
    WebError::Other(text(error))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
