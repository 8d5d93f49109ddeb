//! A connection whose lines are told to a narrator as they go over it.

use super::narrate::{Narrator, Who};
use posta_net::transport::Stream;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Wraps the client's end of a connection.
pub(super) struct Tap {
    inner: Box<dyn Stream>,
    narrator: Narrator,
    client: Vec<u8>,
    server: Vec<u8>,
}

impl Tap {
    pub(super) fn new(inner: Box<dyn Stream>, narrator: Narrator) -> Self {
        Self { inner, narrator, client: Vec::new(), server: Vec::new() }
    }
}

/// Tells the whole lines, and keeps what is left.
fn tell(narrator: &mut Narrator, who: Who, pending: &mut Vec<u8>, octets: &[u8]) {
    pending.extend_from_slice(octets);
    while let Some(end) = memchr::memchr(b'\n', pending) {
        let line: Vec<u8> = pending.drain(..=end).collect();
        narrator.line(who, String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        tell(&mut this.narrator, Who::Server, &mut this.server, &buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write(context, octets))?;
        tell(&mut this.narrator, Who::Client, &mut this.client, &octets[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}
