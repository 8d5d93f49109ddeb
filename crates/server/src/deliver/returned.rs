//! Messages that reach nobody although nobody waits for a reply: the sender gets a report instead (RFC 5321 §6.1).

use super::{
    Delivered, Message, To, Undelivered, acceptance,
    filtered::Filtered,
    message_log::Arrival,
    outcome::Outcome,
    verdict::{Decided, Refused},
};
use posta_mime::dsn::Action;
use posta_smtp::client::Decision;
use posta_store::{Acceptance, Store, StoreError};

/// Ends a message that is refused. If nobody waits for a reply, and a later attempt would be refused as well, the message
/// has failed for all recipients.
///
/// # Errors
/// The refusal, for whoever waits for it or tries again.
pub(super) async fn refused(
    store: &dyn Store,
    message: Message,
    mut to: To<'_>,
    refused: Refused,
) -> Result<Delivered, Undelivered> {
    let Refused { reply, why } = refused;
    if let To::Recipients { recipients, unheard: Some(failed), .. } = &mut to
        && reply.code.is_permanent()
    {
        failed.extend(recipients.drain(..).map(|recipient| Outcome {
            address: recipient.address,
            notify: recipient.notify,
            original: recipient.original,
            action: Action::Failed,
            decision: Some(Decision::ours(reply.clone())),
            host: None,
            is_given_up: false,
        }));
        return give_back(store, message, to).await;
    }
    Err(Undelivered::Refused { reply, why, untold: message.refused })
}

/// Ends a message none of whose recipients is left: stores what became of it, and the report to its sender. Its content is
/// not kept.
///
/// # Errors
/// When the store fails.
pub(super) async fn give_back(
    store: &dyn Store,
    message: Message,
    to: To<'_>,
) -> Result<Delivered, Undelivered> {
    let (id, chunks) = (message.id, message.chunks);
    let returned = acceptance(message, to, &Decided::default(), Filtered::default()).await?;
    let arrival = Arrival::new(&returned, "");
    report_only(store, returned).await?;
    arrival.accepted();
    if chunks > 0 {
        store.discard(id).await?;
    }
    Ok(Delivered::default())
}

async fn report_only(store: &dyn Store, message: Acceptance) -> Result<(), StoreError> {
    let Acceptance { mut reports, events, records, .. } = message;
    if let Some(mut report) = reports.pop() {
        report.events.extend(events);
        report.records.extend(records);
        return store.accept(report).await;
    }
    // The sender wanted no report, or cannot be reached.
    store.note(events).await?;
    for record in records {
        store.keep(record.kind, &record.name, Some(record.record)).await?;
    }
    Ok(())
}
