//! Keys of users that requests may leave out.

use crate::{lint::Finding, rules::RuleTable};

/// Sources that a client chooses to send or not.
const OF_CLIENTS: [&str; 5] = ["header:", "cookie:", "query:", "metadata:", "claim:"];

/// Finds rules by the key of a user that do not say what happens without it.
pub(super) fn find(rule: &RuleTable, found: &mut Vec<Finding>) {
    if rule.fields.contains_key("on_missing") || rule.texts("applies_to") == ["no_requests"] {
        return;
    }
    let is_of_client =
        |part: &&str| part.split('|').all(|source| OF_CLIENTS.iter().any(|kind| source.trim().starts_with(kind)));
    if let Some(part) = rule.keys().into_iter().flatten().find(is_of_client) {
        let text = format!(
            "all requests without {part} share one history, so those of one client use up those of all: write on_missing = \
             \"skip\" or 401, or \"share\" if that is meant"
        );
        found.push(Finding::new(rule, "key", "shared-missing-key", text));
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::finding::found;

    fn of(key: &str, rest: &str) -> Vec<(&'static str, usize)> {
        let rest = if rest.is_empty() { "applies_to = 'every_request'" } else { rest };
        found(&format!("[[rule]]\nname = 'a'\nquotas = ['1/s']\nkey = {key}\n{rest}"))
    }

    #[test]
    fn a_key_that_may_be_left_out_is_found_unless_the_file_says_what_happens() {
        assert_eq!(of("'header:x-account'", ""), [("shared-missing-key", 4)]);
        assert_eq!(of("['peer_ip', 'claim:app']", ""), [("shared-missing-key", 4)]);
        assert_eq!(of("'header:x-account | peer_ip'", ""), []);
        assert_eq!(of("'peer_ip'", ""), []);
        assert_eq!(of("'header:x-account'", "on_missing = 'share'\nhosts = ['a.b']"), []);
        assert_eq!(of("'header:x-account'", "applies_to = 'no_requests'"), []);
    }
}
