//! The part of a limit that this server may use, where several share the queue.
//!
//! What is allowed for another server or a destination is divided among the live nodes of the store. Each knows the number
//! of nodes and its own place among them from the last heartbeat, and all calculate the same, so no two use the same part
//! and nobody asks anybody. While a node has not heard yet that another came, which takes a heartbeat, both may use one.

use posta_mail::Timestamp;
use posta_store::NodeStanding;
use std::time::Duration;

/// The time for which a connection belongs to one node, where there are fewer connections than nodes.
const TURN: Duration = Duration::from_secs(10);

/// The part of a turn at its beginning in which nobody opens a connection, so that all have heard of the one that another
/// opened at the end of the turn before.
const HUSH: Duration = Duration::from_secs(1);

/// This server's place among those that share the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    nodes: u64,
    /// The number of nodes before this one.
    rank: u64,
}

/// The connections that a node may have at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// The number that it may have.
    pub(crate) connections: usize,
    /// The time until it may open one of them, or may have another number.
    pub(crate) wait: Duration,
}

impl Share {
    pub(crate) const fn of(standing: NodeStanding) -> Self {
        let nodes = if standing.nodes == 0 { 1 } else { standing.nodes };
        Self { nodes, rank: standing.rank % nodes }
    }

    /// Returns whether nodes take turns with a limit, because it is smaller than their number.
    pub(crate) const fn takes_turns(self, limit: usize) -> bool {
        (limit as u64) < self.nodes
    }

    /// Returns how many of `limit` connections to a server are this node's. What cannot be divided goes to other nodes for
    /// other servers. Where there are fewer connections than nodes, these take turns by the clock.
    pub(crate) fn of_connections(self, limit: usize, server: &str, now: Timestamp) -> Allowed {
        let limit = limit as u64;
        if !self.takes_turns(limit as usize) {
            let is_extra = self.place(server) < limit % self.nodes;
            let connections = (limit / self.nodes + u64::from(is_extra)) as usize;
            return Allowed { connections, wait: Duration::ZERO };
        }
        let (turn, millis) = (TURN.as_millis() as i64, now.as_millisecond());
        let into = Duration::from_millis(millis.rem_euclid(turn).unsigned_abs());
        let place = (self.place(server) + millis.div_euclid(turn).unsigned_abs()) % self.nodes;
        match place < limit {
            true => Allowed { connections: 1, wait: HUSH.saturating_sub(into) },
            false => Allowed { connections: 0, wait: TURN - into + HUSH },
        }
    }

    /// Returns the time to wait for this node's next turn at a destination that takes one message in each `step`; `wait`
    /// is the time after which it may be. Alone, that is the time itself. Several nodes take turns by the clock.
    pub(crate) fn turn(
        self,
        destination: &str,
        step: Duration,
        wait: Duration,
        now: Timestamp,
    ) -> Duration {
        if self.nodes <= 1 || step.is_zero() {
            return wait;
        }
        let (step, nodes) = (step.as_nanos(), u128::from(self.nodes));
        let now = now.as_nanosecond().max(0).unsigned_abs();
        let first = (now + wait.as_nanos()).div_ceil(step);
        let behind = (first + u128::from(self.place(destination))) % nodes;
        let mine = first + (nodes - behind) % nodes;
        Duration::from_nanos(u64::try_from(mine * step - now).unwrap_or(u64::MAX))
    }

    /// Returns this node's place among the nodes in questions of a name, which differs from name to name.
    fn place(self, name: &str) -> u64 {
        // FNV-1a: all nodes, whatever their versions, calculate the same.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
            (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        (self.rank + hash % self.nodes) % self.nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(nodes: u64) -> Vec<Share> {
        (0..nodes).map(|rank| Share { nodes, rank }).collect()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap()
    }

    #[test]
    fn the_parts_of_a_limit_are_the_limit() {
        let mut first = vec![0; 3];
        for (limit, count) in [(20, 1), (20, 2), (20, 3), (3, 3), (7, 5)] {
            for server in ["mx1.y.test", "mx2.y.test", "z.test", "[192.0.2.1]"] {
                let parts = nodes(count).into_iter();
                let parts = parts.map(|it| it.of_connections(limit, server, at(0)).connections);
                let parts: Vec<_> = parts.collect();
                assert_eq!(parts.iter().sum::<usize>(), limit, "{server}: {parts:?}");
                assert!(parts.iter().all(|part| *part >= limit / count as usize));
                if (limit, count) == (20, 3) {
                    parts.iter().zip(&mut first).for_each(|(part, most)| *most = *part.max(most));
                }
            }
        }
        assert_eq!(first, [7, 7, 7], "the remainder is not always the same node's");
    }

    #[test]
    fn fewer_connections_than_nodes_go_round() {
        let nodes = nodes(3);
        let mut turns = [0; 3];
        for millis in (0..60_000).step_by(250) {
            let allowed = nodes.iter().map(|it| it.of_connections(2, "y.test", at(millis)));
            let allowed: Vec<_> = allowed.collect();
            let held: usize = allowed.iter().map(|it| it.connections).sum();
            let open = allowed.iter().filter(|it| it.connections == 1 && it.wait.is_zero());
            let is_hush = millis % 10_000 < 1_000;
            assert_eq!((held, open.count()), (2, if is_hush { 0 } else { 2 }), "at {millis} ms");
            for (allowed, turns) in allowed.iter().zip(&mut turns) {
                *turns += allowed.connections;
                let later = at(millis) + allowed.wait;
                assert!(allowed.wait.is_zero() || later.as_millisecond() % 10_000 == 1_000);
            }
        }
        assert_eq!(turns, [160, 160, 160], "no node is left out");
    }

    #[test]
    fn the_turns_of_all_nodes_keep_the_rate() {
        let step = Duration::from_secs(1);
        let mut all = Vec::new();
        for node in nodes(3) {
            let mut earliest = Duration::from_millis(300);
            for _ in 0..5 {
                let turn = node.turn("y.test", step, earliest, at(0));
                all.push(turn.as_millis());
                earliest = turn + step;
            }
        }
        all.sort_unstable();
        let expected: Vec<u128> = (1..=15).map(|second| second * 1_000).collect();
        assert_eq!(all, expected, "one message a second, from all together");
        let alone = Share { nodes: 1, rank: 0 };
        assert_eq!(alone.turn("y.test", step, Duration::ZERO, at(1)), Duration::ZERO);
    }
}
