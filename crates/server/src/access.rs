//! Reading mail: the answers to a POP3 session's questions. Other protocols will join it here.

pub mod maildrop;
