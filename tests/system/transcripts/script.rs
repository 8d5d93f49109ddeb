//! A transcript, parsed.

use std::collections::VecDeque;

/// An observable action of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A line that the engine sends, without CRLF.
    Line(String),
    /// A question of the engine.
    Question(String),
    /// Content that the engine passes on.
    Content(Vec<u8>),
    /// The engine starts TLS.
    Tls,
    /// The engine closes the connection.
    Close,
}

/// A transcript.
#[derive(Debug, Default)]
pub struct Script {
    settings: Vec<(String, String)>,
    /// The input from the other side: one segment up to each start of TLS.
    pub segments: Vec<Vec<u8>>,
    expected: Vec<Event>,
    answers: VecDeque<String>,
}

impl Script {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self { segments: vec![Vec::new()], ..Self::default() };
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
        for (number, line) in lines.by_ref() {
            if line.trim().is_empty() {
                if script.settings.is_empty() { continue } else { break }
            }
            let (key, value) =
                line.split_once(':').ok_or(format!("line {}: no setting", number + 1))?;
            script.settings.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        for (number, line) in lines {
            script.line(line).map_err(|problem| format!("line {}: {problem}", number + 1))?;
        }
        Ok(script)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.trim().is_empty() {
            return Ok(());
        }
        let (mark, rest) = line.split_at_checked(2).ok_or("too short")?;
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let segment = self.segments.last_mut().ok_or("no segment")?;
        match mark {
            "C:" => {
                segment.extend(unescape(rest)?);
                segment.extend_from_slice(b"\r\n");
            }
            "C|" => segment.extend(unescape(rest)?),
            "S:" => {
                let line = unescape(rest)?.iter().map(|&octet| char::from(octet)).collect();
                self.expected.push(Event::Line(line));
            }
            "?:" => self.expected.push(Event::Question(rest.to_owned())),
            "!:" => self.answers.push_back(rest.to_owned()),
            "=:" => match self.expected.last_mut() {
                Some(Event::Content(content)) => content.extend(unescape(rest)?),
                _ => self.expected.push(Event::Content(unescape(rest)?)),
            },
            "T:" => {
                self.expected.push(Event::Tls);
                self.segments.push(Vec::new());
            }
            "X:" => self.expected.push(Event::Close),
            _ => return Err(format!("unknown mark {mark:?}")),
        }
        Ok(())
    }

    /// Returns the last value of a setting.
    pub fn setting<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        self.settings(key).last()
    }

    /// Returns all values of a setting.
    pub fn settings<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.settings.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Returns the messages of the settings.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.settings("message").map(|text| unescape(text).unwrap()).collect()
    }

    /// Returns the messages that are in the mailbox at the end: those of the settings that no UPDATE removed, and
    /// those that were committed.
    pub fn kept(&self) -> Vec<Vec<u8>> {
        let mut messages: Vec<_> = self.messages().into_iter().map(Some).collect();
        let (mut content, mut answers) = (Vec::new(), self.answers());
        for event in &self.expected {
            let question = match event {
                Event::Content(piece) => {
                    content.extend_from_slice(piece);
                    continue;
                }
                Event::Question(question) => question,
                _ => continue,
            };
            let answer = answers.pop_front().unwrap_or_default();
            if question == "content" {
                content.clear();
            } else if question == "commit" && answer.starts_with("committed") {
                messages.push(Some(std::mem::take(&mut content)).filter(|it| !it.is_empty()));
            } else if let Some(numbers) = question.strip_prefix("update ")
                && answer == "updated"
            {
                for number in numbers.split(' ') {
                    messages[number.parse::<usize>().unwrap() - 1] = None;
                }
            }
        }
        messages.into_iter().flatten().collect()
    }

    pub fn answers(&self) -> VecDeque<String> {
        self.answers.clone()
    }

    /// Returns the lines that the engine sends.
    pub fn expected_lines(&self) -> Vec<String> {
        self.expected
            .iter()
            .filter_map(|event| match event {
                Event::Line(line) => Some(line.clone()),
                _ => None,
            })
            .collect()
    }

    /// Returns the number of lines that the engine sends before each start of TLS.
    pub fn lines_before_tls(&self) -> Vec<usize> {
        let segments = self.expected.split(|event| *event == Event::Tls);
        let lines = |events: &[Event]| {
            events.iter().filter(|event| matches!(event, Event::Line(_))).count()
        };
        segments.map(lines).collect()
    }

    pub fn compare(&self, seen: &[Event], name: &str) {
        let codes_only = self.setting("match") == Some("codes");
        for (index, expected) in self.expected.iter().enumerate() {
            let Some(seen) = seen.get(index) else {
                panic!("{name}: the engine stopped before {expected:?}");
            };
            assert!(
                same(expected, seen, codes_only),
                "{name}: expected {expected:?}, saw {seen:?}"
            );
        }
        assert_eq!(seen.get(self.expected.len()), None, "{name}: more than expected");
    }
}

/// Returns whether two events are the same. A transcript of another server determines codes and order,
/// not texts.
pub fn same(expected: &Event, seen: &Event, codes_only: bool) -> bool {
    match (expected, seen) {
        (Event::Line(expected), Event::Line(seen)) if codes_only => {
            let code = |line: &str| line.split([' ', '-']).next().unwrap_or_default().to_owned();
            code(expected) == code(seen)
        }
        _ => expected == seen,
    }
}

/// Decodes `\r \n \0 \\ \xNN`, and `\{600*x}` for 600 times `x`.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        octets.extend_from_slice(plain.as_bytes());
        let mut characters = escape.chars();
        match characters.next() {
            Some('r') => octets.push(b'\r'),
            Some('n') => octets.push(b'\n'),
            Some('0') => octets.push(0),
            Some('\\') => octets.push(b'\\'),
            Some('x') => {
                let digits = escape.get(1..3).ok_or("\\x needs two digits")?;
                octets.push(u8::from_str_radix(digits, 16).map_err(|_| "\\x needs two digits")?);
                characters = escape[3..].chars();
            }
            Some('{') => {
                let (times, after) = escape[1..].split_once('}').ok_or("\\{ needs }")?;
                let (count, what) = times.split_once('*').ok_or("\\{ needs *")?;
                let count = count.parse().map_err(|_| "\\{ needs a number")?;
                octets.extend(unescape(what)?.repeat(count));
                characters = after.chars();
            }
            _ => return Err("unknown escape".into()),
        }
        rest = characters.as_str();
    }
    octets.extend_from_slice(rest.as_bytes());
    Ok(octets)
}

/// Collects events: joins output into lines, and pieces of content into one.
pub struct Recorder {
    events: Vec<Event>,
    line: Vec<u8>,
    answers: VecDeque<String>,
}

impl Recorder {
    pub fn new(script: &Script) -> Self {
        Self { events: Vec::new(), line: Vec::new(), answers: script.answers() }
    }

    pub fn output(&mut self, output: &mut Vec<u8>) {
        self.line.append(output);
        while let Some(end) = self.line.windows(2).position(|pair| pair == b"\r\n") {
            let line: Vec<u8> = self.line.drain(..end + 2).take(end).collect();
            self.events.push(Event::Line(line.into_iter().map(char::from).collect()));
        }
    }

    /// Records a question, and returns the script's answer. A question without text is not recorded.
    pub fn question(&mut self, text: Option<String>) -> Option<String> {
        self.events.push(Event::Question(text?));
        self.answers.pop_front()
    }

    pub fn content(&mut self, content: &[u8]) {
        match self.events.last_mut() {
            Some(Event::Content(before)) => before.extend_from_slice(content),
            _ => self.events.push(Event::Content(content.to_vec())),
        }
    }

    pub fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    pub fn finish(mut self) -> Vec<Event> {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line).into_iter().map(char::from).collect();
            self.events.push(Event::Line(line));
        }
        self.events
    }
}
