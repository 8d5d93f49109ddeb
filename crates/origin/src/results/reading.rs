//! Parsing Authentication-Results fields (RFC 8601 §2.2) of trusted ARC sealers.

/// The maximal number of results read from one field. Real fields have about six.
pub const RESULTS: usize = 32;

/// The maximal number of properties read from one result.
pub const PROPERTIES: usize = 16;

/// A result from a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedResult {
    /// The method, such as `dmarc`, in lower case.
    pub method: String,
    /// The method's result, such as `pass`, in lower case.
    pub result: String,
    /// The names of properties, such as `header.from`, in lower case, and their values.
    pub properties: Vec<(String, String)>,
}

impl ReportedResult {
    /// Returns the first value of a property.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Returns the results in a field, at most [`RESULTS`], without those that cannot be parsed. `body` is the
/// text after the field's colon.
#[must_use]
pub fn read_results(body: &str) -> Vec<ReportedResult> {
    let mut results = Vec::new();
    let mut parts = Words(body).peekable();
    // The authserv-id.
    parts.by_ref().find(|word| *word == Word::End);
    while parts.peek().is_some() && results.len() < RESULTS {
        let part: Vec<_> = parts.by_ref().take_while(|word| *word != Word::End).collect();
        results.extend(result(&part));
    }
    results
}

fn result(words: &[Word]) -> Option<ReportedResult> {
    let mut pairs = words.windows(3).filter_map(|three| match three {
        [Word::Text(name), Word::Equals, Word::Text(value)] => Some((name, value)),
        _ => None,
    });
    let (method, result) = pairs.next()?;
    // RFC 8601 §2.2: the method may have a version.
    let method = method.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let properties =
        pairs.take(PROPERTIES).map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let properties = properties.collect();
    Some(ReportedResult { method, result: result.to_ascii_lowercase(), properties })
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Text(String),
    Equals,
    /// The semicolon after a result.
    End,
}

/// Iterates over the words of a field, without comments.
struct Words<'t>(&'t str);

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        self.0 = after_comments(self.0);
        let mut characters = self.0.chars();
        let word = match characters.next()? {
            '=' => Word::Equals,
            ';' => Word::End,
            '"' => {
                let mut text = String::new();
                loop {
                    match characters.next() {
                        None | Some('"') => break Word::Text(text),
                        Some('\\') => text.extend(characters.next()),
                        Some(other) => text.push(other),
                    }
                }
            }
            _ => {
                let is_end = |c: char| c.is_whitespace() || "=;(\"".contains(c);
                let (text, rest) = self.0.split_at(self.0.find(is_end).unwrap_or(self.0.len()));
                self.0 = rest;
                return Some(Word::Text(text.to_owned()));
            }
        };
        self.0 = characters.as_str();
        Some(word)
    }
}

/// Returns the text after white space and comments; an empty text if a comment does not end.
fn after_comments(text: &str) -> &str {
    let mut depth = 0_u32;
    let mut characters = text.chars();
    loop {
        let rest = characters.as_str();
        match characters.next() {
            Some('(') => depth += 1,
            Some(')') if depth > 0 => depth -= 1,
            Some('\\') if depth > 0 => {
                characters.next();
            }
            Some(other) if depth > 0 || other.is_whitespace() => {}
            Some(_) | None => return rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Vec<String> {
        let written = |result: ReportedResult| {
            let properties: Vec<_> =
                result.properties.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("{}={}{}", result.method, result.result, properties.concat())
        };
        read_results(body).into_iter().map(written).collect()
    }

    #[test]
    fn fields_are_read() {
        for (body, expected) in [
            (" mx.test; none", &[][..]),
            ("mx.test", &[]),
            (
                "mx.test 1; spf=pass smtp.mailfrom=a@b.test; DMARC=Pass (p=reject; x) header.from=b.test",
                &["spf=pass smtp.mailfrom=a@b.test", "dmarc=pass header.from=b.test"],
            ),
            (
                "(c;d) mx.test;\r\n\tdkim/1 = pass header.b=\"a;b\\\"\"",
                &["dkim=pass header.b=a;b\""],
            ),
            ("mx.test; dmarc=pass (unclosed; spf=pass", &["dmarc=pass"]),
            ("mx.test; =; ; dkim=pass", &["dkim=pass"]),
            ("mx.test; dkim=\"pass", &["dkim=pass"]),
        ] {
            assert_eq!(read(body), expected, "{body}");
        }
        assert_eq!(read_results(&"; a=b".repeat(10_000)).len(), RESULTS);
        assert!(
            read_results(&["a; b=c", &" d=e".repeat(10_000)].concat())[0].properties.len()
                <= PROPERTIES
        );
    }
}
