//! The two content transfer encodings, quoted-printable and base64 (RFC 2045 §6), applied piece by
//! piece.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// The maximal number of characters in an encoded line (RFC 2045 §6.7, §6.8).
const LINE: usize = 76;

/// The quoted-printable encoder, for text in lines.
#[derive(Debug, Default)]
pub(crate) struct QuotedPrintable {
    column: usize,
    /// A space or tab held back, which may turn out to end a line.
    space: Option<u8>,
    after_cr: bool,
}

impl QuotedPrintable {
    pub(crate) fn push(&mut self, content: &[u8], output: &mut Vec<u8>) {
        for &octet in content {
            if std::mem::take(&mut self.after_cr) {
                // In text, CR is always followed by LF.
                self.end_of_line(output);
                output.extend_from_slice(b"\r\n");
                self.column = 0;
                continue;
            }
            match octet {
                b'\r' => self.after_cr = true,
                b' ' | b'\t' => {
                    self.let_space_stand(output);
                    self.space = Some(octet);
                }
                _ => {
                    self.let_space_stand(output);
                    match octet {
                        b'!'..=b'<' | b'>'..=b'~' => self.put(&[octet], output),
                        _ => self.put_hex(octet, output),
                    }
                }
            }
        }
    }

    pub(crate) fn finish(mut self, output: &mut Vec<u8>) {
        self.end_of_line(output);
    }

    /// Encodes a space or tab at the end of a line, which would otherwise be lost on the way.
    fn end_of_line(&mut self, output: &mut Vec<u8>) {
        if let Some(space) = self.space.take() {
            self.put_hex(space, output);
        }
    }

    fn let_space_stand(&mut self, output: &mut Vec<u8>) {
        if let Some(space) = self.space.take() {
            self.put(&[space], output);
        }
    }

    fn put_hex(&mut self, octet: u8, output: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let digits = [DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]];
        self.put(&[b'=', digits[0], digits[1]], output);
    }

    fn put(&mut self, characters: &[u8], output: &mut Vec<u8>) {
        // The last column is reserved for the `=` of a soft line break.
        if self.column + characters.len() >= LINE {
            output.extend_from_slice(b"=\r\n");
            self.column = 0;
        }
        output.extend_from_slice(characters);
        self.column += characters.len();
    }
}

/// The base64 encoder, for any octets.
#[derive(Debug, Default)]
pub(crate) struct Base64 {
    /// The octets that do not fill a line yet.
    rest: Vec<u8>,
}

/// The number of octets in an encoded line.
const OCTETS: usize = LINE / 4 * 3;

impl Base64 {
    pub(crate) fn push(&mut self, content: &[u8], output: &mut Vec<u8>) {
        self.rest.extend_from_slice(content);
        let whole = self.rest.len() / OCTETS * OCTETS;
        // The last full line is kept back, since it is not known yet whether a CRLF follows.
        let whole = if whole == self.rest.len() { whole.saturating_sub(OCTETS) } else { whole };
        for line in self.rest.drain(..whole).as_slice().chunks(OCTETS) {
            output.extend_from_slice(BASE64.encode(line).as_bytes());
            output.extend_from_slice(b"\r\n");
        }
    }

    pub(crate) fn finish(self, output: &mut Vec<u8>) {
        output.extend_from_slice(BASE64.encode(&self.rest).as_bytes());
    }
}
