//! Lines that are JSON objects.

use crate::log::{Field, Layout, Span, Spans};

/// The deepest object that is looked into.
const MOST_DEPTH: usize = 32;

/// The members of an object that are wanted, by the paths to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct JsonLine {
    root: Node,
}

/// What is wanted of a value: itself, or members of it.
#[derive(Clone, Debug, Default)]
struct Node {
    members: Vec<(Vec<u8>, Self)>,
    place: Option<usize>,
}

/// A line, as far as it is read.
struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
    spans: &'a mut Spans,
}

impl JsonLine {
    /// Wants the value at a path: `request.uri`, or a JSON pointer such as `/request/uri`.
    pub(super) fn want(&mut self, path: &str, field: &Field, layout: &mut Layout) {
        let Some(place) = layout.place(field) else { return };
        let names: Vec<String> = match path.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect(),
            None => path.split('.').map(str::to_owned).collect(),
        };
        let node = names.iter().fold(&mut self.root, |node, name| node.member_mut(name.as_bytes()));
        node.place = Some(place);
    }

    /// Finds the members of a line. Returns `false` if it is no JSON object.
    #[inline]
    pub(super) fn read(&self, line: &[u8], spans: &mut Spans) -> bool {
        let mut scanner = Scanner { line, at: 0, spans };
        scanner.skip_space();
        let is_object = scanner.peek() == Some(b'{') && scanner.value(Some(&self.root), 0).is_some();
        scanner.skip_space();
        is_object && scanner.at == line.len()
    }
}

impl Node {
    fn member_mut(&mut self, name: &[u8]) -> &mut Self {
        let known = self.members.iter().position(|(other, _)| other == name);
        let at = known.unwrap_or_else(|| {
            self.members.push((name.to_vec(), Self::default()));
            self.members.len() - 1
        });
        &mut self.members[at].1
    }

    /// Finds a member, ignoring case: header fields are members of some logs.
    fn member(&self, name: &[u8]) -> Option<&Self> {
        self.members.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, node)| node)
    }
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.skip_space();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Reads a value, and sets the places of what is wanted of it.
    fn value(&mut self, node: Option<&Node>, depth: usize) -> Option<()> {
        self.skip_space();
        let place = node.and_then(|node| node.place);
        match self.peek()? {
            b'{' if depth < MOST_DEPTH => self.object(node, depth),
            b'[' if depth < MOST_DEPTH => self.array(node, depth),
            b'"' => {
                let span = self.string()?;
                self.set(place, span);
                Some(())
            }
            _ => {
                let span = self.scalar()?;
                let is_null = span.of(self.line) == b"null";
                self.set(place.filter(|_| !is_null), span);
                Some(())
            }
        }
    }

    fn set(&mut self, place: Option<usize>, span: Span) {
        if let Some(place) = place {
            self.spans.set(self.line, place, span);
        }
    }

    fn object(&mut self, node: Option<&Node>, depth: usize) -> Option<()> {
        self.expect(b'{')?;
        self.skip_space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            self.expect(b':')?;
            let member = node.filter(|node| !node.members.is_empty()).and_then(|node| node.member(name.of(self.line)));
            self.value(member, depth + 1)?;
            if self.is_at_end(b'}')? {
                return Some(());
            }
        }
    }

    /// Reads an array. Its first value stands for it where one is wanted: a header field may have several.
    fn array(&mut self, node: Option<&Node>, depth: usize) -> Option<()> {
        self.expect(b'[')?;
        self.skip_space();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        let mut node = node;
        loop {
            self.value(node.take(), depth + 1)?;
            if self.is_at_end(b']')? {
                return Some(());
            }
        }
    }

    /// Reads what follows a value: a comma, or the end of the list.
    fn is_at_end(&mut self, end: u8) -> Option<bool> {
        self.skip_space();
        let byte = self.peek()?;
        self.at += 1;
        if byte == end { Some(true) } else { (byte == b',').then_some(false) }
    }

    /// Reads a string, and returns the place of what is between its quotes.
    fn string(&mut self) -> Option<Span> {
        (self.peek()? == b'"').then_some(())?;
        let start = self.at + 1;
        let mut at = start;
        loop {
            at += memchr::memchr2(b'"', b'\\', self.line.get(at..)?)?;
            if self.line[at] == b'"' {
                self.at = at + 1;
                return Some(Span::new(start, at));
            }
            at += 2;
        }
    }

    /// Reads a number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Option<Span> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')) {
            self.at += 1;
        }
        (self.at > start).then(|| Span::new(start, self.at))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn read(path: &str, line: &str) -> Option<String> {
        let (mut layout, mut json, mut spans) = (Layout::default(), JsonLine::default(), Spans::default());
        json.want(path, &Field::Target, &mut layout);
        spans.clear(&layout);
        json.read(line.as_bytes(), &mut spans).then(|| {
            let record = spans.record(0, &Bytes::from(line.to_owned()), 0);
            String::from_utf8(record.raw(Layout::TARGET).to_vec()).unwrap()
        })
    }

    #[test]
    fn a_path_leads_to_a_value() {
        let line = r#" {"a": {"b": [1, {"c": "no"}], "Uri": "/x"}, "uri": "/y", "n": null, "t": 1.5, "l": ["/z", "/w"], "a.b": "/v"} "#;
        for (path, value) in [
            ("a.uri", "/x"),
            ("uri", "/y"),
            ("/a/Uri", "/x"),
            ("n", ""),
            ("t", "1.5"),
            ("l", "/z"),
            ("/a.b", "/v"),
            ("x", ""),
            ("a", ""),
        ] {
            assert_eq!(read(path, line).as_deref(), Some(value), "{path}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for line in [
            "",
            "[]",
            "x",
            "{",
            r#"{"a""#,
            r#"{"a":"#,
            r#"{"a":1"#,
            r#"{"a":1}}"#,
            r#"{"a":1,}"#,
            r#"{"a":"x}"#,
            r#"{"a" 1}"#,
        ] {
            assert_eq!(read("a", line), None, "{line}");
        }
        assert_eq!(read("a", "{}").as_deref(), Some(""));
        assert_eq!(read("a", r#"{"b":[],"c":{}}"#).as_deref(), Some(""));
    }

    #[test]
    fn an_object_of_any_depth_ends() {
        assert_eq!(read("a", &"{\"a\":".repeat(100_000)), None);
        assert_eq!(read("a", &format!("{}1{}", "{\"a\":".repeat(20), "}".repeat(20))).as_deref(), Some(""));
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(line in prop::collection::vec(any::<u8>(), 0..60), text in "[{}\\[\\]\",:a1\\\\ ]{0,30}") {
            let (mut layout, mut json, mut spans) = (Layout::default(), JsonLine::default(), Spans::default());
            json.want("a.a", &Field::Target, &mut layout);
            spans.clear(&layout);
            let _ = json.read(&line, &mut spans);
            let _ = json.read(text.as_bytes(), &mut spans);
        }

        #[test]
        fn what_json_writes_is_read(text in "[a-z\"\\\\{},é]{1,20}", number in any::<i64>()) {
            let line = serde_json::json!({"n": number, "deep": {"a": [text.clone()]}}).to_string();
            let read = read("deep.a", &line).unwrap();
            let unescaped = crate::log::Escape::Json.unescape(read.as_bytes());
            prop_assert_eq!(unescaped.as_ref(), text.as_bytes());
        }
    }
}
