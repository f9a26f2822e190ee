//! What is written otherwise in a new file, and is no change of limits.

use toml::{Table, Value};

use crate::rules::RulesFile;

/// The fields whose changes a reload reports itself.
const REPORTED: [&str; 5] = ["name", "quotas", "tiers", "enforcement", "level"];
/// The fields that a reload leaves as they were built.
const BUILT: [&str; 2] = ["store", "max_keys"];

/// Returns the fields that are written otherwise, of rules that both files have, and of the files themselves.
pub(crate) fn rewritten(old: &RulesFile, new: &RulesFile) -> Vec<String> {
    let of_rules = new.rules.iter().filter_map(|rule| Some((rule, old.rule(&rule.name)?)));
    let of_rules = of_rules.flat_map(|(rule, before)| {
        changes(&before.fields, &rule.fields, &REPORTED)
            .into_iter()
            .map(|change| format!("rule \"{}\": {change}", rule.name))
    });
    let of_file = changes(&old.table, &new.table, &["rule"]).into_iter().map(|change| {
        let is_built = BUILT.iter().any(|field| change.starts_with(field));
        change + if is_built { " (from the next start on)" } else { "" }
    });
    of_rules.chain(of_file).collect()
}

fn changes(old: &Table, new: &Table, except: &[&str]) -> Vec<String> {
    let gone = old.keys().filter(|field| !new.contains_key(*field));
    let fields = new.keys().chain(gone).filter(|field| !except.contains(&field.as_str()));
    fields
        .filter(|field| old.get(*field) != new.get(*field))
        .map(|field| change(field, old.get(field), new.get(field)))
        .collect()
}

fn change(field: &str, old: Option<&Value>, new: Option<&Value>) -> String {
    match (old, new) {
        (Some(Value::Array(old)), Some(Value::Array(new))) if is_flat(old) && is_flat(new) => {
            list_change(field, old, new)
        }
        (Some(Value::Table(_)), _) | (_, Some(Value::Table(_))) => format!("[{field}] is written otherwise"),
        (Some(old), Some(new)) if is_plain(old) && is_plain(new) => format!("{field}: {old} -> {new}"),
        (None, Some(new)) if is_plain(new) => format!("{field} = {new} is new"),
        (Some(old), None) if is_plain(old) => format!("{field} = {old} is gone"),
        _ => format!("{field} is written otherwise"),
    }
}

fn list_change(field: &str, old: &[Value], new: &[Value]) -> String {
    let added = new.iter().filter(|value| !old.contains(value)).map(|value| format!("+{value}"));
    let removed = old.iter().filter(|value| !new.contains(value)).map(|value| format!("-{value}"));
    let changes: Vec<String> = added.chain(removed).collect();
    if changes.is_empty() { format!("{field} have another order") } else { format!("{field}: {}", changes.join(" ")) }
}

fn is_flat(list: &[Value]) -> bool {
    list.iter().all(Value::is_str)
}

/// Returns `true` for values that are short in print.
fn is_plain(value: &Value) -> bool {
    !value.is_table() && value.as_array().is_none_or(|list| is_flat(list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::ProgramSources;

    fn file(rest: &str) -> RulesFile {
        let text = format!("[[rule]]\nname = 'a'\nkey = 'peer_ip'\nquotas = ['1/s']\n{rest}");
        RulesFile::parse("f", &text, ProgramSources::default()).unwrap()
    }

    #[test]
    fn fields_that_are_written_otherwise_are_told() {
        let between = |old: &str, new: &str| rewritten(&file(old), &file(new));
        let routes = "routes = ['GET /a', 'GET /b']";
        assert_eq!(between(routes, routes), [""; 0]);
        assert_eq!(between(routes, "routes = ['GET /c', 'GET /a']"), ["rule \"a\": routes: +\"GET /c\" -\"GET /b\""]);
        let hosts = format!("{routes}\non_missing = 401");
        assert_eq!(between(routes, &hosts), ["rule \"a\": on_missing = 401 is new"]);
        assert_eq!(between(&hosts, &routes.replace(", 'GET /b'", "")).len(), 2);
    }

    #[test]
    fn what_a_reload_does_not_change_is_marked() {
        let text = "[[rule]]\nname = 'a'\nkey = 'peer_ip'\nquotas = ['1/s']\nroutes = ['/x']";
        let parse = |text: &str| RulesFile::parse("f", text, ProgramSources::default()).unwrap();
        let changed = rewritten(&parse(text), &parse(&format!("max_keys = 7\n{text}")));
        assert_eq!(changed, ["max_keys = 7 is new (from the next start on)"]);
    }
}
