//! The format of a log, by its first lines.

/// Returns the name of the format that these lines look like.
pub(super) fn name(lines: &[&[u8]]) -> Option<&'static str> {
    let guesses = lines.iter().filter(|line| !line.trim_ascii().is_empty()).map(|line| of_line(line));
    // The first lines may be cut off, so the first that looks like something counts.
    guesses.take(100).flatten().next()
}

fn of_line(line: &[u8]) -> Option<&'static str> {
    let has = |text: &str| memchr::memmem::find(line, text.as_bytes()).is_some();
    let first = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    match line {
        [b'#', ..] => ["#Fields", "#Version", "#Software"].iter().any(|directive| has(directive)).then_some("w3c"),
        [b'{', ..] if has("\"request\":{") || has("\"request\": {") => Some("caddy"),
        [b'{', ..] if has("\"RequestPath\"") => Some("traefik"),
        [b'{', ..] => Some("json"),
        [b'[', year, ..] if year.is_ascii_digit() => Some("envoy"),
        _ if matches!(first, b"http" | b"https" | b"h2" | b"grpcs" | b"ws" | b"wss") => Some("alb"),
        _ if has("] \"") && has(" - ") => Some("combined"),
        _ if has("] \"") => Some("common"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_lines() {
        let of = |text: &str| name(&text.lines().map(str::as_bytes).collect::<Vec<_>>());
        assert_eq!(of("\n1.2.3.4 - - [29/Feb/2024:00:00:01 +0000] \"GET / HTTP/1.1\" 200 5"), Some("combined"));
        assert_eq!(of("1.2.3.4 u a [29/Feb/2024:00:00:01 +0000] \"GET / HTTP/1.1\" 200 5"), Some("common"));
        assert_eq!(of("[2024-02-29T00:00:01.000Z] \"GET /x HTTP/1.1\" 200"), Some("envoy"));
        assert_eq!(of("h2 2024-02-29T00:00:01Z app"), Some("alb"));
        assert_eq!(of("#Version: 1.0\n#Fields: date time"), Some("w3c"));
        assert_eq!(of("cut off\n{\"ts\":1,\"request\":{\"uri\":\"/\"}}"), Some("caddy"));
        assert_eq!(of("{\"RequestPath\":\"/\"}"), Some("traefik"));
        assert_eq!(of("{\"path\":\"/\"}"), Some("json"));
        assert_eq!(of("no log at all\n"), None);
        assert_eq!(of(""), None);
    }
}
