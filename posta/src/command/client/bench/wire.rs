//! One connection of the generator.

use anyhow::{Context, Result, bail, ensure};
use memchr::{memchr, memmem};
use posta_net::{
    tls::client::{ClientTls, Verify},
    transport::Stream,
};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The size of a read, in octets.
const BUFFER: usize = 64 * 1024;

/// A connection and its read buffer.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The limit of every wait: a server that accepts a connection and says nothing must not hold the
    /// generator for ever.
    patience: Duration,
}

/// Returns the time, for measuring.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

impl Wire {
    pub(crate) async fn connect(
        server: &str,
        tls: Option<&ClientTls>,
        patience: Duration,
    ) -> Result<Self> {
        let connected = timeout(patience, TcpStream::connect(server)).await;
        let stream = connected.context("no connection in time")?.context("no connection")?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(tls) => {
                let connected =
                    timeout(patience, tls.connect(Box::new(stream), "localhost", &Verify::Anyone));
                connected.await.context("no TLS in time")??.0
            }
        };
        Ok(Self { stream, buffer: Vec::new(), start: 0, end: 0, patience })
    }

    pub(crate) async fn write(&mut self, octets: &[u8]) -> Result<()> {
        timeout(self.patience, self.stream.write_all(octets))
            .await
            .context("the server does not read")??;
        Ok(())
    }

    /// Reads an SMTP reply and checks its code.
    pub(crate) async fn reply(&mut self, code: &[u8; 3]) -> Result<()> {
        loop {
            let line = self.line().await?;
            ensure!(line.starts_with(code), "{}", line.escape_ascii());
            if line.get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }

    /// Reads a POP3 status line, checks that it is positive, and returns its text.
    pub(crate) async fn status(&mut self) -> Result<&[u8]> {
        let line = self.line().await?;
        match line.strip_prefix(b"+OK") {
            Some(words) => Ok(words),
            None => bail!("{}", line.escape_ascii()),
        }
    }

    /// Reads a multi-line POP3 response and returns its octets.
    pub(crate) async fn response(&mut self) -> Result<usize> {
        self.status().await?;
        // The CRLF of the status line is still in the buffer, before `start`.
        let mut octets = 0;
        let mut from = self.start - 2;
        loop {
            if let Some(found) = memmem::find(&self.buffer[from..self.end], b"\r\n.\r\n") {
                let end = from + found + 5;
                octets += end - self.start;
                self.start = end;
                return Ok(octets);
            }
            // Keep the octets that may be the beginning of the end.
            let keep = (self.end - from).min(4);
            octets += self.end - self.start;
            self.buffer.copy_within(self.end - keep..self.end, 0);
            (self.start, self.end, from) = (keep, keep, 0);
            self.fill().await?;
        }
    }

    async fn line(&mut self) -> Result<&[u8]> {
        loop {
            if let Some(at) = memchr(b'\n', &self.buffer[self.start..self.end]) {
                let line = self.start..self.start + at;
                self.start = line.end + 1;
                let line = &self.buffer[line];
                return Ok(line.strip_suffix(b"\r").unwrap_or(line));
            }
            // Two octets before the next line stay, for `response`.
            let keep = self.start.min(2);
            self.buffer.copy_within(self.start - keep..self.end, 0);
            self.end -= self.start - keep;
            self.start = keep;
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<()> {
        self.buffer.resize(BUFFER, 0);
        ensure!(self.end < self.buffer.len(), "a line does not end");
        let read = timeout(self.patience, self.stream.read(&mut self.buffer[self.end..])).await;
        let octets = read.context("no answer in time")??;
        ensure!(octets > 0, "the server closed the connection");
        self.end += octets;
        Ok(())
    }

    /// Frees the buffer while the session is idle.
    pub(crate) fn rest(&mut self) {
        if self.start == self.end {
            (self.buffer, self.start, self.end) = (Vec::new(), 0, 0);
        }
    }
}
