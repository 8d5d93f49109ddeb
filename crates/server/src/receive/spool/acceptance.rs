//! Accepting a message from the spool, as a submission server accepts one (RFC 6409): names become addresses, missing
//! fields are added, Bcc is removed, what leaves is signed.
//!
//! The sender is whom the program names, as Postfix and Exim allow it: web applications and mailing lists send in the
//! names of others, and any user could connect to port 25 instead. The user's number stands in the Received field and in
//! the history. What is allowed is what a program may do that connects from this machine (`submission.rs`): only mail from
//! a domain here leaves for other servers, and `submission.trust-loopback` may forbid all. root, who can read the store
//! anyway, is always trusted.

use super::{Intake, TAKEN, entry::SpoolFile};
use crate::{
    deliver::{self, Message, To, Undelivered, outcome::Outcome},
    directory::{NOT_SERVED, Recipient, RefusedRecipient},
    limits::{memory::MemoryOwner, metrics::AcceptedCount, sending_rate::machine_user},
    receive::{
        content::{ContentFailure, Incoming},
        session::Acceptor,
        submission,
    },
    settings::LoopbackTrust,
    sign::outgoing::Outgoing,
};
use posta_mail::{
    Address, ForwardPath, MailId, Reply, ReversePath, Timestamp,
    envelope::{Body, from_xtext},
    trace::HandedOver,
};
use posta_mime::{
    dsn::Action,
    header::{Completion, HeaderCompleter},
    local,
};
use posta_origin::{header::HEADER_SECTION, results::ResultsRemover};
use posta_smtp::client::Decision;
use posta_store::{Envelope, MessageRecord, Origin, StoreError};
use std::{collections::HashMap, io};
use tokio::{task::spawn_blocking, time::Instant};

/// The name of this way in, in the history.
const PROTOCOL: &str = "sendmail";

/// The most names in a header section that are looked up.
const NAMES: usize = 64;

/// The octets that are reserved for a message at first.
const ROOM: usize = 6 * 1024;

/// Why a message was not accepted.
pub(super) enum Hindrance {
    /// It can be tried again, after what the words say is over.
    Waits(String),
    /// The file is no message that can be taken.
    Foreign(String),
}

impl From<StoreError> for Hindrance {
    fn from(error: StoreError) -> Self {
        Self::Waits(format!("the store failed: {error}"))
    }
}

impl From<io::Error> for Hindrance {
    fn from(error: io::Error) -> Self {
        Self::Waits(format!("the file cannot be read: {error}"))
    }
}

impl From<Reply> for Hindrance {
    fn from(reply: Reply) -> Self {
        Self::Waits(reply.to_string())
    }
}

/// Accepts a message, or returns it to its sender. When this returns `Ok`, that is durable.
pub(super) async fn accept(
    intake: &Intake,
    name: MailId,
    file: SpoolFile,
) -> Result<(), Hindrance> {
    let began = Instant::now();
    let acceptor = &*intake.acceptor;
    let (id, time) = (acceptor.clock.mail_id(), acceptor.clock.now());
    let record = MessageRecord { kind: TAKEN, name: name.to_string(), record: file.stamp.clone() };
    let mut content = Content { file: Some(file) };
    let envelope = content.envelope()?;
    let uid = envelope.uid;
    let addresses = resolve(acceptor, &envelope, time).await?;
    let Addresses { reverse_path, recipients, failed } = addresses;
    let mut incoming = incoming(acceptor, (id, time), &reverse_path, envelope.full_name.as_deref());
    let leaves = recipients.iter().any(|recipient| !recipient.resolved.elsewhere.is_empty());
    if leaves && acceptor.signers.is_enabled() {
        incoming.outgoing = Some(Box::new(Outgoing::new()));
    }
    if let Err(error) = arrive(acceptor, &mut content, &mut incoming).await {
        incoming.abandon(&*acceptor.store).await;
        return Err(error);
    }
    let Acceptor { store, budget, .. } = acceptor;
    let turn = incoming.finish(&**store, budget).await;
    if let Some(failure) = &incoming.failure {
        let reply = failure.reply();
        incoming.abandon(&**store).await;
        return Err(reply.into());
    }
    let (memory, header_memory) = incoming.take_memory(turn);
    let memory = match acceptor.routing.filters.are_for(true) {
        true => budget.keep(memory, MemoryOwner::Local),
        false => Ok(memory),
    };
    let Ok(memory) = memory else {
        incoming.abandon(&**store).await;
        return Err(ContentFailure::Crowded.reply().into());
    };
    if let Some(outgoing) = incoming.outgoing.take() {
        incoming.signatures = outgoing.sign(&acceptor.signers, time).await;
    }
    let message = message(acceptor, incoming, (&envelope, reverse_path), &recipients, record);
    let octets = message.octets;
    tracing::info!(%id, uid, spooled = %name, "taken from the spool");
    let routing = &acceptor.routing;
    let (may_report, each_is_told, unheard) = (true, false, Some(failed));
    let to = To::Recipients { recipients, may_report, routing, each_is_told, unheard };
    let delivered = deliver::deliver(&**store, message, to).await;
    drop((memory, header_memory));
    match delivered {
        Ok(delivered) => {
            let deliver::Delivered { inbox, junk, queued, .. } = delivered;
            let count = AcceptedCount { octets, inbox, junk, queued };
            acceptor.metrics.accepted(acceptor.service.name(), count, began.elapsed());
            Ok(())
        }
        Err(Undelivered::Refused { reply, .. }) => Err(reply.into()),
        Err(Undelivered::Store(error)) => Err(error.into()),
    }
}

/// The envelope of a message, and the user who gave it.
struct GivenEnvelope {
    uid: u32,
    octets: u64,
    full_name: Option<String>,
    given: super::SpoolEnvelope,
}

/// The content of a message, which is read from a file.
struct Content {
    /// The file, unless it is being read.
    file: Option<SpoolFile>,
}

impl Content {
    fn envelope(&mut self) -> Result<GivenEnvelope, Hindrance> {
        let file = self.file.as_mut().ok_or_else(lost)?;
        let given = std::mem::take(&mut file.envelope);
        let full_name = given.full_name.clone();
        Ok(GivenEnvelope { uid: file.uid, octets: file.octets, full_name, given })
    }

    /// Returns the next piece; an empty one at the end.
    async fn piece(&mut self) -> Result<Vec<u8>, Hindrance> {
        let mut file = self.file.take().ok_or_else(lost)?;
        let read = spawn_blocking(move || (file.piece(), file)).await;
        let (piece, file) = read.map_err(|_| lost())?;
        self.file = Some(file);
        Ok(piece?)
    }
}

fn lost() -> Hindrance {
    Hindrance::Waits("reading the file was interrupted".to_owned())
}

/// The sender and the recipients of a message.
struct Addresses {
    reverse_path: ReversePath,
    recipients: Vec<Recipient>,
    /// The recipients that are refused.
    failed: Vec<Outcome>,
}

/// Finds out who the sender and the recipients are.
async fn resolve(
    acceptor: &Acceptor,
    envelope: &GivenEnvelope,
    now: Timestamp,
) -> Result<Addresses, Hindrance> {
    let GivenEnvelope { uid, octets, given, .. } = envelope;
    let reverse_path = match given.from.as_str() {
        "" => ReversePath::Null,
        from => ReversePath::Address(address(acceptor, from).await?),
    };
    let trust = if *uid == 0 { LoopbackTrust::Anywhere } else { acceptor.loopback };
    let may_relay = trust == LoopbackTrust::Anywhere
        && (*uid == 0 || acceptor.directory.is_local_sender(&reverse_path).await?);
    let notify = given.notify.unwrap_or_default();
    let (mut recipients, mut failed) = (Vec::new(), Vec::new());
    for to in &given.to {
        let given = address(acceptor, to).await?;
        let resolved = match trust {
            LoopbackTrust::Nothing => Err(must_log_in().into()),
            _ => {
                let path = ForwardPath::Address(given.clone());
                let resolved = acceptor.directory.resolve(&path, Some(*octets), may_relay).await;
                match resolved {
                    // A user of this machine without a mailbox: somebody has to read what cron writes.
                    Err(refused) if !to.contains('@') && is_unknown(&refused.reply) => {
                        let postmaster = &ForwardPath::Postmaster;
                        acceptor.directory.resolve(postmaster, Some(*octets), may_relay).await
                    }
                    resolved => resolved,
                }
            }
        };
        match resolved {
            Ok((address, resolved)) => {
                recipients.push(Recipient { address, resolved, notify, original: None });
            }
            Err(RefusedRecipient { reply, .. }) if is_final(&reply) => failed.push(Outcome {
                address: given,
                notify,
                original: None,
                action: Action::Failed,
                decision: Some(Decision::ours(explained(reply))),
                host: None,
                is_given_up: false,
            }),
            Err(RefusedRecipient { reply, .. }) => return Err(reply.into()),
        }
    }
    count(acceptor, *uid, &recipients, now)?;
    Ok(Addresses { reverse_path, recipients, failed })
}

/// Returns the address that a program gave, which may be a user's name.
async fn address(acceptor: &Acceptor, text: &str) -> Result<Address, Hindrance> {
    let address = match text.contains('@') {
        true => text.parse().ok(),
        false => acceptor.directory.address_of_user(text).await?,
    };
    let words = || format!("it names {text:?}, which is no address");
    address.ok_or_else(|| Hindrance::Foreign(words()))
}

/// Counts the recipients on other servers, of whom each user may have as many an hour as an account. A message that begins
/// within the limit may exceed it: its recipients cannot be told apart later.
fn count(
    acceptor: &Acceptor,
    uid: u32,
    recipients: &[Recipient],
    now: Timestamp,
) -> Result<(), Hindrance> {
    let is_elsewhere = |to: &&Recipient| to.resolved.elsewhere.contains(&to.address);
    let elsewhere = recipients.iter().filter(is_elsewhere).count();
    if elsewhere > 0 {
        acceptor.rates.may_submit(machine_user(uid), now)?;
    }
    for _ in 0..elsewhere {
        // The last ones may be beyond the limit.
        let _ = acceptor.rates.submit(machine_user(uid), now);
    }
    Ok(())
}

fn must_log_in() -> Reply {
    let words = "Programs on this machine have to log in to send mail (submission.trust-loopback)";
    Reply::new(550, (5, 7, 1), words)
}

/// Returns whether a refusal says that nobody has the address.
fn is_unknown(reply: &Reply) -> bool {
    reply.status.is_some_and(|status| (status.subject, status.detail) == (1, 1))
}

/// Returns whether a recipient is not tried again. A mailbox that is full is not waited for, or it would keep the message
/// from everybody else.
fn is_final(reply: &Reply) -> bool {
    const MAILBOX: u16 = 2;
    reply.code.is_permanent() || reply.status.is_some_and(|status| status.subject == MAILBOX)
}

/// Returns a refusal in words that help a program's user.
fn explained(reply: Reply) -> Reply {
    if reply.text != NOT_SERVED {
        return reply;
    }
    let words = "That domain is not served here, and only mail from an address of a domain here may leave this machine";
    Reply { text: words.into(), ..reply }
}

/// Returns a message that begins to arrive.
fn incoming(
    acceptor: &Acceptor,
    (id, time): (MailId, Timestamp),
    reverse_path: &ReversePath,
    full_name: Option<&str>,
) -> Incoming {
    let Acceptor { hostname, clock, .. } = acceptor;
    let mut fields = submission::required_fields(reverse_path, None, hostname, (id, time));
    if let (Some(name), ReversePath::Address(address)) = (full_name, reverse_path) {
        fields.from = local::from_field(name, address.as_str());
    }
    let completer = HeaderCompleter::new(fields, Completion::Always);
    let ids = (id, clock.mail_id());
    Incoming::new(ids, time, MemoryOwner::Local, ROOM, completer)
        .without_results(Some(ResultsRemover::new(hostname.to_string())))
        .saying_utf8()
}

/// Takes the content of a message, with addresses in place of users' names in its header section.
async fn arrive(
    acceptor: &Acceptor,
    content: &mut Content,
    incoming: &mut Incoming,
) -> Result<(), Hindrance> {
    let Acceptor { store, budget, .. } = acceptor;
    let (mut begun, mut is_over) = (Vec::new(), false);
    let end = loop {
        if let Some(end) = local::header_end(&begun) {
            break end;
        }
        // The names in a header section that is too long stay.
        if is_over || begun.len() > HEADER_SECTION {
            break 0;
        }
        let piece = content.piece().await?;
        is_over = piece.is_empty();
        begun.extend_from_slice(&piece);
    };
    let (header, rest) = begun.split_at(end);
    let mut addresses = HashMap::new();
    for name in local::bare_names(header).into_iter().take(NAMES) {
        if let Some(address) = acceptor.directory.address_of_user(&name).await? {
            addresses.insert(name, address.to_string());
        }
    }
    let header = local::qualified(header, |name| addresses.get(name).cloned());
    incoming.push(&header, &**store, budget).await;
    incoming.push(rest, &**store, budget).await;
    while !is_over && incoming.failure.is_none() {
        let piece = content.piece().await?;
        is_over = piece.is_empty();
        incoming.push(&piece, &**store, budget).await;
    }
    Ok(())
}

/// Returns a message that has arrived completely, in the form for delivery.
fn message(
    acceptor: &Acceptor,
    incoming: Incoming,
    (envelope, reverse_path): (&GivenEnvelope, ReversePath),
    recipients: &[Recipient],
    record: MessageRecord,
) -> Message {
    let received = HandedOver {
        uid: envelope.uid,
        by: &acceptor.hostname,
        id: incoming.id,
        recipient: match recipients {
            [only] => Some(&only.address),
            _ => None,
        },
        time: incoming.time,
    };
    let head = format!("{}{}", incoming.signatures, received.field()).into_bytes();
    let origin = Origin {
        hello: format!("user {}", envelope.uid),
        protocol: PROTOCOL.to_owned(),
        ..Origin::default()
    };
    let given = &envelope.given;
    let envelope_id = given.envelope_id.clone().filter(|text| from_xtext(text).is_some());
    let envelope = Envelope {
        envelope_id,
        ret: given.ret,
        body: if incoming.is_eight_bit { Body::EightBitMime } else { Body::SevenBit },
        utf8: incoming.needs_utf8(),
        ..Envelope::from_sender(reverse_path)
    };
    let message = incoming.into_message(head, origin, envelope);
    Message { is_submitted: true, records: vec![record], ..message }
}
