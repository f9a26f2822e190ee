//! Templates, whatever their parameters are called.

use smallvec::SmallVec;

/// A template without the names of its parameters: what of it decides which paths it matches.
pub(crate) type Anonymous = SmallVec<[u8; 128]>;

/// Leaves out the names of the parameters, and keeps that they are there. Doubled braces are literal ones.
pub(crate) fn anonymous(template: &str) -> Anonymous {
    let mut out = Anonymous::new();
    let mut bytes = template.bytes().peekable();
    while let Some(byte) = bytes.next() {
        out.push(byte);
        match (byte, bytes.peek()) {
            (b'{' | b'}', Some(next)) if *next == byte => out.extend(bytes.next()),
            (b'{', Some(b'*')) => {
                out.push(b'*');
                out.extend(bytes.by_ref().find(|byte| *byte == b'}'));
            }
            (b'{', _) => out.extend(bytes.by_ref().find(|byte| *byte == b'}')),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_the_same_whatever_their_parameters_are_called() {
        let same = |one, other| anonymous(one) == anonymous(other);
        assert!(same("/a/{b}/{*c}", "/a/{x}/{*rest}"));
        assert!(same("/v{a}.json", "/v{version}.json"));
        for (one, other) in [
            ("/a/{b}", "/a/{*b}"),
            ("/a/{b}", "/a/{b}/"),
            ("/a/{{b}}", "/a/{b}"),
            ("/a/{{b}}", "/a/{{c}}"),
            ("/a//b", "/a/b"),
            ("/%61", "/a"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_not_closed_ends() {
        assert_eq!(&anonymous("/a/{b")[..], b"/a/{");
    }
}
