//! The one loop that moves octets between a connection and a protocol engine: for SMTP and POP3, for
//! servers and clients.
//!
//! `listen` drives the sessions that clients open; `send`, `collect` and the program's commands drive
//! those that the server or the program opens elsewhere. A [`Host`] answers the engine's questions.
//!
//! A waiting session holds no buffer. Arriving octets are read into a buffer borrowed from a pool, which
//! is given back as soon as the engine has consumed them.

mod turn;

use crate::transport::Stream;
use parking_lot::Mutex;
use posta_mail::{Engine, Interrupt, Pace, Step};
use std::{
    future::{Future, poll_fn, ready},
    io,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use turn::{Places, Turn};

/// The number of octets read at a time.
const INPUT: usize = 64 * 1024;

/// The number of octets read at a time while [`LARGE`] sessions already hold a large buffer.
const LITTLE: usize = 4 * 1024;

/// The number of buffers of [`INPUT`] octets in use at the same time. A session that waits for its turn
/// or for a disk keeps its unread input. Without this bound, 20,000 strangers who send endless commands
/// would make the server hold 1.3 GB.
const LARGE: usize = 512;

/// The number of buffers kept for the next sessions that need one.
const POOLED: usize = 64;

/// The number of octets of output above which replies are written without waiting for more.
const OUTPUT: usize = 32 * 1024;

/// The number of octets of output buffer that a waiting session keeps.
const OUTPUT_KEPT: usize = 512;

/// The caller's side of an engine: answers its questions and takes the content that it passes on.
pub trait Host<E: Engine>: Send {
    /// Answers a question.
    fn answer(&mut self, question: E::Question) -> impl Future<Output = E::Answer> + Send;

    /// Takes the next piece of a message's content.
    fn content(&mut self, content: &[u8]) -> impl Future<Output = ()> + Send;

    /// Returns whether the host needs nothing more from this session. The session then ends at once,
    /// even in the middle of content.
    fn has_enough(&self) -> bool {
        false
    }

    /// Returns the time without input after which [`Host::lull`] is called; `None` for never.
    fn lull_after(&self) -> Option<Duration> {
        None
    }

    /// Called when the other side has sent nothing for a while, so that the host can free what it holds
    /// for the session.
    fn lull(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// Negotiates TLS on the connection, and returns the stream inside it.
    fn secure(
        &mut self,
        stream: Box<dyn Stream>,
    ) -> impl Future<Output = io::Result<Box<dyn Stream>>> + Send;
}

/// The way in which a session ended, unless the connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The protocol ended it, for example with QUIT.
    Closed,
    /// The other side closed the connection.
    ByPeer,
    /// The host needed nothing more ([`Host::has_enough`]).
    ByHost,
    /// It was interrupted: the other side was too slow, or the program is stopping.
    Interrupted(Interrupt),
}

/// Drives sessions, and holds the resources that they share.
#[derive(Debug)]
pub struct Driver {
    pool: BufferPool,
    places: Places,
    stopping: watch::Receiver<bool>,
    /// The maximal duration of a session.
    lifetime: Duration,
}

impl Driver {
    /// Returns a driver whose sessions end when `stopping` becomes true or after `lifetime`, but never
    /// in the middle of a message.
    #[must_use]
    pub fn new(stopping: watch::Receiver<bool>, lifetime: Duration) -> Self {
        Self { pool: BufferPool::default(), places: Places::default(), stopping, lifetime }
    }

    /// Returns a driver that never interrupts a session: for clients.
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
        let mut turn = Turn::new(&self.places);
        loop {
            let mut rest = &session.input.buffer[session.input.start..session.input.end];
            let step = engine.next(&mut rest, &mut session.output);
            let start = session.input.end - rest.len();
            session.window.octets += (start - session.input.start) as u64;
            session.input.start = start;
            match step {
                Step::NeedInput | Step::Pause(_) => {
                    let pause = if let Step::Pause(pause) = step { Some(pause) } else { None };
                    turn.during(pin!(session.send(engine))).await?;
                    let received = {
                        let receiving = pin!(session.receive(engine, pause.or(host.lull_after())));
                        turn.during(receiving).await?
                    };
                    match received {
                        Received::Octets => session.take_turn(&mut turn).await,
                        Received::Nothing if pause.is_some() => {}
                        Received::Nothing => session.lull(host).await,
                        Received::End => return Ok(Ended::ByPeer),
                        Received::Interrupt(why) => {
                            turn.rest();
                            engine.interrupt(why, &mut session.output);
                            session.close(engine).await?;
                            return Ok(Ended::Interrupted(why));
                        }
                    }
                }
                Step::Ask(question) => {
                    if session.output.len() >= OUTPUT {
                        turn.during(pin!(session.send(engine))).await?;
                    }
                    let answer = turn.during(pin!(host.answer(question))).await;
                    engine.answer(answer, &mut session.output);
                    turn.answered().await;
                    session.window = Window::new();
                }
                Step::Content(content) => {
                    let before = Instant::now();
                    turn.during(pin!(host.content(content))).await;
                    session.window.start += before.elapsed();
                    if host.has_enough() {
                        return Ok(Ended::ByHost);
                    }
                }
                Step::Flush => turn.during(pin!(session.send(engine))).await?,
                Step::StartTls => {
                    turn.rest();
                    session.send(engine).await?;
                    session.input.clear();
                    session.stream = host.secure(session.stream).await?;
                    engine.secured();
                }
                Step::Close => {
                    turn.rest();
                    session.close(engine).await?;
                    return Ok(Ended::Closed);
                }
            }
        }
    }

    /// Refuses a session: sends the reason in the engine's words, and closes the connection.
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
    /// The time at which the session must end; `None` if there is no limit.
    end: Option<Instant>,
}

/// The period over which the other side's pace is judged: since it last met the required pace.
struct Window {
    start: Instant,
    /// The number of octets consumed in this period.
    octets: u64,
}

impl Window {
    fn new() -> Self {
        Self { start: Instant::now(), octets: 0 }
    }
}

enum Received {
    Octets,
    /// The other side has sent nothing for [`Host::lull_after`], or for an engine's [`Step::Pause`].
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

    /// Counts the octets read, and waits for a turn. That wait does not count against the other side.
    async fn take_turn(&mut self, turn: &mut Turn<'_>) {
        let before = Instant::now();
        turn.read(self.input.end).await;
        self.window.start += before.elapsed();
    }

    /// Tells the host that the other side has sent nothing for a while. What it does then does not count against the
    /// other side.
    async fn lull<E: Engine, H: Host<E>>(&mut self, host: &mut H) {
        let before = Instant::now();
        host.lull().await;
        self.window.start += before.elapsed();
    }

    /// Sends the output. A peer that does not read within the time of [`Pace`] is given up.
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

    /// Waits for input as long as the other side keeps the engine's pace and the program is running.
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
                // A message in progress may be completed; the listener limits the time for that.
                std::future::pending::<()>().await;
            }
            // An error means that the sender no longer exists, so nobody can stop this session any more.
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

/// The octets that arrived and are not yet consumed: `buffer[start..end]`.
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

    /// Appends octets from the stream to the remaining input. Returns the number of octets read; 0 at
    /// the end of the stream.
    async fn fill(&mut self, stream: &mut Box<dyn Stream>) -> io::Result<usize> {
        self.shrink();
        let pool = self.pool;
        poll_fn(|context| {
            let mut buffer = pool.take(self.end);
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

    /// Gives the buffer back and keeps only the remaining octets, the beginning of a line at most.
    /// Engines limit these to less than [`INPUT`].
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

/// The buffers into which sessions read.
#[derive(Debug, Default)]
struct BufferPool(Mutex<Buffers>);

#[derive(Debug, Default)]
struct Buffers {
    /// The unused buffers of [`INPUT`] octets.
    free: Vec<Vec<u8>>,
    /// The number of buffers of [`INPUT`] octets in use.
    used: usize,
}

impl BufferPool {
    /// Returns a buffer with room for the remaining input and new octets: a large one, if any is
    /// available.
    fn take(&self, left: usize) -> Vec<u8> {
        let mut buffers = self.0.lock();
        if buffers.used >= LARGE {
            // The odd length distinguishes this buffer from a large one.
            return vec![0; (left + LITTLE) | 1];
        }
        buffers.used += 1;
        let pooled = buffers.free.pop();
        drop(buffers);
        pooled.unwrap_or_else(|| vec![0; INPUT])
    }

    /// Takes a buffer back.
    fn give(&self, buffer: Vec<u8>) {
        if buffer.len() == INPUT {
            let mut buffers = self.0.lock();
            buffers.used -= 1;
            if buffers.free.len() < POOLED {
                buffers.free.push(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many sessions have input waiting, its memory is bounded.
    #[tokio::test]
    async fn what_waits_for_a_turn_is_bounded() {
        let pool = BufferPool::default();
        let sent = b"NOOP\r\n".repeat(20_000);
        let mut all: Vec<(Input<'_>, Box<dyn Stream>)> = Vec::new();
        for _ in 0..LARGE + 100 {
            let input = Input { buffer: Vec::new(), start: 0, end: 0, pool: &pool };
            all.push((input, Box::new(io::Cursor::new(sent.clone()))));
        }
        for (input, stream) in &mut all {
            assert!(input.fill(stream).await.unwrap() > 0);
        }
        let held: usize = all.iter().map(|(input, _)| input.buffer.capacity()).sum();
        assert_eq!(held, LARGE * INPUT + 100 * (LITTLE | 1));
        let (last, stream) = all.last_mut().unwrap();
        // Half a command remains.
        let left = last.end - 3;
        last.start = left;
        let read = last.fill(stream).await.unwrap();
        assert_eq!(last.buffer[..last.end], sent[left..left + 3 + read]);
        assert!(read <= LITTLE | 1);
        // A buffer given back can be used again.
        all.remove(0);
        let (last, stream) = all.last_mut().unwrap();
        last.start = last.end;
        assert_eq!(last.fill(stream).await.unwrap(), INPUT);
        drop(all);
        let buffers = pool.0.lock();
        assert_eq!((buffers.used, buffers.free.len()), (0, POOLED));
    }
}
