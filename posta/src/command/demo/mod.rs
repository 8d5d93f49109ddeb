//! `posta demo`.

mod narrate;
mod tap;

use crate::{
    client,
    config::{Config, Source},
    output::say,
    runtime::block_on,
    wiring,
};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use narrate::{Narrator, Pop3Story, SmtpStory};
use posta_mail::{Address, ReversePath, Secret, TlsUse};
use posta_net::{
    driver::{Driver, Host},
    transport::{Endpoint, Stream},
};
use posta_pop3::client as pop3;
use posta_server::{
    admin::{Admin, Request},
    assembly::MailServer,
    collect::Collectors,
    settings::{ListenerKind, ListenerSettings, Settings, TlsMode},
    sign::SigningSettings,
};
use posta_smtp::{client::Options, command::HelloVerb};
use posta_store::{Store, TagSeparators};
use std::{fs::Permissions, io, os::unix::fs::PermissionsExt, sync::Arc};
use tap::Tap;

/// Show the whole system at work: a message goes in over SMTP and comes out over POP3.
///
/// Every line is shown and explained. Everything happens in a temporary directory.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Exit after the dialogues instead of running on for a mail program to try.
    #[arg(long)]
    once: bool,
}

/// The classic example, of January 2004.
const DOMAIN: &str = "webmail.home";
const SENDER: &str = "expeditor@webmail.home";
const RECIPIENT: &str = "destinatar@webmail.home";
const PASSWORD: &str = "parola";
const BODY: &[u8] = b"acesta este corpul mesajului\r\nscris pe mai multe linii\r\n";

pub(crate) fn run(arguments: Arguments, umask: u32) -> Result<()> {
    let private = Permissions::from_mode(0o700);
    let directory =
        tempfile::Builder::new().prefix("posta-demo-").permissions(private).tempdir()?;
    let store = wiring::open_store(directory.path(), None, TagSeparators::default())?;
    block_on(async move {
        add_accounts(store.clone()).await?;
        let config = Config { hostname: Some(DOMAIN.parse()?), ..Source::defaults()?.config };
        let world = wiring::world(store, &config, wiring::network(umask))?;
        let server = MailServer::start(settings(config)?, world).await?;
        let played = play(&server).await;
        if played.is_ok() && !arguments.once {
            stay(&server).await?;
        }
        server.stop().await;
        played
    })
}

fn settings(config: Config) -> Result<Settings> {
    let loopback = |kind| ListenerSettings {
        kind,
        endpoint: Endpoint::Tcp(([127, 0, 0, 1], 0).into()),
        tls: TlsMode::None,
    };
    let defaults = wiring::settings(&Config { listen: Vec::new(), ..config })?;
    Ok(Settings {
        // Nobody's DNS has keys of the demo's domain.
        signing: SigningSettings { enabled: false, ..defaults.signing.clone() },
        listeners: vec![
            loopback(ListenerKind::Submission),
            loopback(ListenerKind::Smtp),
            loopback(ListenerKind::Pop3),
        ],
        acme: None,
        control: None,
        spool: None,
        ..defaults
    })
}

async fn add_accounts(store: Arc<dyn Store>) -> Result<()> {
    let collectors =
        Arc::new(Collectors::new(store.clone(), wiring::means(&Source::defaults()?.config)?));
    let admin = Admin::new(store, wiring::clock(), collectors);
    for address in [SENDER, RECIPIENT] {
        let (address, password) = (address.to_owned(), PASSWORD.to_owned());
        admin.execute(Request::AccountAdd { address, password, apop: false }).await?;
    }
    Ok(())
}

fn endpoint(server: &MailServer, kind: ListenerKind) -> Result<String> {
    let found = server.listening().iter().find(|(listening, _)| *listening == kind);
    Ok(found.context("a listener is missing")?.1.to_string())
}

/// Plays both dialogues and checks the message that came back.
async fn play(server: &MailServer) -> Result<()> {
    narrate::title("SMTP", "the message goes from the client process to the server process");
    send(&endpoint(server, ListenerKind::Submission)?).await?;
    narrate::title("POP3", "the message comes from the mailbox to the client process");
    let message = fetch(&endpoint(server, ListenerKind::Pop3)?).await?;
    check(&message)?;
    narrate::verdict(
        "The body came back byte for byte; above it stands what each server on the way adds.",
    );
    Ok(())
}

async fn send(server: &str) -> Result<()> {
    let narrator = Narrator::new(SmtpStory::default());
    let stream = Box::new(Tap::new(client::dial(server).await?, narrator));
    let options = Options::new("pc_client", HelloVerb::Helo, TlsUse::Never);
    let sender: Address = SENDER.parse()?;
    let envelope = client::envelope(ReversePath::Address(sender), vec![RECIPIENT.parse()?], BODY);
    let outcome =
        client::submit(stream, options, Default::default(), envelope, Bytes::from_static(BODY))
            .await?;
    for decision in outcome.recipients {
        ensure!(decision.code().is_positive(), "the message was refused: {decision}");
    }
    Ok(())
}

async fn fetch(server: &str) -> Result<Vec<u8>> {
    let narrator = Narrator::new(Pop3Story::default());
    let stream = Box::new(Tap::new(client::dial(server).await?, narrator));
    let options = pop3::Options {
        sasl: false,
        name: RECIPIENT.split('@').next().unwrap_or_default().to_owned(),
        password: Secret::new(PASSWORD.as_bytes()),
        tls: TlsUse::Never,
    };
    let mut engine = pop3::Client::new(options, false);
    let mut reader = Reader { message: Vec::new(), problem: None };
    Driver::unstoppable().drive(stream, &mut engine, &mut reader).await?;
    match reader.problem {
        Some(problem) => bail!(problem),
        None => Ok(reader.message),
    }
}

/// The host of the second dialogue's client.
struct Reader {
    message: Vec<u8>,
    problem: Option<String>,
}

impl Reader {
    /// Returns the next request, unless the server refused the last.
    fn after<T>(
        &mut self,
        outcome: Result<T, String>,
        next: pop3::Pop3Request,
    ) -> pop3::Pop3Request {
        match outcome {
            Ok(_) => next,
            Err(words) => {
                self.problem = Some(format!("the server refuses: {words}"));
                pop3::Pop3Request::Quit
            }
        }
    }
}

impl Host<pop3::Client> for Reader {
    async fn answer(&mut self, question: pop3::Question) -> pop3::Answer {
        match question {
            // The classic dialogue does not use SASL.
            pop3::Question::Login { ticket, .. } => ticket.answer(pop3::LoginChoice::User),
            pop3::Question::Challenge(_, ticket) => ticket.answer(None),
            pop3::Question::LoggedIn(ticket) => ticket.answer(pop3::Pop3Request::List),
            pop3::Question::Sizes(sizes, ticket) => {
                ticket.answer(self.after(sizes, pop3::Pop3Request::Retr(1)))
            }
            pop3::Question::Retrieved(retrieved, ticket) => {
                ticket.answer(self.after(retrieved, pop3::Pop3Request::Dele(1)))
            }
            pop3::Question::Deleted(deleted, ticket) => {
                ticket.answer(self.after(deleted, pop3::Pop3Request::Quit))
            }
            // The dialogue has no STAT, UIDL, NOOP or RSET.
            pop3::Question::Status(_, ticket)
            | pop3::Question::UniqueIds(_, ticket)
            | pop3::Question::Done(_, ticket) => ticket.answer(pop3::Pop3Request::Quit),
            pop3::Question::Quit(outcome, ticket) => {
                self.problem = self.problem.take().or(outcome.err());
                ticket.answer(())
            }
            pop3::Question::Failed(failure, ticket) => {
                self.problem = Some(format!("{failure:?}"));
                ticket.answer(())
            }
        }
    }

    async fn content(&mut self, content: &[u8]) {
        self.message.extend_from_slice(content);
    }

    async fn secure(&mut self, _stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Checks that the message is what was sent, with exactly the fields above it that a server adds.
fn check(message: &[u8]) -> Result<()> {
    let end = memchr::memmem::find(message, b"\r\n\r\n").context("there is no header section")?;
    let (header, body) = (str::from_utf8(&message[..end])?, &message[end + 4..]);
    ensure!(body == BODY, "the body came back changed: {}", body.escape_ascii());
    let unfolded = header.replace("\r\n\t", " ");
    let mut names = Vec::new();
    for field in unfolded.split("\r\n") {
        let (name, value) = field.split_once(": ").context("a header field has no name")?;
        let expected = match name {
            "Return-Path" => value == format!("<{SENDER}>"),
            "Delivered-To" => value == RECIPIENT,
            "Received" => value.contains(" id ") && value.contains(&format!("for <{RECIPIENT}>")),
            "Message-ID" => value.ends_with(&format!("@{DOMAIN}>")),
            "From" => value == SENDER,
            "Date" => value.ends_with("+0000"),
            _ => false,
        };
        ensure!(expected, "an unexpected header field: {field}");
        names.push(name);
    }
    let expected = ["Return-Path", "Delivered-To", "Received", "Message-ID", "Date", "From"];
    ensure!(names == expected, "the server added {names:?} instead of {expected:?}");
    Ok(())
}

/// Runs on for a mail program to try, until interrupted.
async fn stay(server: &MailServer) -> Result<()> {
    say!("\nThe system stays up until Ctrl-C. Connect any mail program, without encryption:\n");
    for (kind, endpoint) in server.listening() {
        say!("  {:<11} {endpoint}", wiring::protocol(*kind).name());
    }
    say!("  {:<11} {SENDER} or {RECIPIENT}", "account");
    say!("  {:<11} {PASSWORD}\n", "password");
    let (smtp, pop3) =
        (endpoint(server, ListenerKind::Smtp)?, endpoint(server, ListenerKind::Pop3)?);
    say!("or this program:\n");
    say!("  posta send --server {smtp} --from {SENDER} --to {RECIPIENT} --subject Hello --body Hi");
    say!(
        "  echo {PASSWORD} | posta fetch --server {pop3} --user {RECIPIENT} --password-stdin --stdout"
    );
    tokio::signal::ctrl_c().await.context("Ctrl-C cannot be waited for")
}
