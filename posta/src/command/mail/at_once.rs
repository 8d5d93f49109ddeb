//! Work on several mailboxes at once.

use parking_lot::Mutex;
use std::thread;

/// The mailboxes that are moved at the same time.
const AT_ONCE: usize = 4;

/// Does the work for each of the jobs, several at once. Returns the results in the order of the jobs.
pub(super) fn at_once<J: Send, R: Send>(jobs: Vec<J>, work: impl Fn(J) -> R + Sync) -> Vec<R> {
    let count = jobs.len().min(AT_ONCE);
    let waiting = Mutex::new(jobs.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().next();
                    let Some((number, job)) = next else { break };
                    let result = work(job);
                    done.lock().push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_jobs() {
        let numbers: Vec<_> = (0..1_000).collect();
        let doubled = at_once(numbers.clone(), |number| number * 2);
        assert_eq!(doubled, numbers.iter().map(|number| number * 2).collect::<Vec<_>>());
    }
}
