//! DKIM signatures and ARC seals, by Posta, opendkim and dkimpy, over messages full of traps.

use super::{SKIPPED, check};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use posta_mail::Timestamp;
use posta_origin::{
    arc::ArcResult,
    dkim::{Algorithm, DkimResult, KeyPair, Keys, Signer},
    dns::{Record, Zone, now_or_never},
    observer::{Needs, Observed, Observer},
};
use std::{fs, path::Path, process::Command};

/// The number of messages that each side signs.
const MESSAGES: usize = 500;

/// opendkim and dkimpy verify Posta's signatures, and Posta verifies theirs.
#[test]
fn opendkim_and_dkimpy_agree_with_us() {
    let directory = tempfile::tempdir().unwrap();
    let signers =
        [("r", Algorithm::RsaSha256), ("e", Algorithm::Ed25519Sha256)].map(|(name, algorithm)| {
            Signer::new(
                "x.test".parse().unwrap(),
                name.into(),
                KeyPair::generate(algorithm).unwrap(),
            )
        });
    let zone = write_keys(directory.path(), &signers);
    let names = ["plain", "ours", "sealed", "dkimpy", "opendkim", "dkimpy-sealed"];
    let folder = names.map(|name| directory.path().join(name));
    folder.iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let mut chance = Chance(7);
    for number in 0..MESSAGES {
        let message = chance.message(number);
        let file = format!("{number:03}.eml");
        fs::write(folder[0].join(&file), &message).unwrap();
        let observed = observe(&message);
        let fields = signers.iter().map(|signer| observed.sign(signer, time()).unwrap().unwrap());
        let signed = [fields.collect::<String>().into_bytes(), message].concat();
        fs::write(folder[1].join(&file), &signed).unwrap();
        fs::write(folder[2].join(&file), sealed(&signed, &signers[0], &zone)).unwrap();
    }
    // Debian's own Python, whose package includes dkimpy.
    let mut python = Command::new("/usr/bin/python3");
    let ran =
        python.arg(posta_tests::script("signatures.py")).arg(directory.path()).output().unwrap();
    check("signatures.py", &ran);
    if ran.status.code() == Some(SKIPPED) {
        return;
    }
    // Their signatures are from this moment.
    let now = fs::metadata(directory.path().join("opendkim")).unwrap().modified().unwrap();
    let now = Timestamp::try_from(now).unwrap();
    for (name, message) in [read(&folder[3]), read(&folder[4])].concat() {
        let (observed, keys) = with_keys(&message, &zone);
        let verified = observed.verify_dkim(&keys, now);
        assert_eq!(verified.len(), 1, "{name}");
        assert_eq!(verified[0].result, DkimResult::Pass, "{name}: {}", verified[0].reason);
    }
    for (name, message) in read(&folder[5]) {
        let (observed, keys) = with_keys(&message, &zone);
        let verified = observed.verify_arc(&keys, now);
        assert_eq!(verified.result, ArcResult::Pass, "{name}: {}", verified.reason);
    }
}

/// Returns the observations of a message, and the keys that it needs.
fn with_keys(message: &[u8], zone: &Zone) -> (Observed, Keys) {
    let observed = observe(message);
    let keys = now_or_never(Keys::look_up(zone, &observed.key_names())).unwrap();
    (observed, keys)
}

fn time() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn observe(message: &[u8]) -> Observed {
    let mut observer = Observer::new(Needs { verify: true, sign: true });
    message.chunks(1_000).for_each(|piece| observer.write(piece));
    observer.finish()
}

/// Returns the message as sealed by two servers, one after the other.
fn sealed(message: &[u8], signer: &Signer, zone: &Zone) -> Vec<u8> {
    (0..2).fold(message.to_vec(), |message, _| {
        let (observed, keys) = with_keys(&message, zone);
        let verified = observed.verify_arc(&keys, time());
        let set = observed.seal(&verified, "mx.x.test; dkim=pass header.d=x.test", signer, time());
        [set.unwrap().unwrap().into_bytes(), message].concat()
    })
}

/// Writes the private keys in the form that the other programs read, and the records. Returns the
/// records.
fn write_keys(directory: &Path, signers: &[Signer]) -> Zone {
    let mut zone = Zone::default();
    let mut records = String::new();
    for signer in signers {
        let name = format!("{}._domainkey.x.test", signer.selector());
        let record = signer.key().record().unwrap();
        records.push_str(&format!("{name} {record}\n"));
        zone.add(&name, Record::Txt(record));
        let key = signer.key().to_pkcs8().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            lines(key.expose())
        );
        fs::write(directory.join(format!("{}.pem", signer.selector())), pem).unwrap();
        // In PKCS #8, an Ed25519 key ends with the seed (RFC 8410 §7).
        let seed = &key.expose()[key.expose().len() - 32..];
        fs::write(directory.join(format!("{}.seed", signer.selector())), STANDARD.encode(seed))
            .unwrap();
    }
    fs::write(directory.join("keys"), records).unwrap();
    zone
}

fn lines(key: &[u8]) -> String {
    let text = STANDARD.encode(key);
    let lines: Vec<_> =
        text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    lines.join("\n")
}

/// Reads the signed messages of a program, which must be all messages.
fn read(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let messages: Vec<_> =
        files.map(|file| (file.display().to_string(), fs::read(&file).unwrap())).collect();
    assert_eq!(messages.len(), MESSAGES, "{}", folder.display());
    messages
}

/// A reproducible random generator (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn text(&mut self, parts: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| self.of(parts)).collect()
    }

    fn message(&mut self, number: usize) -> Vec<u8> {
        let from =
            ["<ana@x.test>", "ana@x.test", "\"A  (na\"\t<ana@x.test>", "A\r\n na <ana@x.test>"];
        let name = self.of(&["From: ", "FROM:", "from: \r\n ", "From:\t"]);
        let mut fields = vec![name.to_owned() + self.of(&from)];
        for _ in 0..self.below(9) {
            fields.push(self.field());
        }
        let place = self.below(fields.len());
        fields.swap(0, place);
        let body = match number % 10 {
            0 => String::new(),
            1 => "\r\n".repeat(self.below(5)),
            2 => " \r\n\t\r\n".repeat(self.below(3)),
            _ => (0..self.below(30)).map(|_| self.line() + "\r\n").collect(),
        };
        [fields.join("\r\n"), "\r\n\r\n".into(), body].concat().into_bytes()
    }

    fn field(&mut self) -> String {
        const NAMES: &str = "To Cc Subject SUBJECT Date Message-ID X-Some-thing Received List-Id MIME-Version \
                             Content-Type content-transfer-encoding Reply-To DKIM-Signature-Not";
        const VALUES: &str = "word|two  words| |\t|\r\n |\r\n\t  |=?utf-8?q?B=C4=83?=|Bună ziua|:|;|b=abc; |\
                              \"quoted; b=\"|(comment \\) )|<a@b.test>";
        let names: Vec<_> = NAMES.split(' ').collect();
        let digits = "0123456789".repeat(30);
        let values: Vec<_> = VALUES.split('|').chain([digits.as_str()]).collect();
        let space = self.of(&["", " ", "  ", "\t"]);
        let value = [space, &self.text(&values, 7)].concat();
        // Some programs would take a line of white space only for the end of the header section.
        let lines: Vec<_> = value.split("\r\n").filter(|line| !line.trim().is_empty()).collect();
        format!("{}:{}", self.of(&names), lines.join("\r\n"))
    }

    fn line(&mut self) -> String {
        const LINES: &str = "text|||\t|a  b\tc|trailing \t| leading|.|..|.dot|From me|Bună ziua|=3D=20|\
                             --boundary|x: y";
        let digits = "0123456789".repeat(90);
        let lines: Vec<_> = LINES.split('|').chain([digits.as_str()]).collect();
        self.of(&lines).to_owned()
    }
}
