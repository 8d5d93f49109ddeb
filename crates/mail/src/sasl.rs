//! The framing that the SASL exchanges of all protocols share (RFC 4422): base64, `=`, `*`. What the
//! octets mean is not the protocols' business.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// A piece of a SASL exchange, out of its base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// It begins, with one of the mechanisms that are offered.
    Start {
        /// Which, in upper case.
        mechanism: String,
        /// What the client said at once.
        initial: Option<Vec<u8>>,
    },
    /// The client's answer to a challenge.
    Response(Vec<u8>),
    /// The client gives up, with `*` or with what is no answer. Told so that nobody can try names,
    /// passwords or tokens and have none of it counted.
    Cancel,
}

/// Text that is no base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no base64")]
pub struct NoBase64;

/// The beginning of an exchange. `=` is an initial response of no octets (RFC 4954 §4, RFC 5034 §4).
///
/// # Errors
/// When the initial response is no base64.
pub fn start(mechanism: String, initial: Option<&[u8]>) -> Result<Exchange, NoBase64> {
    let initial = match initial {
        None => None,
        Some(b"=") => Some(Vec::new()),
        Some(text) => Some(BASE64.decode(text).map_err(|_| NoBase64)?),
    };
    Ok(Exchange::Start { mechanism, initial })
}

/// Returns what a line in answer to a challenge says: `*` gives up (RFC 4422 §5).
///
/// # Errors
/// When it is no base64.
pub fn response(line: &[u8]) -> Result<Exchange, NoBase64> {
    if line == b"*" {
        return Ok(Exchange::Cancel);
    }
    BASE64.decode(line).map(Exchange::Response).map_err(|_| NoBase64)
}

/// A challenge, as it stands in a line.
#[must_use]
pub fn challenge(octets: &[u8]) -> String {
    BASE64.encode(octets)
}

/// An initial response, as it stands behind the mechanism, with the space before it: no octets are
/// `=` (RFC 4954 §4, RFC 5034 §4).
#[must_use]
pub fn initial(octets: &[u8]) -> String {
    if octets.is_empty() { " =".to_owned() } else { format!(" {}", challenge(octets)) }
}
