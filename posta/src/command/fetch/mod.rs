//! `posta fetch`.

mod destination;

use crate::client;
use anyhow::{Context, Result, bail};
use clap::Args;
use destination::Destination;
use indicatif::{ProgressBar, ProgressStyle};
use posta_mail::TlsUse;
use posta_pop3::{
    Client,
    client::{Answer, Failure, Options, Outcome, Question},
};
use posta_server::{
    drive::{Driver, Host},
    net::Stream,
};
use std::{io, path::PathBuf};

/// Collect mail from a POP3 server into a Maildir, an mbox file or standard output.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The server, as host:port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2110")]
    server: String,
    /// The name to log in with.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    into: Into,
    /// Leave the messages on the server.
    #[arg(long)]
    keep: bool,
}

/// Where the messages go.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Into {
    /// Into this Maildir, which is made if it does not exist.
    #[arg(long, value_name = "DIR")]
    maildir: Option<PathBuf>,
    /// Behind what this mbox file holds.
    #[arg(long, value_name = "FILE")]
    mbox: Option<PathBuf>,
    /// To standard output, as an mbox.
    #[arg(long)]
    stdout: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let Arguments { server, user, password_stdin, into, keep } = arguments;
    if user.bytes().any(|octet| octet.is_ascii_control()) {
        bail!("a name has no control characters");
    }
    let password = super::read_password(password_stdin, &format!("Password for {user}: "))?;
    let destination = match (into.maildir, into.mbox) {
        (Some(directory), _) => Destination::maildir(&directory)?,
        (_, Some(file)) => Destination::mbox(&file)?,
        (None, None) => Destination::stdout(),
    };
    let options = Options { name: user, password, tls: TlsUse::Never };
    super::block_on(async move {
        let stream = client::dial(&server).await?;
        let mut host = Collection::new(destination, keep);
        let mut engine = Client::new(options, false);
        let driven = Driver::unstoppable().drive(stream, &mut engine, &mut host).await;
        host.bar.finish_and_clear();
        driven.context("the connection failed")?;
        host.report()
    })
}

/// Answers for one session: counts, fetches all, makes them safe, and only then deletes any.
struct Collection {
    destination: Destination,
    keep: bool,
    messages: u32,
    step: Step,
    bar: ProgressBar,
    problem: Option<anyhow::Error>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Count,
    Counted,
    /// The message with this number was asked for.
    Fetched(u32),
    /// The message with this number was marked.
    Deleted(u32),
    Quit,
    Ended,
}

impl Collection {
    fn new(destination: Destination, keep: bool) -> Self {
        let bar = ProgressBar::no_length();
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {pos}/{len} messages, {msg}, {eta} left")
        {
            bar.set_style(style);
        }
        Self { destination, keep, messages: 0, step: Step::Count, bar, problem: None }
    }

    fn report(self) -> Result<()> {
        match (self.problem, self.step) {
            (Some(problem), _) => Err(problem),
            (None, Step::Ended) => {
                let kept = if self.keep { "left on" } else { "removed from" };
                eprintln!("{} messages fetched, and {kept} the server", self.messages);
                Ok(())
            }
            (None, _) => {
                bail!("the server closed the connection in the middle; nothing was deleted")
            }
        }
    }

    fn next(&mut self, outcome: Outcome) -> Result<Answer> {
        if let Outcome::Refused(words) = outcome {
            bail!("the server refuses: {words}");
        }
        let (answer, step) = match self.step {
            Step::Count => (Answer::Stat, Step::Counted),
            Step::Counted => {
                let Outcome::Status { messages, .. } = outcome else {
                    bail!("the server did not count");
                };
                self.messages = messages;
                self.bar.set_length(u64::from(messages));
                self.fetch(1)?
            }
            Step::Fetched(number) => {
                self.destination.end().context("a message cannot be written")?;
                self.bar.inc(1);
                self.fetch(number + 1)?
            }
            Step::Deleted(number) => self.delete(number + 1),
            Step::Quit | Step::Ended => (Answer::Quit, Step::Quit),
        };
        self.step = step;
        Ok(answer)
    }

    fn fetch(&mut self, number: u32) -> Result<(Answer, Step)> {
        if number <= self.messages {
            self.destination.begin().context("a message cannot be written")?;
            return Ok((Answer::Retr(number), Step::Fetched(number)));
        }
        self.destination.sync().context("the messages cannot be made safe")?;
        Ok(if self.keep { (Answer::Quit, Step::Quit) } else { self.delete(1) })
    }

    fn delete(&self, number: u32) -> (Answer, Step) {
        if number <= self.messages {
            (Answer::Dele(number), Step::Deleted(number))
        } else {
            (Answer::Quit, Step::Quit)
        }
    }
}

impl Host<Client> for Collection {
    async fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Next(outcome) if self.problem.is_none() => match self.next(outcome) {
                Ok(answer) => return answer,
                Err(problem) => {
                    // What was marked is forgotten by RSET, so that QUIT deletes nothing.
                    self.problem = Some(problem);
                    return Answer::Rset;
                }
            },
            Question::Next(_) => {}
            Question::Quit(Ok(())) => self.step = Step::Ended,
            Question::Quit(Err(words)) => {
                self.problem.get_or_insert(anyhow::anyhow!("the server deleted nothing: {words}"));
            }
            Question::Failed(failure) => {
                self.problem.get_or_insert(anyhow::anyhow!(describe(&failure)));
            }
        }
        Answer::Quit
    }

    async fn content(&mut self, content: &[u8]) {
        if self.problem.is_none()
            && let Err(error) = self.destination.write(content)
        {
            self.problem = Some(anyhow::Error::new(error).context("a message cannot be written"));
        }
        self.bar.set_message(indicatif::HumanBytes(self.destination.octets()).to_string());
    }

    async fn secure(&mut self, _stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Refused(words) => format!("the server refuses: {words}"),
        Failure::NoTls => "the server offers no STLS".to_owned(),
        Failure::Protocol(what) => format!("what answers there does not speak POP3: {what}"),
    }
}
