//! The one loop that moves octets between a connection and an engine, whatever the protocol and
//! the side.
//!
//! A session that waits holds no buffer: input is read into one that is borrowed from a
//! pool when octets arrive and given back when the engine has consumed them.

use crate::transport::Stream;
use parking_lot::Mutex;
use posta_mail::{Engine, Interrupt, Pace, Step};
use std::{
    future::{Future, poll_fn, ready},
    io,
    pin::Pin,
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

/// Octets read at a time.
const INPUT: usize = 64 * 1024;

/// Buffers kept for the next session that needs one.
const POOLED: usize = 64;

/// Octets of output that are worth a write of their own.
const OUTPUT: usize = 32 * 1024;

/// Octets of output buffer that a waiting session may keep.
const OUTPUT_KEPT: usize = 512;

/// Answers an engine's questions and takes the content that it hands on.
pub trait Host<E: Engine>: Send {
    /// Answers a question.
    fn answer(&mut self, question: E::Question) -> impl Future<Output = E::Answer> + Send;

    /// Takes a piece of content.
    fn content(&mut self, content: &[u8]) -> impl Future<Output = ()> + Send;

    /// Returns whether nothing that may still come is of use, so that the session ends at once, even in
    /// the middle of content.
    fn has_enough(&self) -> bool {
        false
    }

    /// How long the other side may send nothing before [`Host::lull`] is called; none for ever.
    fn lull_after(&self) -> Option<Duration> {
        None
    }

    /// The other side sends nothing for now, or is slow: what is held for it can be put elsewhere.
    fn lull(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// Negotiates TLS on the connection.
    fn secure(
        &mut self,
        stream: Box<dyn Stream>,
    ) -> impl Future<Output = io::Result<Box<dyn Stream>>> + Send;
}

/// How a session ended, when nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As the protocol ends it.
    Closed,
    /// The other side closed the connection.
    ByPeer,
    /// The host had enough ([`Host::has_enough`]).
    ByHost,
    /// From outside.
    Interrupted(Interrupt),
}

/// What all sessions share.
#[derive(Debug)]
pub struct Driver {
    pool: BufferPool,
    stopping: watch::Receiver<bool>,
    /// How long a session may last.
    lifetime: Duration,
}

impl Driver {
    /// A driver whose sessions end when `stopping` becomes true, or when they have lasted too long
    /// and have nothing in hand.
    #[must_use]
    pub fn new(stopping: watch::Receiver<bool>, lifetime: Duration) -> Self {
        Self { pool: BufferPool::default(), stopping, lifetime }
    }

    /// A driver whose sessions end by themselves: for clients.
    #[must_use]
    pub fn unstoppable() -> Self {
        Self::new(watch::channel(false).1, Duration::MAX)
    }

    /// Drives a session to its end.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn drive<E: Engine, H: Host<E>>(
        &self,
        stream: Box<dyn Stream>,
        engine: &mut E,
        host: &mut H,
    ) -> io::Result<Ended> {
        let mut session = Session::new(stream, self);
        loop {
            let mut rest = &session.input.buffer[session.input.start..session.input.end];
            let step = engine.next(&mut rest, &mut session.output);
            let start = session.input.end - rest.len();
            session.window.octets += (start - session.input.start) as u64;
            session.input.start = start;
            match step {
                Step::NeedInput => {
                    session.send(engine).await?;
                    match session.receive(engine, host.lull_after()).await? {
                        Received::Octets => {}
                        Received::Nothing => {
                            let before = Instant::now();
                            host.lull().await;
                            session.window.start += before.elapsed();
                        }
                        Received::End => return Ok(Ended::ByPeer),
                        Received::Interrupt(why) => {
                            engine.interrupt(why, &mut session.output);
                            session.close(engine).await?;
                            return Ok(Ended::Interrupted(why));
                        }
                    }
                }
                Step::Ask(question) => {
                    if session.output.len() >= OUTPUT {
                        session.send(engine).await?;
                    }
                    let answer = host.answer(question).await;
                    engine.answer(answer, &mut session.output);
                    session.window = Window::new();
                }
                Step::Content(content) => {
                    let before = Instant::now();
                    host.content(content).await;
                    session.window.start += before.elapsed();
                    if host.has_enough() {
                        return Ok(Ended::ByHost);
                    }
                }
                Step::Flush => session.send(engine).await?,
                Step::StartTls => {
                    session.send(engine).await?;
                    session.input.clear();
                    session.stream = host.secure(session.stream).await?;
                    engine.secured();
                }
                Step::Close => {
                    session.close(engine).await?;
                    return Ok(Ended::Closed);
                }
            }
        }
    }

    /// Ends a connection before its session began.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn turn_away<E: Engine>(
        &self,
        stream: Box<dyn Stream>,
        engine: &mut E,
        why: Interrupt,
    ) -> io::Result<()> {
        let mut session = Session::new(stream, self);
        engine.interrupt(why, &mut session.output);
        session.close(engine).await
    }
}

/// One connection and its buffers.
struct Session<'d> {
    stream: Box<dyn Stream>,
    input: Input<'d>,
    output: Vec<u8>,
    window: Window,
    stopping: watch::Receiver<bool>,
    /// When it has lasted too long; none if it never does.
    end: Option<Instant>,
}

/// Over what time the other side's pace is judged: since it last kept it.
struct Window {
    start: Instant,
    /// Octets consumed since then.
    octets: u64,
}

impl Window {
    fn new() -> Self {
        Self { start: Instant::now(), octets: 0 }
    }
}

enum Received {
    Octets,
    /// For as long as the host can do without.
    Nothing,
    End,
    Interrupt(Interrupt),
}

impl<'d> Session<'d> {
    fn new(stream: Box<dyn Stream>, driver: &'d Driver) -> Self {
        let stopping = driver.stopping.clone();
        let input = Input { buffer: Vec::new(), start: 0, end: 0, pool: &driver.pool };
        let window = Window::new();
        let end = window.start.checked_add(driver.lifetime);
        Self { stream, input, output: Vec::new(), window, stopping, end }
    }

    /// Sends the output. A peer that does not read is given up after the engine's patience.
    async fn send<E: Engine>(&mut self, engine: &E) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let sending = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        timeout(engine.pace().within, sending).await.map_err(|_| io::ErrorKind::TimedOut)??;
        self.output.clear();
        self.output.shrink_to(OUTPUT_KEPT);
        Ok(())
    }

    /// Waits for input: while the other side keeps the engine's pace, and the program runs.
    async fn receive<E: Engine>(
        &mut self,
        engine: &E,
        lull_after: Option<Duration>,
    ) -> io::Result<Received> {
        let Pace { within, octets } = engine.pace();
        if self.window.octets >= octets {
            self.window = Window::new();
        }
        let deadline = self.window.start + within;
        let deadline = match self.end {
            Some(end) if !engine.is_busy() => deadline.min(end),
            _ => deadline,
        };
        let lull = lull_after.map(|lull| Instant::now() + lull).filter(|lull| *lull < deadline);
        let filling = timeout_at(lull.unwrap_or(deadline), self.input.fill(&mut self.stream));
        let stopping = async {
            if engine.is_busy() {
                // What is in hand may end; the listener bounds for how long.
                std::future::pending::<()>().await;
            }
            // An error means that nobody is left to stop us.
            if self.stopping.wait_for(|&stopping| stopping).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            filled = filling => match filled {
                Err(_) if lull.is_some() => Ok(Received::Nothing),
                Err(_) => Ok(Received::Interrupt(Interrupt::Idle)),
                Ok(filled) => Ok(if filled? == 0 { Received::End } else { Received::Octets }),
            },
            () = stopping => Ok(Received::Interrupt(Interrupt::Stopping)),
        }
    }

    async fn close<E: Engine>(&mut self, engine: &E) -> io::Result<()> {
        self.send(engine).await?;
        self.stream.shutdown().await
    }
}

/// Octets that arrived and are not consumed: `buffer[start..end]`.
struct Input<'d> {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    pool: &'d BufferPool,
}

impl Input<'_> {
    fn clear(&mut self) {
        self.pool.give(std::mem::take(&mut self.buffer));
        (self.start, self.end) = (0, 0);
    }

    /// Reads more, behind what is left. Returns the number of octets read; 0 at the end of the stream.
    async fn fill(&mut self, stream: &mut Box<dyn Stream>) -> io::Result<usize> {
        self.shrink();
        let pool = self.pool;
        poll_fn(|context| {
            let mut buffer = pool.take();
            buffer[..self.end].copy_from_slice(&self.buffer[..self.end]);
            let mut room = ReadBuf::new(&mut buffer[self.end..]);
            let polled = Pin::new(&mut *stream).poll_read(context, &mut room);
            let octets = room.filled().len();
            match polled {
                Poll::Ready(Ok(())) => {
                    self.end += octets;
                    self.buffer = buffer;
                    Poll::Ready(Ok(octets))
                }
                Poll::Ready(Err(error)) => {
                    pool.give(buffer);
                    Poll::Ready(Err(error))
                }
                Poll::Pending => {
                    pool.give(buffer);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Keeps no more than the octets that are left: the beginning of a line, if anything. Engines
    /// bound it to less than [`INPUT`].
    fn shrink(&mut self) {
        let left = self.buffer[self.start..self.end].to_vec();
        self.clear();
        self.end = left.len();
        self.buffer = left;
    }
}

impl Drop for Input<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Buffers of [`INPUT`] octets that no session is using.
#[derive(Debug, Default)]
struct BufferPool {
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    fn take(&self) -> Vec<u8> {
        let pooled = self.buffers.lock().pop();
        pooled.unwrap_or_else(|| vec![0; INPUT])
    }

    fn give(&self, buffer: Vec<u8>) {
        if buffer.len() == INPUT {
            let mut buffers = self.buffers.lock();
            if buffers.len() < POOLED {
                buffers.push(buffer);
            }
        }
    }
}
