//! Changes that filters make to a message's header section, and the way to apply them to content that passes.
//!
//! Fields that are added stand above the content, in the head that this server writes: the content stays untouched,
//! and a reader finds them with the other trace fields. To change or delete a field, the content is written anew;
//! [`HeaderEditor`] does that piece by piece.

use crate::fields::{FieldReader, NewField, NextField, field_name};

/// The maximal number of changes that a filter may make to one message.
pub const CHANGES: usize = 500;

/// The maximal number of octets in all fields together that a filter adds or puts in place of others.
pub const OCTETS: usize = 128 * 1024;

/// A selection among the fields of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occurrence {
    /// The n-th from the top, from 1.
    Nth(u32),
    /// All of them.
    All,
}

/// A change of a field that the content has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldEdit {
    /// The field's name; case does not matter.
    pub name: String,
    /// The fields of this name that the change is about.
    pub which: Occurrence,
    /// The field that takes its place; `None` deletes it. If there is no such field, the new one is added.
    pub new: Option<NewField>,
}

/// The changes to a header section. Positions refer to the content as it arrived, whatever else changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// New fields, in the order in which they stand, from the top.
    pub added: Vec<NewField>,
    /// Changes of fields that are there.
    pub edits: Vec<FieldEdit>,
}

impl HeaderChanges {
    /// Returns whether nothing changes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.edits.is_empty()
    }

    /// Returns the number of changes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.added.len() + self.edits.len()
    }

    /// Returns whether there are more changes than one filter may make.
    #[must_use]
    pub fn are_too_many(&self) -> bool {
        self.len() > CHANGES || self.octets() > OCTETS
    }

    /// Returns the octets of all new fields.
    fn octets(&self) -> usize {
        let new = self.edits.iter().filter_map(|edit| edit.new.as_ref());
        self.added.iter().chain(new).map(|field| field.as_bytes().len()).sum()
    }

    /// Adds the changes of another filter, whose new fields stand above the earlier ones. Returns whether they were
    /// added; they are not if both together [are too many](Self::are_too_many).
    #[must_use]
    pub fn join(&mut self, later: Self) -> bool {
        if self.len() + later.len() > CHANGES || self.octets() + later.octets() > OCTETS {
            return false;
        }
        self.added.splice(0..0, later.added);
        self.edits.extend(later.edits);
        true
    }
}

/// Passes content through and changes fields of its header section. Holds one field at most.
///
/// ```
/// use posta_filters::changes::{FieldEdit, HeaderEditor, Occurrence};
///
/// let delete = FieldEdit { name: "X".into(), which: Occurrence::Nth(2), new: None };
/// let (mut editor, mut changed) = (HeaderEditor::new(vec![delete]), Vec::new());
/// editor.push(b"X: 1\r\nx: 2\r\nX: 3\r\n\r\nX: 4\r\n", &mut changed);
/// editor.finish(&mut changed);
/// assert_eq!(changed, b"X: 1\r\nX: 3\r\n\r\nX: 4\r\n");
/// ```
#[derive(Debug)]
pub struct HeaderEditor {
    /// The edits, each with the number of fields of its name that have passed.
    edits: Vec<(FieldEdit, u32)>,
    /// None once the header section is over.
    reader: Option<FieldReader>,
}

impl HeaderEditor {
    /// Returns an editor at the beginning of a message's content.
    #[must_use]
    pub fn new(edits: Vec<FieldEdit>) -> Self {
        let edits = edits.into_iter().map(|edit| (edit, 0)).collect();
        Self { edits, reader: Some(FieldReader::default()) }
    }

    /// Returns whether the rest of the content passes unchanged.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.reader.is_none()
    }

    /// Appends the content to `output`, changed.
    pub fn push(&mut self, mut content: &[u8], output: &mut Vec<u8>) {
        while let Some(reader) = &mut self.reader {
            let next = reader.next(&mut content);
            if next == NextField::More {
                return;
            }
            self.pass(next, output);
        }
        output.extend_from_slice(content);
    }

    /// The content is over.
    pub fn finish(mut self, output: &mut Vec<u8>) {
        while let Some(reader) = &mut self.reader {
            let next = reader.finish();
            self.pass(next, output);
        }
    }

    fn pass(&mut self, next: NextField, output: &mut Vec<u8>) {
        match next {
            NextField::More => {}
            NextField::Field(field) => self.pass_field(&field, output),
            NextField::Body(body) => {
                self.reader = None;
                for (edit, seen) in &self.edits {
                    let is_missing = match edit.which {
                        Occurrence::Nth(number) => *seen < number,
                        Occurrence::All => *seen == 0,
                    };
                    if let Some(new) = edit.new.as_ref().filter(|_| is_missing) {
                        output.extend_from_slice(new.as_bytes());
                    }
                }
                if body.is_separated {
                    output.extend_from_slice(b"\r\n");
                }
                output.extend_from_slice(&body.beginning);
            }
        }
    }

    fn pass_field(&mut self, field: &[u8], output: &mut Vec<u8>) {
        let name = field_name(field).unwrap_or_default();
        let mut result = Some(field);
        for (edit, seen) in &mut self.edits {
            if !edit.name.as_bytes().eq_ignore_ascii_case(name) {
                continue;
            }
            *seen += 1;
            let is_meant = match edit.which {
                Occurrence::Nth(number) => *seen == number,
                Occurrence::All => true,
            };
            if is_meant {
                // A change for all fields of a name changes the first and deletes the others.
                let is_new = edit.which != Occurrence::All || *seen == 1;
                result = edit.new.as_ref().filter(|_| is_new).map(NewField::as_bytes);
            }
        }
        output.extend_from_slice(result.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edit(name: &str, which: Occurrence, value: Option<&str>) -> FieldEdit {
        let new = value.map(|value| NewField::new(name.as_bytes(), value.as_bytes()).unwrap());
        FieldEdit { name: name.to_owned(), which, new }
    }

    fn edited(content: &str, size: usize, edits: Vec<FieldEdit>) -> String {
        let (mut editor, mut output) = (HeaderEditor::new(edits), Vec::new());
        for piece in content.as_bytes().chunks(size) {
            editor.push(piece, &mut output);
        }
        editor.finish(&mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn fields_are_changed_where_they_stand() {
        use Occurrence::{All, Nth};
        let content = "A: 1\r\nSubject: s\r\n t\r\nA: 2\r\n\r\nA: 3\r\n";
        for (edits, expected) in [
            (vec![], content),
            (
                vec![edit("subject", Nth(1), Some("u"))],
                "A: 1\r\nsubject: u\r\nA: 2\r\n\r\nA: 3\r\n",
            ),
            (vec![edit("A", All, None)], "Subject: s\r\n t\r\n\r\nA: 3\r\n"),
            (
                vec![edit("A", Nth(1), None), edit("A", Nth(2), Some("4"))],
                "Subject: s\r\n t\r\nA: 4\r\n\r\nA: 3\r\n",
            ),
            (
                vec![edit("A", Nth(3), Some("5"))],
                "A: 1\r\nSubject: s\r\n t\r\nA: 2\r\nA: 5\r\n\r\nA: 3\r\n",
            ),
            (vec![edit("B", Nth(1), None)], content),
        ] {
            assert_eq!(edited(content, 1_000, edits), expected);
        }
        assert_eq!(edited("", 9, vec![edit("B", Nth(1), Some("1"))]), "B: 1\r\n");
        assert_eq!(edited("x y\r\n", 9, vec![edit("B", All, None)]), "x y\r\n");
    }

    #[test]
    fn what_comes_later_stands_above() {
        let field = |name: &[u8]| NewField::new(name, b"v").unwrap();
        let mut changes = HeaderChanges { added: vec![field(b"A"), field(b"B")], edits: vec![] };
        assert!(changes.join(HeaderChanges { added: vec![field(b"C")], edits: vec![] }));
        let all = [field(b"C"), field(b"A"), field(b"B")];
        assert_eq!(changes.added, all);
        // What is too much together is not taken, not even in part.
        let many = HeaderChanges { added: vec![field(b"D"); CHANGES - 2], edits: vec![] };
        assert!(!changes.join(many));
        let long = vec![b'x'; 1_000];
        let long = NewField::new(b"D", &long).unwrap();
        let large = HeaderChanges { added: vec![long; OCTETS / 1_000], edits: vec![] };
        assert!(!changes.join(large));
        assert_eq!(changes.added, all);
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(content in "(A: b|B: c|a|:| |\r\n|\r|\n){0,30}", size in 1usize..9) {
            let edits = || vec![edit("A", Occurrence::Nth(2), None), edit("B", Occurrence::Nth(1), Some("x"))];
            prop_assert_eq!(edited(&content, size, edits()), edited(&content, 1_000, edits()));
        }

        #[test]
        fn without_edits_only_the_last_line_end_may_be_added(content in "(A: b|a|:| |\r\n|\r|\n){0,30}") {
            let passed = edited(&content, 5, Vec::new());
            let ended = content.clone() + "\r\n";
            prop_assert!(passed == content || passed == ended);
        }
    }
}
