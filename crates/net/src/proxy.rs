//! The PROXY protocol, versions 1 and 2: the first octets of a connection from a load balancer, which
//! name the client on whose behalf it connects.
//!
//! `listen` accepts the header only from networks that the operator lists, because the client's address
//! decides which limits apply and whether the client may relay.

use crate::transport::Stream;
use posta_mail::ClientAddress;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::timeout,
};

/// The time within which the header must arrive. A balancer sends it at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The maximal number of octets in a version 1 header, including CRLF.
const VERSION_1: usize = 107;

/// The octets at the beginning of a version 2 header.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The maximal number of octets in a version 2 header after its first 16: addresses and some extensions.
const VERSION_2: usize = 2_048;

/// The result of looking for a header.
#[derive(Debug, PartialEq, Eq)]
pub enum Header {
    /// More octets are needed.
    Incomplete,
    /// The length of the header in octets, and the client. The client is unknown if the balancer does
    /// not name one, and if the balancer connects on its own behalf, as for a health check (LOCAL).
    /// Otherwise an unnamed client would have the rights of the balancer's own address.
    Complete(usize, ClientAddress),
    /// The input does not begin with a header.
    Malformed,
}

/// Reads the header at the beginning of `input`, the first octets of a connection.
#[must_use]
pub fn parse(input: &[u8]) -> Header {
    let common = input.len().min(SIGNATURE.len());
    if input[..common] == SIGNATURE[..common] {
        return version_2(input);
    }
    let common = input.len().min(6);
    if input[..common] != b"PROXY "[..common] {
        return Header::Malformed;
    }
    version_1(input)
}

fn version_1(input: &[u8]) -> Header {
    let within = &input[..input.len().min(VERSION_1)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if input.len() < VERSION_1 { Header::Incomplete } else { Header::Malformed };
    };
    let Ok(line) = str::from_utf8(&input[..end]) else { return Header::Malformed };
    let mut words = line.split(' ').skip(1);
    let (family, source) = (words.next(), words.next());
    let client = match (family, source.map(str::parse::<IpAddr>)) {
        (Some("UNKNOWN"), _) => ClientAddress::Unknown,
        (Some("TCP4"), Some(Ok(client @ IpAddr::V4(_)))) => client.into(),
        (Some("TCP6"), Some(Ok(client @ IpAddr::V6(_)))) => client.into(),
        _ => return Header::Malformed,
    };
    if client != ClientAddress::Unknown && words.count() != 3 {
        return Header::Malformed;
    }
    Header::Complete(end + 2, client)
}

fn version_2(input: &[u8]) -> Header {
    let Some(&[command, family, high, low]) = input.get(12..16) else {
        return Header::Incomplete;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > VERSION_2 || command >> 4 != 2 {
        return Header::Malformed;
    }
    let Some(addresses) = input.get(16..16 + length) else { return Header::Incomplete };
    let client = match (command & 0xF, family >> 4) {
        (0, _) | (1, 0) => Some(ClientAddress::Unknown),
        (1, 1) if length >= 12 => {
            addresses.first_chunk::<4>().map(|ip| IpAddr::from(Ipv4Addr::from(*ip)).into())
        }
        (1, 2) if length >= 36 => {
            addresses.first_chunk::<16>().map(|ip| IpAddr::from(Ipv6Addr::from(*ip)).into())
        }
        _ => None,
    };
    client.map_or(Header::Malformed, |client| Header::Complete(16 + length, client))
}

/// Reads the header from a connection. Returns the rest of the connection, and the client.
///
/// # Errors
/// When there is no valid header within ten seconds.
pub async fn accept(mut stream: Box<dyn Stream>) -> io::Result<(Box<dyn Stream>, ClientAddress)> {
    let mut octets = Vec::with_capacity(256);
    let reading = async {
        loop {
            if stream.read_buf(&mut octets).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            match parse(&octets) {
                Header::Incomplete => {}
                Header::Malformed => return Err(io::ErrorKind::InvalidData.into()),
                Header::Complete(length, client) => return Ok((length, client)),
            }
        }
    };
    let (length, client) =
        timeout(PATIENCE, reading).await.map_err(|_| io::ErrorKind::TimedOut)??;
    if length == octets.len() {
        return Ok((stream, client));
    }
    Ok((Box::new(Prefixed { read: length, octets, stream }), client))
}

/// A connection some of whose octets have already been read, and are delivered first.
struct Prefixed {
    octets: Vec<u8>,
    read: usize,
    stream: Box<dyn Stream>,
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.octets[self.read..];
        if left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        self.read += count;
        if self.read == self.octets.len() {
            (self.octets, self.read) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_2_header(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, addresses].concat()
    }

    #[test]
    fn headers_of_both_versions() {
        let v4 = version_2_header(0x21, 0x11, &[192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2]);
        let mut addresses = [0; 36];
        addresses[15] = 1;
        let v6 = version_2_header(0x21, 0x21, &addresses);
        let local = version_2_header(0x20, 0, b"some extension");
        for (header, client) in [
            (&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..], Some("192.0.2.1")),
            (b"PROXY TCP6 ::1 ::2 1 2\r\n", Some("::1")),
            (b"PROXY UNKNOWN whatever\r\n", None),
            (&v4, Some("192.0.2.1")),
            (&v6, Some("::1")),
            (&local, None),
        ] {
            let client = client.map(|text| text.parse::<IpAddr>().unwrap().into());
            let client = client.unwrap_or(ClientAddress::Unknown);
            let with_more = [header, b"EHLO c\r\n"].concat();
            assert_eq!(parse(&with_more), Header::Complete(header.len(), client));
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]), Header::Incomplete, "{end} octets");
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let too_short = version_2_header(0x21, 0x11, &[192, 0, 2, 1]);
        let wrong_version = version_2_header(0x11, 0x11, &[0; 12]);
        let too_long = version_2_header(0x21, 0x11, &[0; VERSION_2 + 1]);
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        for header in [
            &b"EHLO c\r\n"[..],
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY \xff\r\n",
            endless.as_bytes(),
            &too_short,
            &wrong_version,
            &too_long,
        ] {
            assert_eq!(parse(header), Header::Malformed, "{}", header.escape_ascii());
        }
    }
}
