//! The prefix of a path.

use crate::{
    error::ConfigError,
    request::RequestView,
    rule::{
        PathReadings, canonical_shape,
        path_readings::{canonical, collapse_slashes},
    },
};

/// A prefix of paths, by whole segments: `/api` is one of `/api` and `/api/bots`, not of `/apis`.
#[derive(Clone, Debug)]
pub(super) struct PathPrefix(
    /// In canonical form; empty for `/`, which is a prefix of every path.
    String,
);

impl PathPrefix {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        check(text).map_err(|reason| ConfigError::new("paths_under", format_args!("\"{text}\""), reason))?;
        Ok(Self(canonical(text).trim_end_matches('/').to_owned()))
    }

    /// Returns true if one of the prefixes is one of the request's path, in some reading of it.
    pub(super) fn any_covers(prefixes: &[Self], request: &RequestView<'_>) -> bool {
        let any = |path: &str| prefixes.iter().any(|prefix| prefix.covers(path));
        request.paths().any(|(path, _)| PathReadings::from_path(&path).iter().any(|(reading, _)| any(reading)))
            || request.axum_template().is_some_and(|template| any(template) || is_covered_canonically(template, any))
    }

    fn covers(&self, path: &str) -> bool {
        path.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Returns true if a template of a router is covered in its canonical form, if that is another.
fn is_covered_canonically(template: &str, any: impl Fn(&str) -> bool) -> bool {
    (template.contains('%') || template.contains("//")) && canonical_shape(template).is_some_and(|shape| any(&shape))
}

/// Refuses what covers no path, or other paths than it seems to.
fn check(text: &str) -> Result<(), String> {
    if let Some((methods, path)) = text.trim().split_once(char::is_whitespace) {
        return Err(format!("a prefix is a path without a method: write \"{}\" and methods {methods}", path.trim()));
    }
    if !text.starts_with('/') {
        return Err(format!("a prefix begins with /: write \"/{}\"", text.trim_start_matches('/')));
    }
    if text.contains(['?', '#']) {
        return Err("a prefix is a path: it has no query and no fragment".to_owned());
    }
    if let Some((before, _)) = text.split_once(['{', '}', '*', ':']) {
        let before = before.rsplit_once('/').map_or("", |(whole, _)| whole);
        let whole = if before.is_empty() { "/" } else { before };
        return Err(format!(
            "a prefix has no parameters and no wildcards, and covers all paths below it: write \"{whole}\", or routes"
        ));
    }
    let canonical = canonical(text);
    let is_odd = |segment: &str| matches!(segment, "." | "..") || segment.contains("%2F") || segment.contains("%5C");
    if canonical.split('/').any(is_odd) {
        return Err("a prefix has no dot segments and no encoded slashes: write the path that is meant".to_owned());
    }
    let plain = collapse_slashes(text);
    let is_collapsed = text.strip_suffix('/').is_some_and(|text| text == plain) || text == plain || text == "/";
    if is_collapsed { Ok(()) } else { Err(format!("a prefix has no empty segments: write \"{plain}\"")) }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn covers(prefix: &str, uri: &str) -> bool {
        let request = Request::get(uri).body(()).unwrap();
        PathPrefix::any_covers(&[PathPrefix::parse(prefix).unwrap()], &RequestView::new(&request))
    }

    #[test]
    fn a_prefix_covers_whole_segments() {
        for path in ["/api", "/api/", "/api/bots", "/api/bots/7?x=/y", "https://example.com/api"] {
            assert!(covers("/api", path) && covers("/api/", path), "{path}");
        }
        for path in ["/", "/apis", "/ap", "/v1/api", "/API", "/?/api", "/api.json", "/api;x"] {
            assert!(!covers("/api", path), "{path}");
        }
        assert!(covers("/", "/") && covers("/", "/anything"));
        assert!(covers("/v1/bots", "/v1/bots/7") && !covers("/v1/bots", "/v1"));
    }

    #[test]
    fn a_path_is_covered_in_any_reading() {
        for path in [
            "//api/bots",
            "/api//bots",
            "/%61pi/bots",
            "/./api/bots",
            "/x/../api/bots",
            "/x%2F..%2Fapi/bots",
            "/api%2Fbots",
            "/api%5Cbots",
            "/api/../admin",
        ] {
            assert!(covers("/api", path), "{path}");
        }
        assert!(covers("/a/b", "/a//b/c"));
        assert!(covers("/caf%C3%A9", "/caf%c3%a9/menu"));
    }

    #[test]
    fn a_text_that_is_no_prefix_is_refused() {
        for (text, reason) in [
            ("", "begins with /: write \"/\""),
            ("api", "begins with /: write \"/api\""),
            ("GET /api", "without a method: write \"/api\" and methods GET"),
            ("/api/{id}/x", "write \"/api\", or routes"),
            ("/api/*", "write \"/api\", or routes"),
            ("/v{version}", "write \"/\", or routes"),
            ("/bots/:id", "write \"/bots\", or routes"),
            ("/api?x=1", "no query"),
            ("/a/../b", "no dot segments"),
            ("/a/%2e%2E/b", "no dot segments"),
            ("/a%2Fb", "no encoded slashes"),
            ("//api", "no empty segments: write \"/api\""),
            ("/a//b/", "no empty segments: write \"/a/b\""),
        ] {
            let error = PathPrefix::parse(text).unwrap_err();
            assert_eq!((error.field(), error.value()), ("paths_under", &*format!("\"{text}\"")));
            assert!(error.reason().contains(reason), "{error}");
        }
    }
}
