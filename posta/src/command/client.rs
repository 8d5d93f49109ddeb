//! The commands that are a client of other servers, or of one's own: `posta send`, `fetch` and `bench`.

pub(crate) mod bench;
pub(crate) mod fetch;
pub(crate) mod send;
