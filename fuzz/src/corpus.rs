//! The form of a committed corpus: one file for each target, with one input a line, escaped as in Rust.
//! Changes to a corpus are therefore readable.

use std::{fmt::Write as _, fs, io, path::Path};

/// Reads the inputs of a corpus.
///
/// # Errors
/// When the file cannot be read, or a line is not an input.
pub fn read(file: &Path) -> io::Result<Vec<Vec<u8>>> {
    let text = fs::read_to_string(file)?;
    let wrong = |line: &str| io::Error::other(format!("{}: {line}", file.display()));
    text.lines().map(|line| unescape(line).ok_or_else(|| wrong(line))).collect()
}

/// Writes a corpus in a fixed order, so that changes are small.
///
/// # Errors
/// When the file cannot be written.
pub fn write(file: &Path, inputs: &mut [Vec<u8>]) -> io::Result<()> {
    inputs.sort_unstable();
    let mut text = String::new();
    for input in inputs {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", input.escape_ascii());
    }
    fs::write(file, text)
}

/// The inverse of [`slice::escape_ascii`].
fn unescape(line: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(line.len());
    let mut characters = line.bytes();
    while let Some(character) = characters.next() {
        octets.push(match character {
            b'\\' => match characters.next()? {
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => {
                    let digits = [characters.next()?, characters.next()?];
                    u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
                }
                quoted @ (b'\'' | b'"' | b'\\') => quoted,
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let file = std::env::temp_dir().join(format!("fuzz-corpus-{}", std::process::id()));
        let all: Vec<u8> = (0..=255).collect();
        let mut inputs = vec![all, Vec::new(), b"\\x41\r\n".to_vec()];
        write(&file, &mut inputs).expect("it is written");
        assert_eq!(read(&file).expect("it is read"), inputs);
        fs::remove_file(&file).expect("it is there");
        assert_eq!(unescape("\\q"), None);
    }
}
