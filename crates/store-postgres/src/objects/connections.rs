//! HTTP/1.1 connections to the object store, kept open between requests.

use super::{
    answers::{Call, S3Answer},
    clock,
    settings::{Bucket, ObjectSettings},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response,
    body::{Body as _, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_LENGTH, DATE, HeaderMap, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use posta_store::StoreError;
use rustls::pki_types::ServerName;
use std::{fmt::Display, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

/// The time in which a connection has to be made, TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// The time for which a connection is kept that nobody uses. Servers end such connections after 20 seconds or more.
const IDLE: Duration = Duration::from_secs(15);

/// The header field with an object's SHA-256 in base64.
const CHECKSUM: &str = "x-amz-checksum-sha256";

/// The connections.
pub(super) struct Connections {
    host: String,
    port: u16,
    /// The host, and the port if it is not the usual one.
    authority: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    idle: Mutex<Vec<Idle>>,
}

/// A connection that nobody uses.
struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection, and the task that moves its octets, which ends with it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Connections {
    /// Returns no connections yet.
    pub(super) fn new(settings: &ObjectSettings) -> Result<Self, StoreError> {
        let Bucket { is_secure, host, port, authority, .. } = settings.bucket()?;
        let tls = match is_secure {
            true => Some((settings.connector()?, server_name(&host)?)),
            false => None,
        };
        Ok(Self { host, port, authority, tls, idle: Mutex::default() })
    }

    /// Returns the host and its port, if that is not the usual one.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Sends a request and reads the answer. A kept connection may have been ended by the other side; the request is then
    /// sent over another, since each of them may be made twice.
    pub(super) async fn exchange(&self, call: &Call) -> Result<S3Answer, String> {
        while let Some(connection) = self.take_idle() {
            if let Ok(answer) = self.exchange_over(connection, call).await {
                return Ok(answer);
            }
        }
        let connection = timeout(CONNECT, self.connect()).await;
        let connection = connection.map_err(|_| "no connection in time".to_owned())??;
        self.exchange_over(connection, call).await
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        let usable = |it: &Idle| it.since.elapsed() < IDLE && !it.connection.sender.is_closed();
        std::iter::from_fn(|| idle.pop()).find(usable).map(|it| it.connection)
    }

    async fn connect(&self) -> Result<Connection, String> {
        let stream = TcpStream::connect((&self.host[..], self.port)).await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        match &self.tls {
            None => start(stream).await,
            Some((connector, name)) => {
                start(connector.connect(name.clone(), stream).await.map_err(text)?).await
            }
        }
    }

    async fn exchange_over(
        &self,
        mut connection: Connection,
        call: &Call,
    ) -> Result<S3Answer, String> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&call.target)
            .header(USER_AGENT, "posta");
        for (name, value) in &call.fields {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(call.body.clone())).map_err(text)?;
        connection.sender.ready().await.map_err(text)?;
        let response = connection.sender.send_request(request).await.map_err(text)?;
        let answer = read(response, call.most).await?;
        if connection.sender.ready().await.is_ok() {
            self.idle.lock().push(Idle { connection, since: Instant::now() });
        }
        Ok(answer)
    }
}

async fn start<S>(stream: S) -> Result<Connection, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let task = tokio::spawn(async move {
        if let Err(error) = driver.await {
            tracing::debug!("a connection to the object store ended: {error}");
        }
    });
    Ok(Connection { sender, task })
}

/// Reads an answer of at most `most` octets. One that promises more is not begun.
async fn read(response: Response<Incoming>, most: usize) -> Result<S3Answer, String> {
    let (head, body) = response.into_parts();
    let length = field(&head.headers, CONTENT_LENGTH.as_str()).and_then(|it| it.parse().ok());
    if body.size_hint().lower() > most as u64 {
        return Err(format!("an answer of {} octets", body.size_hint().lower()));
    }
    let body = Limited::new(body, most).collect().await.map_err(text)?.to_bytes();
    let checksum = field(&head.headers, CHECKSUM).map(str::to_owned);
    let date = field(&head.headers, DATE.as_str()).and_then(clock::date);
    Ok(S3Answer { status: head.status, length, checksum, date, body })
}

fn field<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn server_name(host: &str) -> Result<ServerName<'static>, StoreError> {
    let wrong = |_| StoreError::ObjectStore(format!("{host} is no name for TLS"));
    ServerName::try_from(host.to_owned()).map_err(wrong)
}

fn text(error: impl Display) -> String {
    error.to_string()
}
