//! Time, message ids and random numbers, from one source that tests can replace.

use parking_lot::Mutex;
use posta_mail::{MailId, Timestamp};

/// The source of time, message ids and random numbers. No other code asks the operating system for them.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Fills `octets` with random ones that are impossible to guess.
    fn random(&self, octets: &mut [u8]);

    /// Returns an id for a new message.
    fn mail_id(&self) -> MailId {
        let mut octets = [0; 8];
        self.random(&mut octets);
        MailId::new(self.now(), u64::from_be_bytes(octets))
    }
}

/// The system's clock and random numbers.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the system's time is read")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    #[expect(clippy::expect_used, reason = "without randomness no password or id is safe")]
    fn random(&self, octets: &mut [u8]) {
        aws_lc_rs::rand::fill(octets).expect("the system supplies random numbers");
    }
}

/// A clock that does not advance until it is set, and random numbers determined by a seed: for tests and
/// simulations.
#[derive(Debug)]
pub struct SimulatedClock {
    state: Mutex<(Timestamp, u64)>,
}

impl SimulatedClock {
    /// Returns a clock set to `now`.
    #[must_use]
    pub fn new(now: Timestamp, seed: u64) -> Self {
        Self { state: Mutex::new((now, seed | 1)) }
    }

    /// Sets the clock to `now`.
    pub fn set(&self, now: Timestamp) {
        self.state.lock().0 = now;
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        self.state.lock().0
    }

    fn random(&self, octets: &mut [u8]) {
        let mut state = self.state.lock();
        for octet in octets {
            // xorshift64*
            state.1 ^= state.1 >> 12;
            state.1 ^= state.1 << 25;
            state.1 ^= state.1 >> 27;
            *octet = (state.1.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8;
        }
    }
}
