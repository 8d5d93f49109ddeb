//! Limits on the size of DNS answers: for being read, and for being cached.
//!
//! An answer over TCP can have 64 KiB: thousands of records, each of which takes twenty times as much
//! memory as on the wire. Without limits, a stranger who has mail sent to a thousand of his own names
//! would decide how much memory their answers take.

use hickory_resolver::proto::{
    rr::{RData, Record},
    serialize::binary::BinEncodable,
};

/// The maximal number of records in an answer. The largest sets in use by mail have a few dozen.
pub(super) const RECORDS: usize = 128;

/// The maximal number of octets in an answer's records, with names uncompressed. Large domains have 8
/// KiB of TXT records.
pub(super) const OCTETS: usize = 16 * 1024;

/// The maximal number of records in a cached answer, other sections included. Together with
/// [`CACHED_OCTETS`], this is about the content of one UDP datagram; larger answers are requested
/// each time.
const CACHED_RECORDS: usize = 24;

/// The maximal number of octets in a cached answer, other sections included.
const CACHED_OCTETS: usize = 2 * 1024;

/// The maximal number of answers that the library caches. If all are as large as allowed, they take 17 MB.
pub(super) const ANSWERS: u64 = 2 * 1024;

/// The size of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    records: usize,
    octets: usize,
}

impl Size {
    pub(super) fn of<'r>(records: impl IntoIterator<Item = &'r Record>) -> Self {
        records.into_iter().fold(Self::default(), |size, record| Self {
            records: size.records + 1,
            octets: size.octets + octets(record),
        })
    }

    /// Returns whether an answer with records of this size is small enough to be read.
    pub(super) fn may_be_read(self) -> bool {
        self.records <= RECORDS && self.octets <= OCTETS
    }

    /// Returns whether an answer of this size, counting all sections, is small enough to be cached.
    pub(super) fn may_be_cached(self) -> bool {
        self.records <= CACHED_RECORDS && self.octets <= CACHED_OCTETS
    }

    /// Returns about the number of octets that records of this size take in memory, as the caller gets them.
    pub(super) const fn in_memory(self) -> usize {
        64 * self.records + 2 * self.octets
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { records, octets } = self;
        write!(
            f,
            "the answer has {records} records of {octets} octets; at most {RECORDS} records of \
             {OCTETS} octets are read"
        )
    }
}

/// Returns the number of octets of a record on the wire, with names uncompressed.
fn octets(record: &Record) -> usize {
    // The types that mail uses are measured without encoding them, since every message to another server
    // needs several look-ups.
    let data = match &record.data {
        RData::A(_) => 4,
        RData::AAAA(_) => 16,
        RData::MX(mx) => 2 + mx.exchange.len(),
        RData::CNAME(target) => target.len(),
        RData::TXT(text) => text.txt_data.iter().map(|piece| 1 + piece.len()).sum(),
        RData::TLSA(tlsa) => 3 + tlsa.cert_data.len(),
        other => other.to_bytes().map_or(usize::MAX / (2 * RECORDS), |octets| octets.len()),
    };
    record.name.len() + 10 + data
}

#[cfg(test)]
mod tests {
    use crate::dns::{Dns, LookupError, Resolver, Validation};
    use hickory_resolver::proto::{
        op::{Message, MessageType, OpCode},
        rr::{
            Name, RData, Record, RecordType,
            rdata::{A, CNAME, MX, TLSA, TXT},
        },
        serialize::binary::{BinDecodable, BinEncodable},
    };
    use std::{
        io::{Read, Write},
        net::{SocketAddr, TcpListener, UdpSocket},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    /// The records that the name server has for a name: `KIND-COUNT` has `COUNT` records of that kind.
    fn records(name: &Name, kind: RecordType) -> Vec<Record> {
        let label = name.to_ascii();
        let (what, count) = label.split('.').next().unwrap().split_once('-').unwrap();
        let count: usize = count.parse().unwrap();
        let record = |data| Record::from_rdata(name.clone(), 600, data);
        let numbered = |number: usize| Name::from_ascii(format!("n{number}.x.test.")).unwrap();
        match (what, kind) {
            ("mx", RecordType::MX) => {
                (0..count).map(|number| record(RData::MX(MX::new(1, numbered(number))))).collect()
            }
            ("a", RecordType::A) => {
                let address = |number: usize| A::new(192, 0, (number / 256) as u8, number as u8);
                (0..count).map(|number| record(RData::A(address(number)))).collect()
            }
            ("txt", RecordType::TXT) => {
                vec![record(RData::TXT(TXT::new(vec!["x".repeat(250); count])))]
            }
            ("tlsa", RecordType::TLSA) => {
                let tlsa = TLSA::new(3.into(), 1.into(), 1.into(), vec![7; count]);
                vec![record(RData::TLSA(tlsa))]
            }
            ("alias", RecordType::A) => {
                let link = |number: usize| {
                    let from = if number == 0 { name.clone() } else { numbered(number) };
                    Record::from_rdata(from, 600, RData::CNAME(CNAME(numbered(number + 1))))
                };
                let end = Record::from_rdata(numbered(count), 600, RData::A(A::new(192, 0, 2, 1)));
                (0..count).map(link).chain([end]).collect()
            }
            _ => Vec::new(),
        }
    }

    fn answer(query: &[u8]) -> Message {
        let query = Message::from_bytes(query).unwrap();
        let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        let asked = query.queries[0].clone();
        answer.add_answers(records(asked.name(), asked.query_type()));
        answer.add_query(asked);
        answer
    }

    /// A name server that truncates every answer over UDP, and counts the queries.
    fn serve() -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(address).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        thread::spawn(move || {
            let mut query = [0; 4096];
            while let Ok((octets, from)) = socket.recv_from(&mut query) {
                let mut answer = answer(&query[..octets]);
                answer.answers.clear();
                answer.metadata.truncation = true;
                let _ = socket.send_to(&answer.to_bytes().unwrap(), from);
            }
        });
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, counted) = (stream.unwrap(), counted.clone());
                thread::spawn(move || {
                    let mut length = [0; 2];
                    while stream.read_exact(&mut length).is_ok() {
                        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                        stream.read_exact(&mut query).unwrap();
                        counted.fetch_add(1, Ordering::Relaxed);
                        let answer = answer(&query).to_bytes().unwrap();
                        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                        stream.write_all(&[&length, &answer[..]].concat()).unwrap();
                    }
                });
            }
        });
        (address, asked)
    }

    /// The last label of each name is a number of records. Up to the limits every record is found;
    /// beyond them none is, and large answers are not cached.
    #[tokio::test]
    async fn answers_have_limits() {
        let (address, asked) = serve();
        let dns = Dns::new(&[address], Validation::Never).unwrap();
        for (name, found, asked_again) in [
            ("mx-5.x.test", Some(5), false),
            ("mx-100.x.test", Some(100), true),
            ("mx-128.x.test", Some(128), true),
            ("mx-129.x.test", None, false),
            ("mx-1500.x.test", None, false),
            ("a-128.x.test", Some(128), true),
            ("a-1500.x.test", None, false),
            ("txt-5.x.test", Some(1), false),
            ("txt-60.x.test", Some(1), true),
            ("txt-240.x.test", None, false),
            ("tlsa-32.x.test", Some(1), false),
            ("tlsa-10000.x.test", Some(1), true),
            ("tlsa-20000.x.test", None, false),
            ("alias-3.x.test", Some(1), false),
            ("alias-100.x.test", Some(1), true),
            ("alias-1000.x.test", None, false),
        ] {
            let look_up = async || match name.split('-').next().unwrap() {
                "mx" => dns.exchangers(name).await.map(|answer| answer.found.len()),
                "txt" => dns.texts(name).await.map(|answer| answer.found.len()),
                "tlsa" => dns.certificates(name).await.map(|answer| answer.found.len()),
                _ => dns.addresses(name).await.map(|answer| answer.found.len()),
            };
            match (look_up().await, found) {
                (Ok(count), Some(expected)) => assert_eq!(count, expected, "{name}"),
                (Err(LookupError::Failed(_, why)), None) => {
                    assert!(why.contains(" are read"), "{name}: {why}");
                }
                other => panic!("{name}: {other:?}"),
            }
            let before = asked.load(Ordering::Relaxed);
            let _ = look_up().await;
            let is_asked = asked.load(Ordering::Relaxed) > before;
            assert_eq!(is_asked, asked_again, "{name}: whether it is asked for again");
        }
    }
}
