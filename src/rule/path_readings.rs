//! The ways in which one path may be written.
//!
//! A client may write `/login` as `//login`, `/login/`, `/%6cogin`, `/./login`, `/x/../login` or `/login%2F`. Some routers
//! take these for the same and others do not, and a limiter in front cannot know. So a path is matched in one canonical
//! spelling, and where reading differs in every reading: a spelling may meet more rules than meant, never fewer. It is matched as
//! it came as well, as axum matches it: `//login` is a path of `/{tenant}/login`.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use smallvec::SmallVec;

/// What stays encoded in a canonical segment. All else is written plainly, and non-ASCII bytes are always encoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b'/').add(b'\\').add(b'%').add(b'{').add(b'}');

/// How many doubled slashes of a path are looked at for what a router may have taken off.
const MOST_SHORTENED: usize = 4;

/// The readings of one path: as it came, and besides at least one and at most four.
#[derive(Debug)]
pub(crate) struct PathReadings<'a> {
    verbatim: &'a str,
    /// With one slash less where there are several: a service that is nested gets `/n//x` as `/x`.
    shortened: SmallVec<[String; 1]>,
    canonical: Cow<'a, str>,
    /// With encoded slashes and backslashes taken for slashes, if there are any.
    decoded: Option<String>,
    /// Both of these without dot segments, if there are any.
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

    /// The path as it came, which is what most routers match, or may have left of it.
    pub(crate) fn verbatim(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.verbatim).chain(self.shortened.iter().map(|reading| &**reading))
    }

    /// Whether all readings are the same.
    pub(crate) const fn has_one_reading(&self) -> bool {
        matches!(self.canonical, Cow::Borrowed(_))
    }

    /// The readings, and whether each counts by itself.
    ///
    /// A path with dot segments has to be covered in every reading: nobody means them. Not so one with encoded slashes,
    /// which often are part of a name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        let canonical = std::iter::once((&*self.canonical, true));
        let decoded = self.decoded.iter().map(|reading| (&**reading, false));
        canonical.chain(decoded).chain(self.resolved.iter().map(|reading| (&**reading, true)))
    }
}

/// The canonical spelling of a path.
fn canonical(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        out.push('/');
        push_encoded(segment, &mut out);
    }
    if out.is_empty() { "/".to_owned() } else { out }
}

/// The canonical spelling of a segment, or of a static part of one.
pub(super) fn encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    push_encoded(segment, &mut out);
    out
}

fn push_encoded(segment: &str, out: &mut String) {
    let bytes: Cow<'_, [u8]> = percent_decode_str(segment).into();
    out.extend(percent_encode(&bytes, ENCODED));
}

/// A path without empty segments, and so without a trailing slash.
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

/// Whether a path is its own canonical spelling and has only one reading: nearly all of them, and told in one pass.
fn is_canonical(path: &str) -> bool {
    let bytes = path.as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b'{' | b'}');
    let is_inner_slash = |pair: &[u8]| pair[0] != b'/' || !matches!(pair[1], b'/' | b'.');
    bytes.first() == Some(&b'/')
        && bytes.iter().all(is_plain)
        && bytes.windows(2).all(is_inner_slash)
        && (bytes.len() == 1 || bytes.last() != Some(&b'/'))
}

/// The path with one slash less at each of the first places where there are several.
fn shortened(path: &str) -> impl Iterator<Item = String> {
    let bytes = path.as_bytes();
    let is_first_of_several = move |at: &usize| {
        bytes.get(*at..*at + 2) == Some(b"//") && at.checked_sub(1).and_then(|before| bytes.get(before)) != Some(&b'/')
    };
    let places = (0..bytes.len()).filter(is_first_of_several).take(MOST_SHORTENED);
    places.map(|at| format!("{}{}", &path[..at], &path[at + 1..]))
}

/// The path without its `.` and `..` segments, if it has any.
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
