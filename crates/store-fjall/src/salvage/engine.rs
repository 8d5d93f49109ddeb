//! The files of the engine, which are read without it.
//!
//! | file                        | what is in it |
//! |-----------------------------|---------------|
//! | `version`                   | the engine's mark |
//! | `keyspaces/N/current`       | the number of the keyspace's version, and the checksum of that file |
//! | `keyspaces/N/vM`            | a version: the files of the table, each with its checksum |
//! | `keyspaces/N/tables/M`      | a file of the table |
//! | `keyspaces/0`               | the names of the other keyspaces |

use super::blocks::{Row, TableFile, merged};
use crate::error::io_failed;
use posta_store::StoreError;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::Xxh3Default;

const MARK: [u8; 4] = *b"FJL\x03";

/// The octets of a file `current`: a number, a checksum, and the kind of the checksum, which is always 0.
const CURRENT: usize = 8 + 16 + 1;

/// A table of the store.
pub(super) struct Keyspace {
    pub(super) name: String,
    pub(super) files: Vec<TableFile>,
    /// Whether rows may be missing.
    pub(super) is_damaged: bool,
}

/// Returns the tables of a store by their names, and what is wrong with their files. `order` has the names of the tables
/// in the order in which a new store makes them.
pub(super) fn keyspaces(
    directory: &Path,
    order: &[String],
) -> Result<(Vec<Keyspace>, Vec<String>), StoreError> {
    let mut damage = Vec::new();
    if fs::read(directory.join("version")).ok().as_deref() != Some(&MARK) {
        damage.push("version is damaged or missing".to_owned());
    }
    let mut keyspaces = Vec::new();
    let names = keyspace(&directory.join("keyspaces/0"), "the list of tables", &mut damage)?;
    let mut numbers = BTreeMap::new();
    for row in merged(&names.files)? {
        let Row { key, value, .. } = row?;
        if let (Some((b'n', id)), Some(value)) = (key.split_first(), value)
            && let (Some(id), Ok(name)) = (id.first_chunk(), String::from_utf8(value))
        {
            numbers.insert(u64::from_be_bytes(*id), name);
        }
    }
    for id in folders(&directory.join("keyspaces"))? {
        let guess = || order.get(usize::try_from(id).ok()?.checked_sub(1)?).cloned();
        let taken = |name: &String| numbers.values().any(|known| known == name);
        // Without the list, the order is the only hint.
        let name = numbers.get(&id).cloned();
        let name = name.or_else(|| guess().filter(|name| names.is_damaged && !taken(name)));
        if let Some(name) = name.filter(|_| id > 0) {
            let path = directory.join("keyspaces").join(id.to_string());
            keyspaces.push(keyspace(&path, &name, &mut damage)?);
        }
    }
    for name in order {
        if keyspaces.iter().all(|known| known.name != *name) {
            damage.push(format!("the table {name} is missing"));
            let (name, files) = (name.clone(), Vec::new());
            keyspaces.push(Keyspace { name, files, is_damaged: true });
        }
    }
    Ok((keyspaces, damage))
}

fn folders(directory: &Path) -> Result<Vec<u64>, StoreError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_failed)?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(io_failed)?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Finds the files of a table, and compares them with their checksums.
fn keyspace(path: &Path, name: &str, damage: &mut Vec<String>) -> Result<Keyspace, StoreError> {
    let before = damage.len();
    let mut files = Vec::new();
    let mut tell = |file: &Path, words: &str| {
        let shown: PathBuf = file.iter().skip(file.iter().count().saturating_sub(4)).collect();
        damage.push(format!("{} {words} (table {name})", shown.display()));
    };
    match listed(path) {
        Some(listed) => {
            for (number, sum) in listed {
                let file = path.join("tables").join(number.to_string());
                match checksum(&file).map_err(io_failed)? {
                    None => {
                        tell(&file, "is missing");
                        continue;
                    }
                    Some(found) if found != sum => tell(&file, "is damaged"),
                    Some(_) => {}
                }
                files.push(file);
            }
        }
        None => {
            tell(&path.join("current"), "does not lead to a whole version");
            let found = folders(&path.join("tables"))?;
            files.extend(found.iter().map(|number| path.join("tables").join(number.to_string())));
        }
    }
    let files = files.into_iter().map(TableFile::open).collect::<Result<_, _>>()?;
    Ok(Keyspace { name: name.to_owned(), files, is_damaged: damage.len() > before })
}

/// Returns the files of the table's present version, with their checksums; none if the version is damaged.
fn listed(path: &Path) -> Option<Vec<(u64, u128)>> {
    let current = fs::read(path.join("current")).ok()?;
    let current: [u8; CURRENT] = current.try_into().ok()?;
    let [number @ .., kind] = current;
    let (number, sum) = number.split_first_chunk::<8>()?;
    let (number, sum) = (u64::from_le_bytes(*number), u128::from_le_bytes(sum.try_into().ok()?));
    let version = path.join(format!("v{number}"));
    if kind != 0 || checksum(&version).ok()? != Some(sum) {
        return None;
    }
    let reader = sfa::Reader::new(&version).ok()?;
    let mut section = Vec::new();
    let mut reading = reader.toc().section(b"tables")?.reader(&version).ok()?;
    reading.read_to_end(&mut section).ok()?;
    let mut rest = &section[..];
    let octet = |rest: &mut &[u8]| rest.split_off_first().copied();
    let mut files = Vec::new();
    for _ in 0..octet(&mut rest)? {
        for _ in 0..octet(&mut rest)? {
            let count = u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?);
            for _ in 0..count {
                let number = u64::from_le_bytes(*rest.split_off(..8)?.first_chunk()?);
                rest.split_off(..1)?;
                let sum = u128::from_le_bytes(*rest.split_off(..16)?.first_chunk()?);
                rest.split_off(..8)?;
                files.push((number, sum));
            }
        }
    }
    Some(files)
}

/// Returns the checksum of a file; none if there is no such file.
fn checksum(path: &Path) -> io::Result<Option<u128>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let (mut sum, mut piece) = (Xxh3Default::new(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Some(sum.digest128())),
            read => sum.update(&piece[..read]),
        }
    }
}
