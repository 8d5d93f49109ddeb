//! Plain HTTP, on port 80: the answers to authorities that check whether a name leads here (http-01, RFC 8555
//! §8.3). Every other request for a name is sent to the same place over HTTPS, if that is served.

use super::{HEAD, PATIENCE};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use posta_mail::Domain;
use posta_net::{tls::server::challenges::Challenges, transport::Stream};
use std::{convert::Infallible, io};
use tokio::time::timeout;

/// The path of the answers, in front of the token (RFC 8555 §8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// What plain HTTP serves.
#[derive(Debug, Clone, Default)]
pub struct PlainWeb {
    /// The answers to authorities.
    pub challenges: Challenges,
    /// Whether there is a listener for HTTPS to which other requests are sent.
    pub has_https: bool,
}

impl PlainWeb {
    /// Serves one connection.
    ///
    /// # Errors
    /// When the connection fails, or takes longer than 30 seconds.
    pub async fn serve(&self, stream: Box<dyn Stream>) -> io::Result<()> {
        let service = service_fn(|request: Request<Incoming>| async move {
            Ok::<_, Infallible>(self.answer(&request).await)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .keep_alive(false)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(stream), service);
        timeout(PATIENCE, connection).await?.map_err(io::Error::other)
    }

    async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return response(StatusCode::METHOD_NOT_ALLOWED, String::new());
        }
        if let Some(token) = request.uri().path().strip_prefix(CHALLENGES) {
            return match self.challenges.token(token).await {
                Some(answer) => response(StatusCode::OK, answer),
                None => response(StatusCode::NOT_FOUND, String::new()),
            };
        }
        let place = self.has_https.then(|| secure_place(request)).flatten();
        let Some(place) = place else { return response(StatusCode::NOT_FOUND, String::new()) };
        let mut moved = response(StatusCode::PERMANENT_REDIRECT, String::new());
        moved.headers_mut().insert(LOCATION, place);
        moved
    }
}

/// Returns the address of what a request asks for, over HTTPS.
fn secure_place<B>(request: &Request<B>) -> Option<HeaderValue> {
    let host = request.headers().get(HOST)?.to_str().ok()?;
    let host: Domain = host.strip_suffix(":80").unwrap_or(host).parse().ok()?;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    HeaderValue::try_from(format!("https://{host}{path}")).ok()
}

fn response(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn challenges_are_answered_and_everything_else_is_sent_to_https() {
        let mut web = PlainWeb { has_https: true, ..PlainWeb::default() };
        let answering = web.challenges.answer_http("abc", "abc.thumb").await.unwrap();
        let ask = async |web: &PlainWeb, method: &str, host: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).header("host", host);
            let answer = web.answer(&request.body(()).unwrap()).await;
            let place =
                answer.headers().get(LOCATION).map(|place| place.to_str().unwrap().to_owned());
            (answer.status().as_u16(), place.unwrap_or_default())
        };
        let none = String::new();
        for (method, host, path, expected) in [
            ("GET", "x.test", "/.well-known/acme-challenge/abc", (200, none.clone())),
            ("GET", "x.test", "/.well-known/acme-challenge/abd", (404, none.clone())),
            ("POST", "x.test", "/.well-known/acme-challenge/abc", (405, none.clone())),
            ("GET", "X.test:80", "/a?b=c", (308, "https://x.test/a?b=c".to_owned())),
            ("GET", "x.test/@y.test", "/", (404, none.clone())),
            ("GET", "", "/", (404, none.clone())),
        ] {
            assert_eq!(ask(&web, method, host, path).await, expected, "{method} {host} {path}");
        }
        drop(answering);
        assert_eq!(ask(&web, "GET", "x.test", "/.well-known/acme-challenge/abc").await.0, 404);
        web.has_https = false;
        assert_eq!(ask(&web, "GET", "x.test", "/").await.0, 404);
    }
}
