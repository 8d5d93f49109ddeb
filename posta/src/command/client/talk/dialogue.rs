//! A dialogue with a server: passes lines between both sides, and shows each with its meaning.

use super::{
    Protocols,
    input::{self, Input, Terminal},
    login::{self, Login},
    protocol::{Line, Protocol, Turn},
    screen::{self, Who, note, show, show_meaning},
    script::Comparison,
};
use crate::fault::{demand, fail, fault};
use anyhow::Result;
use posta_net::{
    client_session::ClientSession,
    socket_words::no_tls,
    tls::client::{ClientTls, Verify},
    transport::Stream,
};
use std::time::Duration;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    time::timeout,
};

/// The longest line that is read from a server, in octets: a hostile server must not fill the memory.
const LINE: u64 = 64 * 1024;
/// The lines of a reply that are kept to be compared.
const REPLY: usize = 10_000;
/// The time for which a server may be silent (RFC 5321 §4.5.3.2 has ten minutes at most for one reply).
const SILENCE: Duration = Duration::from_secs(600);

/// How TLS is negotiated.
pub(super) struct TlsSettings {
    pub(super) client: ClientTls,
    pub(super) name: String,
    pub(super) verify: Verify,
}

/// A connection to a server, and what is known of the session.
pub(super) struct Dialogue {
    pub(super) which: Protocols,
    pub(super) protocol: Box<dyn Protocol>,
    /// `None` while TLS is negotiated.
    stream: Option<BufReader<Box<dyn Stream>>>,
    tls: TlsSettings,
    session: ClientSession,
    input: Input,
    pub(super) comparison: Comparison,
    login: Option<Login>,
}

impl Dialogue {
    pub(super) fn new(
        which: Protocols,
        stream: Box<dyn Stream>,
        tls: TlsSettings,
        input: Input,
        comparison: Comparison,
    ) -> Self {
        let stream = Some(BufReader::new(stream));
        let (protocol, session) = (which.protocol(), ClientSession::default());
        Self { which, protocol, stream, tls, session, input, comparison, login: None }
    }

    /// Passes lines between both sides until the session is over.
    ///
    /// # Errors
    /// When the connection or the handshake of TLS fails.
    pub(super) async fn run(&mut self, is_implicit: bool) -> Result<()> {
        if is_implicit {
            self.secure().await?;
        }
        let mut turn = Turn::Server;
        loop {
            turn = match turn {
                Turn::Server => match self.reply().await? {
                    Some(turn) => turn,
                    None => return self.closed(),
                },
                Turn::Tls => {
                    self.secure().await?;
                    self.protocol.secured();
                    Turn::Command
                }
                Turn::Over => return Ok(()),
                Turn::Command | Turn::Content | Turn::Response => match self.client(turn).await? {
                    Some(turn) => turn,
                    None => return Ok(()),
                },
            };
        }
    }

    fn closed(&self) -> Result<()> {
        note("the server has closed the connection");
        demand!(
            self.comparison.replies > 0,
            "server-closed",
            "the server closed the connection without a greeting: if TLS comes first on that port, use --tls"
        );
        Ok(())
    }

    /// Has the client say its next line. Returns `None` at the end of the input.
    async fn client(&mut self, turn: Turn) -> Result<Option<Turn>> {
        if let Some(login) = &mut self.login {
            if turn == Turn::Response {
                let line = login.response(&mut self.session);
                return self.send(&line, Some(login::HIDDEN)).await.map(Some);
            }
            self.login = None;
        }
        let Some(line) = self.next_line(turn).await? else { return Ok(None) };
        if turn == Turn::Command && line.starts_with('/') && self.input.is_terminal() {
            return self.local(&line).await;
        }
        let shown = match turn {
            _ if self.input.is_terminal() => None,
            Turn::Response => Some(login::HIDDEN.to_owned()),
            Turn::Command => Some(login::without_secret(&line)),
            _ => Some(line.clone()),
        };
        self.send(&line, shown.as_deref()).await.map(Some)
    }

    /// Waits for the client's next line. A server that speaks meanwhile is heard.
    async fn next_line(&mut self, turn: Turn) -> Result<Option<String>> {
        let (Input::Terminal(terminal), Some(stream)) = (&mut self.input, &mut self.stream) else {
            return self.input.line(turn).await;
        };
        let Terminal { requests, printer } = terminal;
        let typed = input::ask(requests, turn);
        tokio::pin!(typed);
        tokio::select! {
            line = &mut typed => return line,
            early = stream.fill_buf() => {
                let words = match early {
                    Ok([]) | Err(_) => "the server has closed the connection: Enter ends this".to_owned(),
                    Ok(octets) => format!("the server says: {}", screen::first_line(octets)),
                };
                let _ = printer.print(format!("  ─ {words} ─\n"));
            }
        }
        typed.await
    }

    /// Carries out a command of this program.
    async fn local(&mut self, line: &str) -> Result<Option<Turn>> {
        match line.trim_end() {
            "/quit" => return self.send("QUIT", None).await.map(Some),
            "/example" => self.which.example().show(&mut *self.which.protocol()),
            "/login" => match Login::ask(self.which, &*self.protocol, &mut self.session).await? {
                Some((login, line, shown)) => {
                    self.login = Some(login);
                    return self.send(&line, Some(&shown)).await.map(Some);
                }
                None => note(&login::impossible(self.which)),
            },
            _ => note(
                "Tab completes commands; /login logs in; /example shows webmail.home's dialogue; /quit ends",
            ),
        }
        Ok(Some(Turn::Command))
    }

    /// Sends a line of the client. `shown` is displayed in its place; without it, its writer sees the line already.
    async fn send(&mut self, line: &str, shown: Option<&str>) -> Result<Turn> {
        let Line { meaning, turn } = self.protocol.sent(line);
        match shown {
            None => show_meaning(&meaning),
            Some(shown) => show(Who::Client, shown, &meaning),
        }
        let Some(stream) = &mut self.stream else {
            fail!("server-closed", "the connection is gone")
        };
        // A server that has closed the connection may have said why.
        let sent = stream.write_all(format!("{line}\r\n").as_bytes()).await;
        if sent.is_ok() {
            let _ = stream.flush().await;
        }
        Ok(if sent.is_err() { Turn::Server } else { turn })
    }

    /// Reads and shows a whole reply. Returns whose turn it is then; `None` if the server has closed the connection.
    async fn reply(&mut self) -> Result<Option<Turn>> {
        let mut lines = Vec::new();
        loop {
            let Some(line) = self.read_line().await? else { return Ok(None) };
            let Line { meaning, turn } = self.protocol.received(&line);
            show(Who::Server, &line, &meaning);
            if turn == Turn::Response
                && let (Some(login), Some(challenge)) =
                    (&mut self.login, self.protocol.challenge(&line))
            {
                login.challenged(challenge);
            }
            if lines.len() < REPLY {
                lines.push(line);
            }
            if turn != Turn::Server {
                self.compare(&lines);
                return Ok(Some(turn));
            }
        }
    }

    fn compare(&mut self, found: &[String]) {
        match &mut self.input {
            Input::Script(script) => {
                let expected: Vec<String> = std::iter::from_fn(|| script.server()).collect();
                self.comparison.reply(&expected, found);
            }
            Input::Terminal(_) | Input::Pipe => self.comparison.replies += 1,
        }
    }

    /// Reads a line of the server, without its line end. Returns `None` at the end.
    async fn read_line(&mut self) -> Result<Option<String>> {
        let Some(stream) = &mut self.stream else {
            fail!("server-closed", "the connection is gone")
        };
        let mut line = Vec::new();
        let mut limited = stream.take(LINE);
        let read = timeout(SILENCE, limited.read_until(b'\n', &mut line)).await;
        let Ok(read) = read else {
            fail!("server-silent", "the server has said nothing for ten minutes")
        };
        let length = read? as u64;
        demand!(length < LINE, "line-too-long", "the server sends a line without an end");
        let line = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        Ok((length > 0).then_some(line))
    }

    /// Negotiates TLS.
    async fn secure(&mut self) -> Result<()> {
        let Some(stream) = self.stream.take() else {
            fail!("server-closed", "the connection is gone")
        };
        // Octets from before TLS would pass for octets inside it (CVE-2011-0411).
        demand!(
            stream.buffer().is_empty(),
            "tls-injection",
            "the server goes on to speak before TLS has begun"
        );
        let TlsSettings { client, name, verify } = &self.tls;
        let secured = self.session.secure(stream.into_inner(), client, name, verify).await;
        let (stream, about) = secured.map_err(|error| fault("tls-failed", no_tls(name, &error)))?;
        note(&format!("TLS has begun: {about}"));
        self.stream = Some(BufReader::new(stream));
        Ok(())
    }
}
