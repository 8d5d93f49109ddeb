//! A request to rspamd: the content streams into it from the store.

use super::{Failure, content::FilterContent};
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use hyper::{HeaderMap, Request, header::HeaderValue};
use posta_filters::{
    facts::MessageFacts,
    rspamd::{self, PATH, REPLY},
    verdict::FilterVerdict,
};
use posta_net::{https, transport::Stream};
use posta_store::StoreError;

/// Pieces of the content that wait to be sent.
const AHEAD: usize = 1;

/// Asks rspamd about a message.
pub(super) async fn ask(
    stream: Box<dyn Stream>,
    facts: &MessageFacts,
    content: &FilterContent<'_>,
) -> Result<FilterVerdict, Failure> {
    let (sender, body) = Channel::new(AHEAD);
    let mut request = Request::post(PATH)
        .header("host", "rspamd")
        .header("content-length", content.octets())
        .body(body)
        .map_err(|error| Failure::Filter(error.to_string()))?;
    add_fields(request.headers_mut(), facts);
    let (sent, response) =
        tokio::join!(send(sender, content), https::exchange(stream, request, REPLY));
    sent.map_err(Failure::Store)?;
    let response = response.map_err(Failure::Filter)?;
    if !response.status.is_success() {
        return Err(Failure::Filter(format!("it answered {}", response.status)));
    }
    rspamd::verdict(&response.body).map_err(|error| Failure::Filter(error.to_string()))
}

fn add_fields(headers: &mut HeaderMap, facts: &MessageFacts) {
    for (name, value) in rspamd::request_fields(facts) {
        // Only the name that a client gave itself may be unfit for a field; rspamd does without it.
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.append(name, value);
        }
    }
}

/// Sends the content. If rspamd stops reading it, that is no error: its reply decides.
async fn send(mut sender: Sender<Bytes>, content: &FilterContent<'_>) -> Result<(), StoreError> {
    let mut index = 0;
    while let Some(piece) = content.piece(index).await? {
        if sender.send_data(piece).await.is_err() {
            return Ok(());
        }
        index += 1;
    }
    Ok(())
}
