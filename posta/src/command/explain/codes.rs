//! What codes mean: tables, in the order of their numbers. A table is as long as its registry.

mod details;
mod replies;

pub(super) use details::DETAILS;
pub(super) use replies::CODES;

/// What is said of a code.
pub(super) struct Meaning {
    pub(super) what: &'static str,
    /// By whom, to what.
    pub(super) who: &'static str,
    /// What a person does about it.
    pub(super) cure: &'static str,
    pub(super) source: &'static str,
}

const fn meaning(
    what: &'static str,
    who: &'static str,
    cure: &'static str,
    source: &'static str,
) -> Meaning {
    Meaning { what, who, cure, source }
}
