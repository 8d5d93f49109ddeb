//! The store of many machines: [`posta_store::Store`] on PostgreSQL 15 or newer. Any number of nodes use one database.
//!
//! - **Accepting** is one round trip and one commit for all messages that wait at the same moment (`accept`): a
//!   function in the database (`schema/functions.sql`) takes them as arrays.
//! - **Changes of a mailbox** lock the row of its *ledger* first, in the order of accounts, so changes of one account
//!   follow each other on all nodes, and a greater mod-sequence is never visible before a smaller one.
//! - **A lost answer to COMMIT** is never taken for success or failure: the work is done again under the same key
//!   (`database`), or, for an accepted message, under the same id.
//! - **Large pieces of contents** go to an object store, if there is one (`objects`), before the transaction that names
//!   them, and are removed a day after the last row that did.
//! - **Changes are told** to other nodes by NOTIFY (`news`): those of the directory in their transaction, the others
//!   up to 30 ms later, so that no message waits for them.
//! - **What a node claims** belongs to it for as long as its heartbeat is on time (`heart`), whatever clocks show.
//!
//! Each method runs as a task of its own to its end, even if the caller is gone. High availability is PostgreSQL's own:
//! with a synchronous standby, an accepted message survives the loss of either machine.

mod accept;
mod background;
mod columns;
mod connection;
mod database;
mod fault;
mod heart;
mod news;
mod node;
mod objects;
mod remembered;
mod schema;
mod seals;
mod settings;
mod store;

pub use objects::ObjectSettings;
pub use settings::Settings;
pub use store::PostgresStore;
