//! Writing fields that are lists of tags, folded so that no line exceeds 78 columns (RFC 5322 §2.1.1).

/// The columns of a line.
const COLUMNS: usize = 78;

/// A field that is being written, tag by tag.
#[derive(Debug)]
pub(crate) struct Folded {
    text: String,
    column: usize,
}

impl Folded {
    /// Begins a field.
    pub(crate) fn new(name: &str) -> Self {
        Self { text: format!("{name}:"), column: name.len() + 1 }
    }

    /// Adds a word that must not be split, on a new line if the current one is full.
    pub(crate) fn word(&mut self, word: &str) {
        if self.column + 1 + word.len() > COLUMNS {
            self.text.push_str("\r\n\t");
            // A tab counts as one column, since octets are what matters.
            self.column = 1;
        } else {
            self.text.push(' ');
            self.column += 1;
        }
        self.glue(word);
    }

    /// Adds text directly after the last word.
    pub(crate) fn glue(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.len();
    }

    /// Adds text that may be split anywhere, directly after the last word.
    pub(crate) fn pieces(&mut self, mut text: &str) {
        // This leaves room for a semicolon after the text.
        let columns = COLUMNS - 1;
        while !text.is_empty() {
            if self.column >= columns {
                self.text.push_str("\r\n\t");
                self.column = 1;
            }
            let (piece, rest) = text.split_at(text.len().min(columns - self.column));
            self.glue(piece);
            text = rest;
        }
    }

    /// Adds names that may be split after colons, directly after the last word.
    pub(crate) fn names<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for (index, name) in names.enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            self.glue(colon);
            // This leaves room for the colon or semicolon after the name.
            if self.column + name.len() + 1 > COLUMNS {
                self.text.push_str("\r\n\t");
                self.column = 1;
            }
            self.glue(name);
        }
    }

    /// Returns the field so far, without a CRLF at its end.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Ends the field.
    pub(crate) fn finish(mut self) -> String {
        self.text.push_str("\r\n");
        self.text
    }
}
