//! The framing that the SASL exchanges of all protocols share (RFC 4422): base64, `=` and `*`. The
//! meaning of the octets is decided by the code that answers the engines' questions.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// A message from the client of a SASL exchange, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// The first message, which names one of the offered mechanisms.
    Start {
        /// The mechanism's name, in upper case.
        mechanism: String,
        /// The initial response, if the client sent one together with the name.
        initial: Option<Vec<u8>>,
    },
    /// The response to a challenge.
    Response(Vec<u8>),
}

/// The beginning of an exchange, as chosen by a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The name of one of the mechanisms that the server offers.
    pub mechanism: String,
    /// The initial response to send with the name, if the mechanism lets the client speak first.
    pub initial: Option<Vec<u8>>,
}

/// The state of an exchange after a message from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress<T> {
    /// The server sends this challenge, and the client has to respond.
    Challenge(Vec<u8>),
    /// The client has proved its identity.
    Done(T),
}

/// The reason why a line is not a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoResponse {
    /// The client gives up, with `*` (RFC 4422 §5).
    #[error("the client gives up")]
    Cancelled,
    /// The line is not base64.
    #[error("no base64")]
    NoBase64,
}

/// Parses the first message of an exchange. `=` is an empty initial response (RFC 4954 §4, RFC 5034 §4).
///
/// # Errors
/// When the initial response is not base64.
pub fn start(mechanism: String, initial: Option<&[u8]>) -> Result<Exchange, NoResponse> {
    let initial = match initial {
        None => None,
        Some(b"=") => Some(Vec::new()),
        Some(text) => Some(decode(text)?),
    };
    Ok(Exchange::Start { mechanism, initial })
}

/// Decodes a line that responds to a challenge. A client decodes the server's challenges by the same
/// rules.
///
/// # Errors
/// When the client cancels the exchange instead, or the line is not base64.
pub fn response(line: &[u8]) -> Result<Vec<u8>, NoResponse> {
    if line == b"*" {
        return Err(NoResponse::Cancelled);
    }
    decode(line)
}

fn decode(text: &[u8]) -> Result<Vec<u8>, NoResponse> {
    BASE64.decode(text).map_err(|_| NoResponse::NoBase64)
}

/// Encodes a challenge or a response as a line.
#[must_use]
pub fn challenge(octets: &[u8]) -> String {
    BASE64.encode(octets)
}

/// Encodes an initial response as it follows the mechanism's name, including the space before it. An
/// empty response becomes `=` (RFC 4954 §4, RFC 5034 §4).
#[must_use]
pub fn initial(octets: &[u8]) -> String {
    if octets.is_empty() { " =".to_owned() } else { format!(" {}", challenge(octets)) }
}
