//! Recognising HTTP on a port that speaks a mail protocol.
//!
//! A web page can make its visitor's browser send a request to any host and port, with a body that the
//! page chooses, and so can anyone who gets a server to fetch a URL. A mail server that answers the
//! request line and the fields as unknown commands, and goes on, reads the body as commands from that
//! browser or server, which may be trusted. Therefore a session ends at the first line that is HTTP.

/// The methods of RFC 9110 §9.3 and RFC 5789.
const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"OPTIONS ",
    b"CONNECT ",
    b"DELETE ",
    b"TRACE ",
    b"PATCH ",
];

/// The maximal number of octets in a field name; a line with a longer name is not taken for a field.
const FIELD_NAME: usize = 64;

/// Returns whether a line begins like an HTTP request. The line may be incomplete.
#[must_use]
pub fn begins_request(line: &[u8]) -> bool {
    let is_begun = |method: &&[u8]| {
        line.get(..method.len()).is_some_and(|start| start.eq_ignore_ascii_case(method))
    };
    METHODS.iter().any(is_begun)
}

/// Returns whether a line ends like an HTTP request with any method, for example `MAIL / HTTP/1.1`. In
/// HTTP, a lone LF ends a line too.
#[must_use]
pub fn ends_request(line: &[u8]) -> bool {
    line.split(|&octet| octet == b'\n').any(|line| {
        let last = line.rsplit(|&octet| octet == b' ').next().unwrap_or_default();
        last.len() < line.len()
            && last.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/"))
    })
}

/// Returns whether a line looks like a field of a header section, in HTTP or in a message: a name
/// directly followed by a colon. No command looks like that.
#[must_use]
pub fn is_field(line: &[u8]) -> bool {
    let is_name = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_".contains(octet);
    let name = line.iter().take(FIELD_NAME + 1).position(|octet| !is_name(octet));
    name.is_some_and(|end| end > 0 && line[end] == b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_known_by_its_lines() {
        for line in ["GET / HTTP/1.1", "get ", "POST http://x.test/", "PATCH /"] {
            assert!(begins_request(line.as_bytes()), "{line}");
        }
        for line in ["GE", "GET", "GETS x", "HELO c.test", "HELP", "PASS GET x", "TOP 1 1", ""] {
            assert!(!begins_request(line.as_bytes()), "{line}");
        }
        for line in ["MAIL / HTTP/1.1", "x y http/2", "QUERY / HTTP/1.0\nHost: x.test"] {
            assert!(ends_request(line.as_bytes()), "{line}");
        }
        for line in ["HTTP/1.1", "NOOP", "MAIL FROM:<a@x.test>", "VRFY a/b", ""] {
            assert!(!ends_request(line.as_bytes()), "{line}");
        }
        for line in ["Host: x.test", "Content-Length:5", "X_y:"] {
            assert!(is_field(line.as_bytes()), "{line}");
        }
        for line in ["MAIL FROM:<a@x.test>", "USER a:b", ":", "", "NOOP", "AUTH PLAIN a"] {
            assert!(!is_field(line.as_bytes()), "{line}");
        }
    }
}
