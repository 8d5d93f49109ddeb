//! Changes what is in the corpora at random, without the compiler's counters: a short run belongs to every test run, and a
//! long one needs no build of its own (`FUZZ_INPUTS=1000000 FUZZ_TARGET=mailbox cargo test -p fuzz --test mutations`).

use fuzz::{Target, corpus};
use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// The changed inputs of a short run, for each target.
const INPUTS: usize = 150;

/// The most octets of an input.
const LONGEST: usize = 4_096;

/// Octets that parsers look for, and numbers at which they may overflow.
const PIECES: [&[u8]; 16] = [
    b"\r\n",
    b"\n",
    b"\0",
    b"\n\n",
    b" ",
    b":",
    b"=",
    b"{",
    b"\"",
    b"From ",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80",
    b"-1",
    b"18446744073709551616",
    b"\xe2\x80\xae",
];

/// Numbers that look random, the same in each run (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }
}

/// Changes an input in one to six places, perhaps with parts of another.
fn changed(inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        let end = at + random.below((input.len() - at).min(64) + 1);
        match random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.below(256) as u8,
            2 => drop(input.drain(at..end)),
            3 => {
                let part = input[at..end].to_vec();
                let repeated = part.repeat(1 + random.below(8));
                input.splice(at..at, repeated);
            }
            4 => drop(input.splice(at..end, PIECES[random.below(PIECES.len())].iter().copied())),
            5 => {
                let other = &inputs[random.below(inputs.len())];
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => input.truncate(end),
        }
        input.truncate(LONGEST);
    }
    input
}

#[test]
#[expect(clippy::disallowed_methods, reason = "who fuzzes says how long, and what")]
fn changed_inputs_hold() {
    let most = env::var("FUZZ_INPUTS").ok().and_then(|most| most.parse().ok()).unwrap_or(INPUTS);
    let wanted = env::var("FUZZ_TARGET").unwrap_or_default();
    for target in Target::ALL.into_iter().filter(|target| target.name().contains(&wanted)) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name());
        let inputs = corpus::read(&file).expect("every target has a corpus");
        let mut random = Random(0x5DEE_CE66_D1CE_CAFE);
        for _ in 0..most {
            let input = changed(&inputs, &mut random);
            let run = catch_unwind(AssertUnwindSafe(|| target.run(&input)));
            assert!(run.is_ok(), "{}: {}", target.name(), input.escape_ascii());
        }
        println!("{}: {most} inputs", target.name());
    }
}
