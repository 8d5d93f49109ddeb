//! How mail is read: the answers to a POP3 session's questions. Other protocols will stand beside it.

pub mod maildrop;
