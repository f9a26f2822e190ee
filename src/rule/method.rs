//! The methods that a route may name.

use http::Method;

use crate::error::nearest;

/// The methods that are registered for HTTP (IANA, Hypertext Transfer Protocol Method Registry), QUERY, which is about
/// to be, and PURGE, which caches support. HEAD is missing because it counts as GET.
const METHODS: [&str; 40] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// Parses the methods in front of a template; an empty list stands for all of them.
pub(super) fn parse_methods(text: &str) -> Result<Vec<Method>, String> {
    if text == "ANY" || text == "*" {
        return Ok(Vec::new());
    }
    let mut methods = Vec::new();
    for name in text.split('|') {
        let method = parse_method(name)?;
        if methods.contains(&method) {
            return Err(format!("{name} occurs twice: write it once"));
        }
        methods.push(method);
    }
    Ok(methods)
}

fn parse_method(name: &str) -> Result<Method, String> {
    match name {
        "HEAD" => return Err("HEAD counts as GET: write GET".to_owned()),
        "ANY" | "*" => return Err(format!("{name} means every method: write it alone, or no method at all")),
        _ => {}
    }
    if METHODS.contains(&name) {
        return Method::from_bytes(name.as_bytes()).map_err(|error| error.to_string());
    }
    if name.is_empty() || name.contains([',', '/', ';']) {
        let joined = name.split([',', '/', ';']).map(str::trim).collect::<Vec<_>>().join("|");
        return Err(format!(
            "methods are in capital letters, with | between them: write {}",
            joined.to_ascii_uppercase()
        ));
    }
    let upper = name.to_ascii_uppercase();
    if METHODS.contains(&&*upper) {
        return Err(format!("methods are in capital letters: write {upper}"));
    }
    Err(match nearest(&upper, METHODS) {
        Some(near) => format!("\"{name}\" is not a method registered for HTTP: did you mean {near}?"),
        None => format!("\"{name}\" is not a method registered for HTTP; leave the method out for all of them"),
    })
}
