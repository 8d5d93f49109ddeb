//! Walking through a MIME message (RFC 2046 §5.1) piece by piece: header sections, contents, and the
//! text around them. The survey, the converter and the check for SMTPUTF8 are built on this.

/// The maximal number of octets in a header section.
const HEADER: usize = 256 * 1024;

/// The maximal depth of parts inside parts.
pub(super) const DEPTH: usize = 50;

/// The number of octets of a line that are kept until it is known whether the line is a boundary: two
/// hyphens, 70 characters, two hyphens, and some white space (RFC 2046 §5.1.1).
pub(super) const BOUNDARY: usize = 256;

/// The next element of a message.
#[derive(Debug)]
pub(super) enum Event<'e> {
    /// The beginning of a part, or of the message itself.
    Header(Header<'e>),
    /// A piece of the content of the current part.
    Content(&'e [u8]),
    /// The end of the current part. The CRLF before a boundary is not part of the content.
    End,
    /// A boundary, or text that belongs to no part.
    Around(&'e [u8]),
}

/// A header section, including the empty line after it.
#[derive(Debug)]
pub(super) struct Header<'e> {
    pub(super) text: &'e [u8],
    pub(super) is_text: bool,
    /// Whether the content is quoted-printable, base64 or of an unknown encoding.
    pub(super) is_encoded: bool,
    /// Whether the content consists of parts and is labelled as more than ASCII in lines.
    pub(super) is_wide: bool,
    /// Whether the part is inside a signed one.
    pub(super) in_signed: bool,
    /// Whether the header section is that of the whole message.
    is_first: bool,
    fields: &'e Fields,
}

#[derive(Debug)]
pub(super) struct Walker {
    /// The beginning of the current line, or the current header section so far.
    buffer: Vec<u8>,
    state: State,
    /// The open parts, from the outermost to the innermost.
    open: Vec<Open>,
    is_first: bool,
    is_broken: bool,
    /// Whether a CRLF is held back, which belongs to the content unless a boundary follows.
    newline: bool,
    /// Whether a CR is held back, whose LF may be in the next piece.
    cr: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    /// At the start of a line of content, or within that line's first octets.
    LineStart(Kind),
    Line(Kind),
}

/// The place that a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Content,
    Around,
}

#[derive(Debug)]
pub(super) struct Open {
    boundary: Vec<u8>,
    is_signed: bool,
    /// Whether an unlabelled part is a message (RFC 2046 §5.1.5).
    pub(super) is_digest: bool,
}

impl Open {
    /// Returns the multipart or digest that a header section opens, if it opens one.
    pub(super) fn by(fields: &mut Fields) -> Option<Self> {
        let Fields { is_signed, is_digest, .. } = *fields;
        fields.boundary.take().map(|boundary| Self { boundary, is_signed, is_digest })
    }

    /// Returns the index of the open part whose boundary a line is, and whether that boundary is the
    /// closing one.
    pub(super) fn boundary(open: &[Self], line: &[u8]) -> Option<(usize, bool)> {
        let rest = line.strip_prefix(b"--")?.trim_ascii_end();
        open.iter().enumerate().rev().find_map(|(index, open)| {
            let rest = rest.strip_prefix(&open.boundary[..])?;
            match rest {
                b"" => Some((index, false)),
                b"--" => Some((index, true)),
                _ => None,
            }
        })
    }
}

impl Default for Walker {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            state: State::Header,
            open: Vec::new(),
            is_first: true,
            is_broken: false,
            newline: false,
            cr: false,
        }
    }
}

impl Walker {
    pub(super) fn push(&mut self, mut octets: &[u8], show: &mut impl FnMut(Event<'_>)) {
        if self.cr && !octets.is_empty() {
            self.cr = false;
            match octets.strip_prefix(b"\n") {
                Some(rest) => {
                    self.piece(b"\r\n", show);
                    octets = rest;
                }
                None => self.piece(b"\r", show),
            }
        }
        while !octets.is_empty() {
            let end = memchr::memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
            let (mut piece, rest) = octets.split_at(end);
            octets = rest;
            if let Some(before) = piece.strip_suffix(b"\r") {
                (piece, self.cr) = (before, true);
            }
            if !piece.is_empty() {
                self.piece(piece, show);
            }
        }
    }

    /// Ends the message. Returns whether the walk could follow the whole structure.
    pub(super) fn finish(mut self, show: &mut impl FnMut(Event<'_>)) -> bool {
        if std::mem::take(&mut self.cr) {
            self.piece(b"\r", show);
        }
        match self.state {
            State::Header => self.end_of_header(show),
            State::LineStart(kind) => {
                let line = std::mem::take(&mut self.buffer);
                match self.boundary(&line) {
                    Some(found) => self.at_boundary(found, kind, &line, show),
                    None => self.emit(kind, &line, show),
                }
            }
            State::Line(_) => {}
        }
        if let State::LineStart(Kind::Content) | State::Line(Kind::Content) = self.state {
            // No boundary follows, so the CRLF belongs to the content after all.
            if std::mem::take(&mut self.newline) {
                show(Event::Content(b"\r\n"));
            }
            show(Event::End);
        }
        !self.is_broken
    }

    /// Takes a piece of a line; the last piece of a line ends in CRLF.
    fn piece(&mut self, piece: &[u8], show: &mut impl FnMut(Event<'_>)) {
        if self.is_broken {
            return;
        }
        match self.state {
            State::Header => self.header(piece, show),
            State::LineStart(kind) => self.line_start(kind, piece, show),
            State::Line(kind) => self.line(kind, piece, show),
        }
    }

    fn header(&mut self, piece: &[u8], show: &mut impl FnMut(Event<'_>)) {
        let line = self.buffer.iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1);
        self.buffer.extend_from_slice(piece);
        if self.buffer.len() > HEADER {
            self.is_broken = true;
        } else if matches!(&self.buffer[line..], b"\r\n" | b"\n") {
            self.end_of_header(show);
        } else if piece.ends_with(b"\n")
            && let Some(found) = self.boundary(&self.buffer[line..])
        {
            // The part consists of a header section only.
            let boundary = self.buffer.split_off(line);
            self.end_of_header(show);
            let kind = match self.state {
                State::LineStart(kind) => kind,
                _ => Kind::Around,
            };
            self.at_boundary(found, kind, &boundary, show);
        }
    }

    fn end_of_header(&mut self, show: &mut impl FnMut(Event<'_>)) {
        let text = std::mem::take(&mut self.buffer);
        let is_digest = self.open.last().is_some_and(|open| open.is_digest);
        let mut fields = Fields::read(&text, is_digest);
        let in_signed = self.open.iter().any(|open| open.is_signed);
        let has_parts = fields.boundary.is_some() || fields.is_message;
        show(Event::Header(Header {
            text: &text,
            is_text: fields.is_text,
            is_encoded: fields.is_encoded,
            is_wide: has_parts && fields.is_wide,
            in_signed,
            is_first: std::mem::take(&mut self.is_first),
            fields: &fields,
        }));
        self.newline = false;
        self.is_broken |= self.open.len() >= DEPTH;
        let Fields { is_message, is_encoded, .. } = fields;
        self.state = match Open::by(&mut fields) {
            Some(open) => {
                self.open.push(open);
                State::LineStart(Kind::Around)
            }
            // Encoded content is not examined further.
            None if is_message && !is_encoded => State::Header,
            None => State::LineStart(Kind::Content),
        };
    }

    /// Keeps the beginning of a line until it is known whether the line is a boundary.
    fn line_start(&mut self, kind: Kind, piece: &[u8], show: &mut impl FnMut(Event<'_>)) {
        self.buffer.extend_from_slice(piece);
        let is_line = piece.ends_with(b"\r\n");
        let begins = b"--".starts_with(&self.buffer[..self.buffer.len().min(2)]);
        if !is_line && begins && self.buffer.len() < BOUNDARY && !self.open.is_empty() {
            return;
        }
        let line = std::mem::take(&mut self.buffer);
        match self.boundary(&line) {
            Some(found) if is_line => self.at_boundary(found, kind, &line, show),
            _ => self.line(kind, &line, show),
        }
    }

    fn line(&mut self, kind: Kind, piece: &[u8], show: &mut impl FnMut(Event<'_>)) {
        self.emit(kind, piece, show);
        let is_over = piece.ends_with(b"\r\n");
        self.state = if is_over { State::LineStart(kind) } else { State::Line(kind) };
    }

    /// Reports a piece. A CRLF at the end of content is held back, since it may belong to a boundary.
    fn emit(&mut self, kind: Kind, piece: &[u8], show: &mut impl FnMut(Event<'_>)) {
        if kind == Kind::Around {
            show(Event::Around(piece));
            return;
        }
        if piece.is_empty() {
            return;
        }
        if std::mem::take(&mut self.newline) {
            show(Event::Content(b"\r\n"));
        }
        let content = match piece.strip_suffix(b"\r\n") {
            Some(content) => {
                self.newline = true;
                content
            }
            None => piece,
        };
        if !content.is_empty() {
            show(Event::Content(content));
        }
    }

    /// Returns the open part whose boundary a line is, if any, and whether that boundary is the closing
    /// one.
    fn boundary(&self, line: &[u8]) -> Option<(usize, bool)> {
        Open::boundary(&self.open, line)
    }

    fn at_boundary(
        &mut self,
        (index, ends): (usize, bool),
        kind: Kind,
        line: &[u8],
        show: &mut impl FnMut(Event<'_>),
    ) {
        if kind == Kind::Content {
            show(Event::End);
        }
        if std::mem::take(&mut self.newline) {
            show(Event::Around(b"\r\n"));
        }
        show(Event::Around(line));
        // Inner parts that were not closed end here.
        self.open.truncate(if ends { index } else { index + 1 });
        self.state = if ends { State::LineStart(Kind::Around) } else { State::Header };
    }
}

/// The fields of a header section that describe its content (RFC 2045).
#[derive(Debug, Default)]
pub(super) struct Fields {
    has_version: bool,
    has_type: bool,
    is_text: bool,
    pub(super) is_message: bool,
    is_signed: bool,
    is_digest: bool,
    pub(super) is_encoded: bool,
    is_wide: bool,
    boundary: Option<Vec<u8>>,
    /// The position of the Content-Transfer-Encoding field.
    encoding: Option<std::ops::Range<usize>>,
}

impl Fields {
    pub(super) fn read(text: &[u8], in_digest: bool) -> Self {
        let mut fields = Self::default();
        for range in ranges(text) {
            let field = String::from_utf8_lossy(&text[range.clone()]);
            let Some((name, value)) = field.split_once(':') else { continue };
            match name.trim_end().to_ascii_lowercase().as_str() {
                "mime-version" => fields.has_version = true,
                "content-type" if !fields.has_type => fields.read_type(value),
                "content-transfer-encoding" if fields.encoding.is_none() => {
                    let value = value.trim().to_ascii_lowercase();
                    fields.is_wide = matches!(value.as_str(), "8bit" | "binary");
                    fields.is_encoded = !fields.is_wide && !matches!(value.as_str(), "7bit" | "");
                    fields.encoding = Some(range);
                }
                _ => {}
            }
        }
        if !fields.has_type {
            (fields.is_message, fields.is_text) = (in_digest, !in_digest);
        }
        fields
    }

    fn read_type(&mut self, value: &str) {
        self.has_type = true;
        let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
        let kind = kind.trim().to_ascii_lowercase();
        self.is_message = matches!(kind.as_str(), "message/rfc822" | "message/global");
        // RFC 2046 §5.2: reports and other types of message are text.
        let is_text = kind.starts_with("text/") || kind.starts_with("message/");
        self.is_text = is_text && !self.is_message;
        self.is_signed = kind == "multipart/signed";
        self.is_digest = kind == "multipart/digest";
        if kind.starts_with("multipart/") {
            let boundary = parameter(parameters, "boundary");
            self.boundary = boundary.filter(|text| !text.is_empty() && text.len() <= 70);
        }
    }
}

/// Returns the position of each field of a header section, including its folded lines.
fn ranges(text: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let begin = start;
        while start < text.len() {
            let line =
                memchr::memchr(b'\n', &text[start..]).map_or(text.len(), |at| start + at + 1);
            start = line;
            if !matches!(text.get(start), Some(b' ' | b'\t')) {
                break;
            }
        }
        (start > begin).then_some(begin..start)
    })
}

/// Returns the value of a parameter, without quotes (RFC 2045 §5.1).
fn parameter(text: &str, wanted: &str) -> Option<Vec<u8>> {
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (mut value, mut characters) = (String::new(), quoted.char_indices());
                let end = loop {
                    match characters.next()? {
                        (at, '"') => break at,
                        (_, '\\') => value.push(characters.next()?.1),
                        // White space from a folded line.
                        (_, '\r' | '\n') => {}
                        (_, other) => value.push(other),
                    }
                };
                (value, &quoted[end + 1..])
            }
            None => {
                let end =
                    after.find(|c: char| c == ';' || c.is_whitespace()).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        let name = name.trim_matches(|c: char| c == ';' || c.is_whitespace());
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value.into_bytes());
        }
        rest = left;
    }
}

impl Header<'_> {
    /// Writes the header section, with this encoding in place of the one that it names, or unchanged if
    /// there is none. Adds the other MIME fields that are needed and missing.
    pub(super) fn write(&self, encoding: Option<&str>, is_utf8: bool, output: &mut Vec<u8>) {
        let Some(encoding) = encoding else {
            output.extend_from_slice(self.text);
            return;
        };
        let field = format!("Content-Transfer-Encoding: {encoding}\r\n");
        // The empty line stays the last line.
        let end = self.text.len() - usize::from(self.text.ends_with(b"\n"));
        let end = end - usize::from(self.text[..end].ends_with(b"\r"));
        let replaced = self.fields.encoding.clone().unwrap_or(end..end);
        // A header section that was cut short has no empty line.
        let end = end.max(replaced.end);
        output.extend_from_slice(&self.text[..replaced.start]);
        let is_missing = self.fields.encoding.is_none();
        if !is_missing {
            output.extend_from_slice(field.as_bytes());
        }
        output.extend_from_slice(&self.text[replaced.end..end]);
        if self.is_first && !self.fields.has_version {
            output.extend_from_slice(b"MIME-Version: 1.0\r\n");
        }
        if self.is_text && !self.fields.has_type {
            // RFC 1428 §3: the charset is unknown; but hardly any text in another charset happens to be
            // valid UTF-8.
            let charset = if is_utf8 { "utf-8" } else { "unknown-8bit" };
            let field = format!("Content-Type: text/plain; charset={charset}\r\n");
            output.extend_from_slice(field.as_bytes());
        }
        if is_missing {
            output.extend_from_slice(field.as_bytes());
        }
        output.extend_from_slice(&self.text[end..]);
    }
}
