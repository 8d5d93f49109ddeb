//! A case of the suite, and running them.

use super::block_on;
use crate::Store;
use parking_lot::Mutex;
use std::{fmt::Write as _, future::Future, ops::Range, pin::Pin, sync::Arc, thread};

/// The seeds of the random cases in an ordinary run.
const SEEDS: Range<u64> = 1..9;

/// The number of cases that run at the same moment. Each waits for its disk or its database most of the time.
const AT_ONCE: usize = 4;

/// The site of one store: a directory, a schema of a database, or memory.
pub trait Site {
    /// Opens the store, which is empty at first. A case opens it again only after it dropped what it opened before, as
    /// a server does that is restarted.
    fn open(&self) -> Arc<dyn Store>;
}

/// Makes an empty site.
pub type Make<'a> = &'a (dyn Fn() -> Box<dyn Site> + Sync);

type Checking<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A rule, and what checks it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    name: &'static str,
    check: Check,
}

#[derive(Debug, Clone, Copy)]
enum Check {
    Store(for<'s> fn(&'s dyn Store) -> Checking<'s>),
    Site(for<'s> fn(&'s dyn Site) -> Checking<'s>),
    Random(for<'s> fn(&'s dyn Site, u64) -> Checking<'s>),
}

impl Case {
    pub(super) const fn of_a_store(
        name: &'static str,
        check: for<'s> fn(&'s dyn Store) -> Checking<'s>,
    ) -> Self {
        Self { name, check: Check::Store(check) }
    }

    pub(super) const fn of_a_site(
        name: &'static str,
        check: for<'s> fn(&'s dyn Site) -> Checking<'s>,
    ) -> Self {
        Self { name, check: Check::Site(check) }
    }

    pub(super) const fn random(
        name: &'static str,
        check: for<'s> fn(&'s dyn Site, u64) -> Checking<'s>,
    ) -> Self {
        Self { name, check: Check::Random(check) }
    }

    /// Returns the name: the module within the suite, and the function that checks the rule.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name.split_once("conformance::").map_or(self.name, |(_, name)| name)
    }

    const fn is_random(&self) -> bool {
        matches!(self.check, Check::Random(_))
    }

    fn run(self, seed: u64, make: Make<'_>) {
        let site = make();
        block_on(async {
            match self.check {
                Check::Store(check) => check(&*site.open()).await,
                Check::Site(check) => check(&*site).await,
                Check::Random(check) => check(&*site, seed).await,
            }
        });
    }
}

/// Runs the whole suite.
///
/// # Panics
/// When the store breaks a rule.
pub fn run(make: Make<'_>) {
    run_some(make, &[""]);
}

/// Runs the cases whose names contain one of these texts, such as `queue::`: for what only some rules are about, and
/// while a store is being written.
///
/// # Panics
/// When the store breaks a rule, or no case has such a name.
pub fn run_some(make: Make<'_>, names: &[&str]) {
    run_seeds(make, names, SEEDS);
}

/// Runs the random cases with other seeds, as many as there is time for.
///
/// # Panics
/// When the store breaks a rule.
pub fn run_random(make: Make<'_>, seeds: Range<u64>) {
    run_seeds(make, &["random::"], seeds);
}

fn run_seeds(make: Make<'_>, names: &[&str], seeds: Range<u64>) {
    let wanted = super::cases().filter(|case| names.iter().any(|name| case.name().contains(name)));
    let mut jobs = Vec::new();
    for &case in wanted {
        match case.is_random() {
            true => jobs.extend(seeds.clone().map(|seed| (case, seed))),
            false => jobs.push((case, 0)),
        }
    }
    assert!(!jobs.is_empty(), "no case has such a name: {names:?}");
    let (jobs, failed) = (Mutex::new(jobs.into_iter()), Mutex::new(String::new()));
    let work = || {
        loop {
            let next = jobs.lock().next();
            let Some((case, seed)) = next else { break };
            let name = match case.is_random() {
                true => format!("{} (seed {seed})", case.name()),
                false => case.name().to_owned(),
            };
            // A thread of its own has the case's name in what a panic says.
            let has_failed = thread::scope(|scope| {
                let thread = thread::Builder::new().name(name.clone());
                let thread = thread.spawn_scoped(scope, || case.run(seed, make)).unwrap();
                thread.join().is_err()
            });
            if has_failed {
                let _ = write!(failed.lock(), "\n  {name}");
            }
        }
    };
    thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner();
    assert!(failed.is_empty(), "the store breaks these rules:{failed}");
}
