//! Formats before 6 kept secrets in plain, and wrote the one of a mailbox elsewhere again with each visit:
//! in the log, in the tables, in the engine's journal. Here they are sealed, and every file that held
//! them is written anew or deleted. A mark in `meta` stands until all is done: if the upgrade is cut off, or
//! fails as on a full disk, the next start does it again; the mail does not wait for that.

use super::progress::ConversionProgress;
use crate::{
    commit::{Committer, damage::empty_journals, open::Opener},
    disk::Room,
    error::{damaged, failed, io_failed},
    log::{Kind, Walk},
    tables::{
        batch::Batch,
        key_and_value,
        schema::{self, Schema},
    },
};
use fjall::PersistMode;
use posta_mail::Secret;
use posta_store::{SecretOf, SourceId, StoreError};
use serde_json::Value;

/// Where an account's record has its password for APOP: behind version and id, the line of this
/// number.
const ACCOUNT_LINES: usize = 1 + 8;
const APOP_LINE: usize = 3;

/// What tells a source's record that has a password from one that has none: JSON has no bare quote
/// within a text.
const PASSWORD: &[u8] = b"\"password\":";

impl Opener {
    /// Opens a store, and makes an end of what an earlier format left in plain.
    pub(crate) fn open_sealed(&self) -> Result<(Schema, Committer), StoreError> {
        let mut schema = self.open_tables()?;
        let mut committer = self.recover(&schema)?;
        if !schema.is_unsealed()? {
            return Ok((schema, committer));
        }
        tracing::warn!(
            "passwords are sealed, and what held them in plain is written anew, once. An older program does not open the \
             store any more: a backup made before is the way back"
        );
        let sealed = committer.seal_all().and_then(|()| committer.purge_log());
        // Nothing may be written any more that only the journal has.
        drop(committer);
        match sealed.and_then(|()| schema.purge_tables()) {
            Ok(()) => {
                drop(schema);
                empty_journals(&self.directory)?;
                schema = self.open_tables()?;
                schema.meta.remove(schema::UNSEALED).map_err(failed)?;
                schema.database.persist(PersistMode::SyncAll).map_err(failed)?;
            }
            Err(error) => tracing::error!(
                "passwords of mailboxes elsewhere, or for APOP, still stand in the store's files in plain, as \
                 an earlier version left them: {error}; the next start tries again"
            ),
        }
        let committer = self.recover(&schema)?;
        Ok((schema, committer))
    }
}

impl Committer {
    /// Notes that files may hold secrets in plain, if they may.
    pub(crate) fn mark_unsealed(&mut self) -> Result<(), StoreError> {
        if self.schema.format()?.is_none_or(|format| format >= schema::SEALED) {
            return Ok(());
        }
        let mut batch = Batch::new(&self.schema);
        batch.insert(&self.schema.meta, schema::UNSEALED, []);
        self.commit(batch)
    }

    fn seal_all(&mut self) -> Result<(), StoreError> {
        let mut ids = Vec::new();
        for guard in self.schema.source.iter() {
            let (key, _) = key_and_value(guard)?;
            ids.push(SourceId(schema::Reader(&key).u64()?));
        }
        for id in ids {
            self.seal_source(id)?;
        }
        for account in self.schema.all_accounts() {
            let account = account?;
            if account.credentials.apop.is_some() {
                self.set_password(&account.address, account.credentials)?;
            }
        }
        Ok(())
    }

    fn seal_source(&mut self, id: SourceId) -> Result<(), StoreError> {
        let key = id.0.to_be_bytes();
        let Some(value) = self.schema.source.get(key).map_err(failed)? else { return Ok(()) };
        let mut source: Value = schema::decode_json(&value, "a source")?;
        let source = source.as_object_mut().ok_or_else(|| damaged("a source"))?;
        let visit = source.remove("last").filter(|visit| !visit.is_null());
        let login = source.get_mut("login").and_then(Value::as_object_mut);
        let password = login.and_then(|login| login.remove("password"));
        let Some(password) = password.as_ref().and_then(Value::as_str) else { return Ok(()) };
        let (mut batch, of) = (Batch::new(&self.schema), SecretOf::Source(id));
        batch.insert(&self.schema.source, key, schema::encode_json(source)?);
        if let Some(visit) = visit {
            batch.insert(&self.schema.visit, key, schema::encode_json(&visit)?);
        }
        let old = self.put_secret(of, &Secret::new(password.as_bytes()), &mut batch)?;
        self.commit(batch)?;
        self.wipe(of, old);
        Ok(())
    }

    /// Goes on in a new segment, and takes the secrets out of all before it.
    fn purge_log(&mut self) -> Result<(), StoreError> {
        let before = self.log.segment();
        let at = self.log.turn_afresh()?;
        self.contents.kept.insert(before);
        // From here on no restart needs the records of earlier segments.
        self.schema.checkpoint(at)?;
        let earlier: Vec<_> = self.contents.kept.range(..at.segment).copied().collect();
        let (full, empty): (Vec<_>, Vec<_>) =
            earlier.into_iter().partition(|number| self.contents.of(*number) > 0);
        for number in empty {
            self.delete_segment(number)?;
        }
        let what = "files of the log that are written anew";
        let mut progress = ConversionProgress::begin(what, full.len());
        for number in full {
            progress.step();
            self.purge_segment(number)?;
        }
        Ok(())
    }

    /// Takes the secrets out of a segment that shows contents: these move on, if there are any.
    fn purge_segment(&mut self, number: u64) -> Result<(), StoreError> {
        let mut walk = self.contents.walk(number)?;
        let (mut shown, mut has_secret) = (0, false);
        while let Some((kind, place, piece)) = walk.next()? {
            let is_secret = |table, value: &[u8]| self.schema.is_unsealed_record(table, value);
            match kind {
                Kind::Records => has_secret |= Batch::any(Walk::body(&piece), is_secret),
                Kind::Content(key) if self.schema.place(key)? == Some(place) => {
                    shown += place.octets();
                }
                Kind::Content(_) => {}
            }
        }
        if shown < self.contents.of(number) {
            tracing::error!(
                "segment {number} of the log is damaged, and stays as it is for what can still be read \
                 in it; passwords may stand in it in plain"
            );
            return Ok(());
        }
        if !has_secret {
            // What stands behind the last piece is of a former use of the file.
            let cut = walk.file.set_len(walk.position).and_then(|()| walk.file.sync_all());
            return cut.map_err(io_failed);
        }
        self.look_at_disk();
        if self.room < Room::Mail {
            return Err(StoreError::Full);
        }
        let mut walk = self.contents.walk(number)?;
        while self.move_from(&mut walk)? {}
        self.log.flush()?;
        self.delete_segment(number)
    }

    fn delete_segment(&mut self, number: u64) -> Result<(), StoreError> {
        self.contents.kept.remove(&number);
        self.contents.segments.delete(number).map_err(io_failed)
    }
}

impl Schema {
    fn is_unsealed(&self) -> Result<bool, StoreError> {
        self.meta.contains_key(schema::UNSEALED).map_err(failed)
    }

    /// Returns whether a record that the log kept has a secret in plain.
    fn is_unsealed_record(&self, table: u8, value: &[u8]) -> bool {
        if table == self.source.number {
            return value.windows(PASSWORD.len()).any(|at| at == PASSWORD);
        }
        let mut lines = value.get(ACCOUNT_LINES..).unwrap_or_default().split(|&at| at == b'\n');
        table == self.account.number && lines.nth(APOP_LINE).is_some_and(|line| !line.is_empty())
    }

    /// Writes all that is in memory into tables, and those that held secrets anew, without what was
    /// overwritten in them.
    fn purge_tables(&self) -> Result<(), StoreError> {
        for name in self.database.list_keyspace_names() {
            let options = fjall::KeyspaceCreateOptions::default;
            let keyspace = self.database.keyspace(&name, options).map_err(failed)?;
            keyspace.rotate_memtable_and_wait().map_err(failed)?;
        }
        for table in [&self.source, &self.account] {
            table.major_compact().map_err(failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FjallStore, key_file::KeyFile, log::Segments};
    use posta_store::{
        Account, Credentials, Directory, Mailboxes, Records, SecretOf, Sources, Visit,
        conformance::{block_on, message, read, source},
    };
    use std::{
        fs::{self, File},
        os::unix::fs::PermissionsExt,
        path::Path,
        sync::Arc,
    };

    const ELSEWHERE: &str = "of-the-mailbox-elsewhere";
    const FOR_APOP: &str = "of-the-account-for-apop";
    const ADDRESS: &str = "ana@x.test";

    /// The files of a directory in which some octets stand.
    fn holding(directory: &Path, octets: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(holding(&path, octets));
            } else if memchr(&fs::read(&path).unwrap(), octets.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
        found
    }

    fn memchr(content: &[u8], octets: &[u8]) -> bool {
        content.windows(octets.len()).any(|at| at[0] == octets[0] && at == octets)
    }

    fn opener(store: &Path) -> Opener {
        fs::create_dir_all(store).unwrap();
        Opener {
            piece: 1_000,
            directory: store.to_owned(),
            segments: Arc::new(Segments::open(&store.join("log")).unwrap()),
            tables: Arc::default(),
            usages: Arc::default(),
            views: Arc::default(),
            visitors: std::sync::Arc::default(),
            watchers: posta_store::Watchers::default(),
            meters: Arc::default(),
            lanes: Arc::default(),
            keys: Arc::new(KeyFile::new(&store.with_extension("keys"))),
            set_aside: Arc::default(),
        }
    }

    /// Writes what format 5 kept in plain, as it did: the source again with each visit.
    fn write_plain(committer: &mut Committer, account: &Account, visits: u64) {
        let mut batch = Batch::new(&committer.schema);
        let apop = Some(Secret::new(FOR_APOP.as_bytes()));
        let credentials = Credentials { apop, ..account.credentials.clone() };
        let account = Account { credentials, ..account.clone() };
        let value = schema::encode_account(&account);
        batch.insert(&committer.schema.account, ADDRESS, value);
        committer.commit(batch).unwrap();
        for collected in 0..visits {
            let mut plain = serde_json::to_value(source(account.id)).unwrap();
            plain["id"] = 1.into();
            plain["login"]["password"] = ELSEWHERE.into();
            let visit = Visit { time: time(1), collected, problem: None };
            plain["last"] = serde_json::to_value(visit).unwrap();
            let mut batch = Batch::new(&committer.schema);
            batch.insert(&committer.schema.source, 1u64.to_be_bytes(), plain.to_string());
            committer.commit(batch).unwrap();
        }
    }

    fn time(second: i64) -> posta_mail::Timestamp {
        posta_mail::Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn accept(committer: &mut Committer, number: u64, account: &Account) {
        let content = format!("Subject: {number}\r\n\r\n{}", "x".repeat(10_000));
        let message = message(number, time(0), content.as_bytes(), &[account.id]);
        let mut batch = Batch::new(&committer.schema);
        committer.begin().unwrap();
        committer.accept(message, &mut batch).unwrap();
        committer.write(batch, true).unwrap();
    }

    /// A store of format 5 in `store`, with messages, secrets in segments of its log, in its tables and in
    /// the engine's journal; in the first segment only behind its end, from a former use of the file.
    fn format_5(directory: &Path) -> Account {
        let store = directory.join("store");
        let opener = opener(&store);
        let schema = opener.open_tables().unwrap();
        let mut committer = opener.recover(&schema).unwrap();
        let credentials = Credentials { password_hash: "hash".to_owned(), ..Default::default() };
        committer.add_account(ADDRESS.parse().unwrap(), credentials).unwrap();
        let account = schema.account(&ADDRESS.parse().unwrap()).unwrap().unwrap();
        for segment in 0..3 {
            accept(&mut committer, segment * 2, &account);
            if segment > 0 {
                write_plain(&mut committer, &account, 19);
            }
            accept(&mut committer, segment * 2 + 1, &account);
            schema.source.rotate_memtable_and_wait().unwrap();
            committer.log.turn_afresh().unwrap();
        }
        write_plain(&mut committer, &account, 1);
        let mut batch = Batch::new(&schema);
        batch.insert(&schema.meta, "format", 5u64.to_be_bytes());
        batch.insert(&schema.meta, schema::LAST_SOURCE, 1u64.to_be_bytes());
        committer.commit(batch).unwrap();
        drop(committer);
        drop(schema);
        let stale = File::options().append(true).open(store.join("log/000000000001")).unwrap();
        std::io::Write::write_all(&mut &stale, format!("{ELSEWHERE}{FOR_APOP}").as_bytes())
            .unwrap();
        for password in [ELSEWHERE, FOR_APOP] {
            let found = holding(directory, password);
            for file in ["0000000001", "0000000002", "0000000003", "0000000004", ".jnl", "tables"] {
                let apop_is_flushed = file == "tables" && password == FOR_APOP;
                let is_there = found.iter().any(|path| path.contains(file));
                assert!(is_there || apop_is_flushed, "{file} in {found:?}");
            }
        }
        account
    }

    fn check(store: &FjallStore, account: &Account) {
        block_on(async {
            let secret = async |of| store.secret(of).await.unwrap().unwrap().expose().to_vec();
            assert_eq!(secret(SecretOf::Source(SourceId(1))).await, ELSEWHERE.as_bytes());
            assert_eq!(secret(SecretOf::Apop(account.id)).await, FOR_APOP.as_bytes());
            let sources = store.sources().await.unwrap();
            assert_eq!((sources.len(), sources[0].login.user.as_str()), (1, "ana"));
            assert_eq!(sources[0].last.as_ref().unwrap().collected, 0);
            assert_eq!(&store.account(&account.address).await.unwrap().unwrap(), account);
            let maildrop = store.maildrop(account.id).await.unwrap();
            assert_eq!(maildrop.len(), 6);
            for (number, summary) in maildrop.iter().enumerate() {
                let whole = read(store, account.id, summary.uid).await;
                assert!(memchr(&whole, format!("Subject: {number}\r\n").as_bytes()));
            }
        });
    }

    #[test]
    fn an_upgrade_leaves_no_secret_in_plain() {
        let directory = tempfile::tempdir().unwrap();
        let account = format_5(directory.path());
        let store = directory.path().join("store");
        for _ in 0..3 {
            let store = FjallStore::open(&store).unwrap();
            for password in [ELSEWHERE, FOR_APOP] {
                assert_eq!(holding(directory.path(), password), [""; 0], "{password}");
            }
            check(&store, &account);
        }
        // What comes after it is as durable as before.
        block_on(async {
            let store = FjallStore::open(&store).unwrap();
            store.accept(message(99, time(9), b"x\r\n", &[account.id])).await.unwrap();
            std::mem::forget(store);
        });
    }

    /// Wherever it is cut off, the next start does it.
    #[test]
    fn an_upgrade_that_was_cut_off_goes_on() {
        for step in 0..4 {
            let directory = tempfile::tempdir().unwrap();
            let account = format_5(directory.path());
            let store = directory.path().join("store");
            {
                let opener = opener(&store);
                let schema = opener.open_tables().unwrap();
                let mut committer = opener.recover(&schema).unwrap();
                assert!(schema.is_unsealed().unwrap());
                if step > 0 {
                    committer.seal_all().unwrap();
                }
                if step > 1 {
                    committer.purge_log().unwrap();
                }
                drop(committer);
                if step > 2 {
                    schema.purge_tables().unwrap();
                }
            }
            let store = FjallStore::open(&store).unwrap();
            for password in [ELSEWHERE, FOR_APOP] {
                assert_eq!(holding(directory.path(), password), [""; 0], "{password}, {step}");
            }
            check(&store, &account);
        }
    }

    /// The mail does not wait for a key file, and nothing is lost until there is one.
    #[test]
    fn an_upgrade_waits_for_a_key_file_that_can_be_used() {
        let directory = tempfile::tempdir().unwrap();
        let account = format_5(directory.path());
        let (store, keys) = (directory.path().join("store"), directory.path().join("store.keys"));
        fs::write(&keys, "something else").unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
        {
            let store = FjallStore::open(&store).unwrap();
            let maildrop = block_on(store.maildrop(account.id)).unwrap();
            assert_eq!(maildrop.len(), 6);
            block_on(store.set_quota(&account.address, None)).unwrap();
            assert_eq!(block_on(store.sources()).unwrap().len(), 1);
        }
        fs::remove_file(&keys).unwrap();
        let store = FjallStore::open(&store).unwrap();
        check(&store, &account);
        for password in [ELSEWHERE, FOR_APOP] {
            assert_eq!(holding(directory.path(), password), [""; 0], "{password}");
        }
    }
}
