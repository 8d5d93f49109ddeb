//! Telling HTTP from the protocols of mail.
//!
//! A web page can have its visitor's browser send a request to any host and port, with a body of the
//! page's choice; so can whoever has a server fetch a URL. Request and fields are unknown commands to
//! a mail server, which used to answer and go on, and then read the body as commands of whoever sent
//! it: of somebody who is trusted, perhaps. So the first octets that are HTTP end the session.

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

/// Octets in the name of a field, beyond which a line is not taken for one.
const FIELD_NAME: usize = 64;

/// Returns whether a line begins as a request does. The line need not have come whole.
#[must_use]
pub fn begins_request(line: &[u8]) -> bool {
    let is_begun = |method: &&[u8]| {
        line.get(..method.len()).is_some_and(|start| start.eq_ignore_ascii_case(method))
    };
    METHODS.iter().any(is_begun)
}

/// Returns whether a line ends as a request does, with whatever method: `MAIL / HTTP/1.1`. A LF alone ends
/// a line of HTTP, too.
#[must_use]
pub fn ends_request(line: &[u8]) -> bool {
    line.split(|&octet| octet == b'\n').any(|line| {
        let last = line.rsplit(|&octet| octet == b' ').next().unwrap_or_default();
        last.len() < line.len()
            && last.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/"))
    })
}

/// Returns whether a line looks like a field of a header section, of HTTP or of a message: a name with
/// a colon right behind it. No command does.
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
