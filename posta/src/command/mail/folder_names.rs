//! The names of folders as directories of a Maildir: `.Archive.2024` (Maildir++), in the modified UTF-7 of IMAP (RFC
//! 3501 §5.1.3), which Dovecot and Courier use for other letters than ASCII.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use posta_store::FolderName;
use std::{ffi::OsString, os::unix::ffi::OsStrExt};

/// Base64 with `,` in place of `/`, and without padding. A shift sequence of any length is read.
const MODIFIED_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::IMAP_MUTF7,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Returns the directory of a folder, other than the inbox, in a Maildir++: `.Archive.2024`. A dot in a name, which
/// would separate two levels, becomes `\2e`, as with Dovecot's plugin `listescape`.
pub(crate) fn directory(name: &FolderName) -> String {
    let escape = |level: &str| encode(level).replace('\\', "\\5c").replace('.', "\\2e");
    name.as_str().split('/').fold(String::new(), |path, level| path + "." + &escape(level))
}

/// Returns the folder of a directory below a Maildir, given the names on the way: `.Archive.2024` (Maildir++),
/// `Archive`, `2024` (Dovecot's `LAYOUT=fs`), or `.inbox.directory`, `old` (KMail).
///
/// # Errors
/// When no folder may have the name.
pub(crate) fn folder(path: &[OsString]) -> Result<FolderName, String> {
    let mut levels = Vec::new();
    for name in path {
        let name = std::str::from_utf8(name.as_bytes()).map_err(|_| "its name is no text")?;
        match name.strip_prefix('.') {
            Some(inner) => match inner.strip_suffix(".directory") {
                Some(above) => levels.push(decode(above)),
                None => levels.extend(inner.split('.').map(|level| decode(&unescape(level)))),
            },
            None => levels.push(decode(name)),
        }
    }
    levels.join("/").parse().map_err(|error: posta_store::FolderNameError| error.to_string())
}

/// Returns the file of a folder among mbox files, as the names on the way: `Archive`, `2024.mbox`.
pub(crate) fn file(name: &FolderName) -> Vec<String> {
    let escape = |level: &str| {
        let level = level.replace('\\', "\\5c");
        match level.strip_prefix('.') {
            Some(rest) => format!("\\2e{rest}"),
            None => level,
        }
    };
    let mut path: Vec<_> = name.as_str().split('/').map(escape).collect();
    if let Some(last) = path.last_mut() {
        last.push_str(".mbox");
    }
    path
}

/// Returns the folder of an mbox file: `Archive`, `2024.mbox`, or `Archive.sbd`, `2024` (Thunderbird).
///
/// # Errors
/// When no folder may have the name.
pub(crate) fn folder_of_file(path: &[OsString]) -> Result<FolderName, String> {
    let mut levels = Vec::new();
    for (at, name) in path.iter().enumerate() {
        let name = std::str::from_utf8(name.as_bytes()).map_err(|_| "its name is no text")?;
        let ending = if at + 1 == path.len() { ".mbox" } else { ".sbd" };
        levels.push(unescape(name.strip_suffix(ending).unwrap_or(name)));
    }
    levels.join("/").parse().map_err(|error: posta_store::FolderNameError| error.to_string())
}

/// Resolves the escapes of [`directory`].
fn unescape(level: &str) -> String {
    level.replace("\\2e", ".").replace("\\5c", "\\")
}

/// Encodes a name in modified UTF-7.
fn encode(name: &str) -> String {
    let (mut encoded, mut shifted) = (String::new(), Vec::new());
    for character in name.chars() {
        if matches!(character, ' '..='~') {
            shift(&mut encoded, &mut shifted);
            encoded.push(character);
            if character == '&' {
                encoded.push('-');
            }
        } else {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units);
            shifted.extend(units.iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    shift(&mut encoded, &mut shifted);
    encoded
}

/// Writes the characters that are not ASCII.
fn shift(encoded: &mut String, shifted: &mut Vec<u8>) {
    if !shifted.is_empty() {
        encoded.push('&');
        MODIFIED_BASE64.encode_string(&*shifted, encoded);
        encoded.push('-');
        shifted.clear();
    }
}

/// Decodes a name in modified UTF-7. A name that is none stays as it is: some servers write UTF-8.
fn decode(name: &str) -> String {
    decode_strictly(name).unwrap_or_else(|| name.to_owned())
}

fn decode_strictly(name: &str) -> Option<String> {
    let (mut decoded, mut rest) = (String::new(), name);
    while let Some((plain, after)) = rest.split_once('&') {
        let (sequence, after) = after.split_once('-')?;
        decoded.push_str(plain);
        if sequence.is_empty() {
            decoded.push('&');
        } else {
            let octets = MODIFIED_BASE64.decode(sequence).ok()?;
            let units = octets.chunks_exact(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
            decoded.push_str(&String::from_utf16(&units.collect::<Vec<_>>()).ok()?);
        }
        rest = after;
    }
    Some(decoded + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_directories() {
        for (name, expected) in [
            ("Sent", ".Sent"),
            ("Archive/2024", ".Archive.2024"),
            ("INBOX/Old", ".INBOX.Old"),
            ("Lucru/Făcut", ".Lucru.F&AQM-cut"),
            ("台北/日本語", ".&U,BTFw-.&ZeVnLIqe-"),
            ("Q&A", ".Q&-A"),
            ("v1.2\\x", ".v1\\2e2\\5cx"),
            ("😀", ".&2D3eAA-"),
        ] {
            let name: FolderName = name.parse().unwrap();
            assert_eq!(directory(&name), expected);
            assert_eq!(folder(&[expected.into()]).unwrap(), name, "{expected}");
        }
    }

    #[test]
    fn folders_are_files() {
        for (name, path) in [
            ("INBOX", &["INBOX.mbox"][..]),
            ("Archive/2024", &["Archive", "2024.mbox"]),
            ("../x.y", &["\\2e.", "x.y.mbox"]),
            ("a\\2e", &["a\\5c2e.mbox"]),
        ] {
            let name: FolderName = name.parse().unwrap();
            assert_eq!(file(&name), path);
            let path: Vec<_> = path.iter().map(OsString::from).collect();
            assert_eq!(folder_of_file(&path).unwrap(), name);
        }
        let thunderbird = ["Archive.sbd", "2024"].map(OsString::from);
        assert_eq!(folder_of_file(&thunderbird).unwrap().as_str(), "Archive/2024");
    }

    #[test]
    fn directories_are_folders() {
        for (path, expected) in [
            (&["Archive", "2024"][..], "Archive/2024"),
            (&[".inbox.directory", "old"], "INBOX/old"),
            (&[".Grüße"], "Grüße"),
            (&[".R&D"], "R&D"),
            (&[".&!-"], "&!-"),
        ] {
            let path: Vec<_> = path.iter().map(OsString::from).collect();
            assert_eq!(folder(&path).unwrap().as_str(), expected);
        }
        for wrong in [".", "..", ".a..b", ".a\nb", "."] {
            assert!(folder(&[wrong.into()]).is_err(), "{wrong:?}");
        }
        use std::os::unix::ffi::OsStringExt;
        assert!(folder(&[OsString::from_vec(b".\xff".to_vec())]).is_err());
    }
}
