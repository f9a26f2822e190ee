//! The readings of a request path: the ways in which routers may normalize it.
//!
//! A client may write `/login` as `//login`, `/login/`, `/%6cogin`, `/./login`, `/x/../login` or `/login%2F`. Some
//! routers treat these as the same path and others do not, and a limiter in front cannot know. So a path is matched in
//! its canonical form, and in each other reading where routers differ: a request may match more rules than intended,
//! never fewer. The path is also matched verbatim, as axum does: `//login` is a path of `/{tenant}/login`.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use smallvec::SmallVec;

/// Characters that stay encoded in a canonical segment. All other ASCII is decoded; other bytes are always encoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b'/').add(b'\\').add(b'%').add(b'{').add(b'}');

/// Maximum number of repeated slashes of which a router may have removed one.
const MOST_SHORTENED: usize = 4;

/// The readings of one path: verbatim, and at least one and at most four others.
#[derive(Debug)]
pub(crate) struct PathReadings<'a> {
    verbatim: &'a str,
    /// With one slash removed where there are several: a service that is nested at `/n` gets `/n//x` as `/x`.
    shortened: SmallVec<[String; 1]>,
    canonical: Cow<'a, str>,
    /// With encoded slashes and backslashes decoded to slashes, if there are any.
    decoded: Option<String>,
    /// The last two with dot segments resolved, if there are any.
    resolved: SmallVec<[String; 2]>,
}

impl<'a> PathReadings<'a> {
    pub(crate) fn from_path(path: &'a str) -> Self {
        if is_canonical(path) {
            let (shortened, resolved) = (SmallVec::new(), SmallVec::new());
            return Self { verbatim: path, shortened, canonical: Cow::Borrowed(path), decoded: None, resolved };
        }
        let canonical = canonical(path);
        let decoded = ["%2F", "%5C"].iter().any(|slash| canonical.contains(slash));
        let decoded = decoded.then(|| self::canonical(&canonical.replace("%2F", "/").replace("%5C", "/")));
        let readings = std::iter::once(&canonical).chain(&decoded);
        let resolved = readings.filter_map(|reading| resolve_dots(reading)).collect();
        let shortened = shortened(path).collect();
        Self { verbatim: path, shortened, canonical: Cow::Owned(canonical), decoded, resolved }
    }

    /// Returns the path as it came, which most routers match, and as they may have left it.
    pub(crate) fn verbatim(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.verbatim).chain(self.shortened.iter().map(|reading| &**reading))
    }

    /// Returns true if all readings are the same.
    pub(crate) const fn has_one_reading(&self) -> bool {
        matches!(self.canonical, Cow::Borrowed(_))
    }

    /// Returns true if some reading has dot segments.
    pub(super) fn have_dot_segments(&self) -> bool {
        !self.resolved.is_empty()
    }

    /// Returns the readings, and for each whether it counts by itself.
    ///
    /// A path with dot segments has to be covered in every reading, because no client needs them. Encoded slashes
    /// differ: often they are part of a name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        let canonical = std::iter::once((&*self.canonical, true));
        let decoded = self.decoded.iter().map(|reading| (&**reading, false));
        canonical.chain(decoded).chain(self.resolved.iter().map(|reading| (&**reading, true)))
    }
}

/// Returns the canonical form of a path.
pub(super) fn canonical(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        out.push('/');
        push_encoded(segment, &mut out);
    }
    if out.is_empty() { "/".to_owned() } else { out }
}

/// Returns the canonical form of a segment, or of a static part of one.
pub(super) fn encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    push_encoded(segment, &mut out);
    out
}

fn push_encoded(segment: &str, out: &mut String) {
    let bytes: Cow<'_, [u8]> = percent_decode_str(segment).into();
    out.extend(percent_encode(&bytes, ENCODED));
}

/// Removes empty segments, and with them a trailing slash.
pub(super) fn collapse_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

/// Returns true if a path is in canonical form and has one reading. Nearly all are, and one pass tells.
fn is_canonical(path: &str) -> bool {
    let bytes = path.as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b'{' | b'}');
    let is_inner_slash = |pair: &[u8]| pair[0] != b'/' || !matches!(pair[1], b'/' | b'.');
    bytes.first() == Some(&b'/')
        && bytes.iter().all(is_plain)
        && bytes.windows(2).all(is_inner_slash)
        && (bytes.len() == 1 || bytes.last() != Some(&b'/'))
}

/// Returns the path with one slash removed, once for each of the first places where there are several.
fn shortened(path: &str) -> impl Iterator<Item = String> {
    let bytes = path.as_bytes();
    let is_first_of_several = move |at: &usize| {
        bytes.get(*at..*at + 2) == Some(b"//") && at.checked_sub(1).and_then(|before| bytes.get(before)) != Some(&b'/')
    };
    let places = (0..bytes.len()).filter(is_first_of_several).take(MOST_SHORTENED);
    places.map(|at| format!("{}{}", &path[..at], &path[at + 1..]))
}

/// Resolves the `.` and `..` segments of a path, if it has any.
fn resolve_dots(path: &str) -> Option<String> {
    let mut kept = Vec::new();
    let mut found = false;
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        match segment {
            "." => found = true,
            ".." => {
                found = true;
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    found.then(|| format!("/{}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(path: &str) -> Vec<String> {
        PathReadings::from_path(path).iter().map(|(reading, _)| reading.to_owned()).collect()
    }

    #[test]
    fn an_ordinary_path_is_read_as_it_is_without_a_copy() {
        for path in ["/", "/login", "/api/public/bot/st-1/export", "/a.b/c..d/~x"] {
            assert!(matches!(PathReadings::from_path(path).canonical, Cow::Borrowed(_)), "{path}");
            assert_eq!(readings(path), [path]);
        }
    }

    #[test]
    fn every_spelling_of_a_path_includes_its_plain_one() {
        let spellings = [
            "//login",
            "/login/",
            "/login//",
            "/./login",
            "/x/../login",
            "/%6cogin",
            "/%6Cogin",
            "/login%2F",
            "/login%2f",
            "/%2e/login",
            "/x/%2E%2e/login",
            "/x%2F..%2Flogin",
            "/../login",
            "/.//login/.",
        ];
        for path in spellings {
            assert!(readings(path).contains(&"/login".to_owned()), "{path}: {:?}", readings(path));
        }
    }

    #[test]
    fn a_slash_may_have_been_taken_off_wherever_there_are_several() {
        let came = |path| PathReadings::from_path(path).verbatim().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(came("/n//x"), ["/n//x", "/n/x"]);
        assert_eq!(came("//n///x"), ["//n///x", "/n///x", "//n//x"]);
        assert_eq!(came("/n/x"), ["/n/x"]);
        assert_eq!(came(&"//a".repeat(50)).len(), 1 + MOST_SHORTENED);
    }

    #[test]
    fn an_encoded_slash_is_read_both_ways() {
        assert_eq!(readings("/tables/a%2fb"), ["/tables/a%2Fb", "/tables/a/b"]);
    }

    #[test]
    fn dot_segments_are_read_both_ways() {
        assert_eq!(readings("/bots/../run"), ["/bots/../run", "/run"]);
    }

    #[test]
    fn a_percent_sign_is_one_however_it_is_written() {
        assert_eq!(readings("/100%"), readings("/100%25"));
        assert_eq!(readings("/%zz"), readings("/%25zz"));
        assert_ne!(readings("/%2541"), readings("/%41"));
    }

    #[test]
    fn bytes_that_are_not_utf8_stay_distinct() {
        assert_ne!(readings("/%ff"), readings("/%fe"));
        assert_eq!(readings("/%ff"), ["/%FF"]);
        assert_eq!(readings("/%c3%a9"), readings("/é"));
    }

    #[test]
    fn every_reading_is_canonical() {
        for path in ["", "*", "/a%00b", "/%2F%2F/..//%2e%2E/%", "/é/%C3%A9/", "relative/x", "/a%2F%2e%2e%2Fb/../c"] {
            for reading in readings(path) {
                assert_eq!(canonical(&reading), reading, "from {path}");
            }
            assert!(readings(path).len() <= 4);
        }
    }
}
