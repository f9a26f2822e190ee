//! What is said of each mistake in a file: where it is, what is wrong, and what to write in its place.

use proptest::prelude::*;
use tower_quota::{ConfigError, RateLimiter};

const GOOD: [&str; 7] = [
    "max_keys = 10",
    "[[rule]]",
    "name = 'bots'",
    "key = 'path:botId'",
    "quotas = ['60/minute', '1800/hour']",
    "routes = ['POST /x/{botId}', 'GET /y/{botId}']",
    "",
];

/// What is put in the place of which line of the good file, and what is said of it.
#[rustfmt::skip]
const IN_A_RULE: &[(usize, &str, &str)] = &[
    (3, "name = 'bots'\nlevels = 'bot'", r#"line 4: rule "bots": levels 'bot': unknown field: write level = 'bot'"#),
    (3, "name = 'bots'\nlevel = 'a b'", "line 4: rule \"bots\": level \"a b\": a name is one or more visible ASCII characters without spaces, \" and \\: write one such as \"a-b\""),
    (3, "name = 'bots'\nlevel = 7", r#"line 4: rule "bots": level 7: a string has quotes: write level = "7""#),
    (3, "name = 'bots'\nlevel = ''", "line 4: rule \"bots\": level \"\": a name is one or more visible ASCII characters without spaces, \" and \\: write one such as \"calls\""),
    (4, "", r#"line 3: rule "bots": key: the rule has no key to count requests by: write key = "header:x-account""#),
    (4, "key = 7", r#"line 4: rule "bots": key 7: expected a string or an array of strings: write key = "header:x-account""#),
    (4, "key = []", r#"line 4: rule "bots": key []: it is empty: write key = "header:x-account""#),
    (4, "key = [\n'path:botId',\n7]", r#"line 6: rule "bots": key 7: each element is a string: write key = "header:x-account""#),
    (4, "kye = 'path:botId'", r#"line 4: rule "bots": kye 'path:botId': unknown field: write key = 'path:botId'"#),
    (4, "source = 'path:botId'", r#"line 4: rule "bots": source 'path:botId': unknown field: write key = 'path:botId'"#),
    (5, "", r#"line 3: rule "bots": quotas: the rule has no quotas: write quotas = ["60/minute", "1800/hour"]"#),
    (5, "quotas = '60/minute'", r#"line 5: rule "bots": quotas '60/minute': expected an array of strings: write quotas = ["60/minute"]"#),
    (5, "quotas = '60/m, 1800/h'", r#"line 5: rule "bots": quotas '60/m, 1800/h': expected an array of strings: write quotas = ["60/m", "1800/h"]"#),
    (5, "quotas = 60", r#"line 5: rule "bots": quotas 60: expected an array of strings: write quotas = ["60/minute", "1800/hour"]"#),
    (5, "quotas = ['60/m, 1800/h']", r#"line 5: rule "bots": quota "60/m, 1800/h": these are several quotas: write a text for each, ["60/m", "1800/h"], or as a policy "60/m, 1800/h""#),
    (5, "quotas = [\n'60/minute',\n60]", r#"line 7: rule "bots": quotas 60: each element is a string: write quotas = ["60/minute", "1800/hour"]"#),
    (5, "quotas = [\n]", r#"line 5: rule "bots": quotas []: a policy has at least one quota: write one such as 60/minute"#),
    (5, "polcy = '60/m'", r#"line 5: rule "bots": polcy '60/m': unknown field: write quotas = ["60/minute", "1800/hour"]"#),
    (5, "policy = ['60/m']", r#"line 5: rule "bots": policy ['60/m']: unknown field: write quotas = ['60/m']"#),
    (5, "quota = ['60/m']", r#"line 5: rule "bots": quota ['60/m']: unknown field: write quotas = ['60/m']"#),
    (5, "limit = 60", r#"line 5: rule "bots": limit 60: unknown field: write quotas = ["60/minute", "1800/hour"]"#),
    (5, "quotas = { minute = 60 }", r#"line 5: rule "bots": quotas { minute = 60 }: expected an array of strings: write quotas = ["60/minute", "1800/hour"]"#),
    (5, "quotas = [\n'60/minute',\n'1800/fortnight'\n]", r#"line 7: rule "bots": quota "1800/fortnight": "fortnight" is not a unit, which are ms, s, m, h, day, week, month and year: write "60/minute" or "500/5m""#),
    (5, "quotas = ['60']", r#"line 5: rule "bots": quota "60": there is no / between limit and window: write "60/minute""#),
    (5, "quotas = ['0/hour']", r#"line 5: rule "bots": quota "0/hour": a quota admits at least 1: write 1 or more"#),
    (5, "quotas = ['281474976710656/hour']", r#"line 5: rule "bots": quota "281474976710656/hour": a quota admits at most 281474976710655: write that or less, or leave the quota out"#),
    (5, "quotas = [\n'60/minute',\n'30/minute']", r#"line 7: rule "bots": quota name "minute": there are two quotas for this window: keep that of 30, or name one, as in "slow=30/minute""#),
    (5, "quotas = ['60/M']", r#"line 5: rule "bots": quota "60/M": "M" is a minute to some and a month to others: write "60/m" or "60/minute" or "60/month""#),
    (5, "quotas = ['1/200y']", r#"line 5: rule "bots": quota "1/200y": a window is from 1 ms to 100 years: write one such as 1s or 1day"#),
    (5, "quotas = ['a b=60/m']", "line 5: rule \"bots\": quota \"a b=60/m\": a name is one or more visible ASCII characters without spaces, \" and \\: write one such as \"a-b\""),
    (5, "quotas = ['1/s']\nresolution = 15", r#"line 6: rule "bots": resolution 15: a resolution is from 16 to 65536: leave it out for 4096"#),
    (5, "quotas = ['1/s']\nresolution = -1", r#"line 6: rule "bots": resolution -1: the number is too small or too large: write resolution = 4096"#),
    (5, "quotas = ['1/s']\nresolution = '4096'", r#"line 6: rule "bots": resolution '4096': a number has no quotes: write resolution = 4096"#),
    (5, "quotas = ['1/s']\ncount_denied = 'no'", r#"line 6: rule "bots": count_denied 'no': expected true or false: write count_denied = true"#),
    (5, "quotas = ['1/s']\ncount_denied = 'true'", r#"line 6: rule "bots": count_denied 'true': true and false have no quotes: write count_denied = true"#),
    (5, "quotas = ['1/s']\ncount-denied = true", r#"line 6: rule "bots": count-denied true: unknown field: write count_denied = true"#),
    (6, "", r#"line 3: rule "bots": routes []: the rule governs no request: write routes = ["POST /bots/{id}"], or applies_to = "every_request""#),
    (6, "routes = []", r#"line 6: rule "bots": routes []: the rule governs no request: write routes = ["POST /bots/{id}"], or applies_to = "every_request""#),
    (6, "routes = '/x'", r#"line 6: rule "bots": routes '/x': expected an array of strings: write routes = ["/x"]"#),
    (6, "route = ['/x']", r#"line 6: rule "bots": route ['/x']: unknown field: write routes = ['/x']"#),
    (6, "routes = [\n'/x/{botId}',\n'/y/{botId}',\n'/x/{botId}']", r#"line 9: rule "bots": route "/x/{botId}": this rule has the route already, as "/x/{botId}": leave one of them out"#),
    (7, "per_route = 1", r#"line 7: rule "bots": per_route 1: expected true or false: write per_route = true"#),
    (7, "per_route = 'true'", r#"line 7: rule "bots": per_route 'true': true and false have no quotes: write per_route = true"#),
    (7, "enforcement = 'shadows'", r#"line 7: rule "bots": enforcement "shadows": unknown value: write "on", "soft", "shadow" or "off""#),
    (7, "enforcement = true", r#"line 7: rule "bots": enforcement true: a string has quotes: write enforcement = "true""#),
    (7, "on_missing = 'shre'", r#"line 7: rule "bots": on_missing "shre": unknown value: write "share", "skip" or a status such as 401"#),
    (7, "on_missing = 399", r#"line 7: rule "bots": on_missing 399: a rejection has a status from 400 to 599: write one such as 401"#),
    (7, "on_missing = 70000", r#"line 7: rule "bots": on_missing 70000: a rejection has a status from 400 to 599: write one such as 401"#),
    (7, "on_missing = [401]", r#"line 7: rule "bots": on_missing [401]: expected a word or a status: write on_missing = "skip""#),
    (7, "on_missing = '401'", r#"line 7: rule "bots": on_missing "401": a status has no quotes: write on_missing = 401"#),
    (7, "applies_to = 'all'", r#"line 7: rule "bots": applies_to "all": unknown value: write "routes", "every_request", "unmatched_requests" or "no_requests""#),
    (7, "applies_to = 'unmatched_requests'", r#"line 7: rule "bots": applies_to "unmatched_requests": the rule has routes, and applies to these: leave out applies_to, or the routes and groups"#),
    (7, "applies_to = true", r#"line 7: rule "bots": applies_to true: a string has quotes: write applies_to = "true""#),
    (7, "every_request = true", r#"line 7: rule "bots": every_request true: unknown field: write applies_to = "every_request""#),
    (7, "max_keys = 7", r#"line 7: rule "bots": max_keys 7: the field belongs to another table: write it at the top of the file, above all tables"#),
    (7, "trust = []", r#"line 7: rule "bots": trust []: the field belongs to another table: write it below [client_ip]"#),
    (7, "message = 'no'", r#"line 7: rule "bots": message 'no': the field belongs to another table: write it below [refusal]"#),
    (7, "header = 'x-a'", r#"line 7: rule "bots": header 'x-a': the field belongs to another table: write it below [client_ip]"#),
    (5, "quotas = ['60/m']\nspaced_by = 500", r#"line 6: rule "bots": spaced_by 500: a duration is a string with a unit: write spaced_by = "500ms" or spaced_by = "500s""#),
    (5, "quotas = ['60/m']\nspaced_by = true", r#"line 6: rule "bots": spaced_by true: expected a duration: write spaced_by = "500ms""#),
    (5, "quotas = ['60/m']\nspaced_by = '0s'", r#"line 6: rule "bots": spaced_by "0s": a window is from 1 ms to 100 years: write one such as 1s or 1day"#),
    (5, "quotas = ['60/m']\nspaced_by = '500'", r#"line 6: rule "bots": spaced_by "500": the number 500 has no unit behind it: write "500s""#),
    (5, "quotas = ['60/m']\nspaced_by = ''", r#"line 6: rule "bots": spaced_by "": a duration is a number and a unit: write "50ms" or "2s""#),
    (5, "quotas = ['60/m']\nspaced_by = '1s'\nspread_evenly = true", r#"line 7: rule "bots": quota name "spacing": the policy is spaced twice (spaced_by and spread_evenly): keep the longer spacing"#),
    (5, "quotas = ['60/m']\nspread_evenly = 'yes'", r#"line 6: rule "bots": spread_evenly 'yes': expected true or false: write spread_evenly = true"#),
    (5, "quotas = ['60/m']\nmargin = '200y'", r#"line 6: rule "bots": margin "200y": a window is from 1 ms to 100 years: write one such as 1s or 1day"#),
    (5, "quotas = ['60/m']\nmargin = 'fortnight'", r#"line 6: rule "bots": margin "fortnight": "fortnight" is not a unit, which are ms, s, m, h, day, week, month and year: write "50ms" or "2s""#),
    (4, "key = 'path:botId'\nmultiple_values = 'first'", r#"line 5: rule "bots": multiple_values "first": no source of the key is a header, a query parameter, a cookie or metadata: leave it out"#),
    (4, "key = 'query:botId'\nmultiple_values = 'frist'", r#"line 5: rule "bots": multiple_values "frist": unknown value: write "first""#),
    (7, "[[rule.group]]\nkey = 'query:b'\nmultiple_values = 'all'\nroutes = ['/z']", r#"line 9: rule "bots": group.multiple_values "all": unknown value: write "first", "last", "joined" or "missing_key""#),
    (7, "burst = 7", r#"line 7: rule "bots": burst 7: unknown field: the fields are name, level, key, multiple_values, quotas, routes, applies_to, paths_under, hosts, methods, when_header, exempt, per_route, spaced_by, spread_evenly, margin, count_denied, resolution, enforcement, on_missing, tier_from, tiers, overrides, overrides_file, unit, cost, reserve, unsettled, message_cost, count_only, group, routes_costing"#),
    (7, "quotas = ['1/s']", r#"line 7: rule "bots": quotas ['1/s']: this is not TOML (duplicate key): it is defined above already: leave one of them out"#),
    (7, "[rule]\nname = 'b'", "line 7: rule [rule]: this table may be repeated: write [[rule]], in double brackets"),
    (7, "rule.name = 'b'", r#"line 7: rule "bots": rule rule: the field belongs to another table: write it at the top of the file, above all tables"#),
    (7, "[[rule.group]]\nroutes = ['/z']", r#"line 7: rule "bots": group.key: the group has no key: write key = "query:botId" below [[rule.group]]"#),
    (7, "[[rule.group]]\nkey = 'query:b'", r#"line 7: rule "bots": group.routes []: the group has no routes: write routes = ["POST /bots/import"] below [[rule.group]]"#),
    (7, "[[rule.group]]\nkey = 'query:b'\nroutes = []", r#"line 9: rule "bots": group.routes []: the group has no routes: write routes = ["POST /bots/import"] below [[rule.group]]"#),
    (7, "[[rule.group]]\nkey = 'query:b'\nroutes = ['/z']\nper_route = true", r#"line 10: rule "bots": group.per_route true: the field belongs to another table: write it below [[rule]]"#),
    (7, "[[rule.group]]\nkey = 'query:b'\nroute = ['/z']", r#"line 9: rule "bots": group.route ['/z']: unknown field: write routes = ['/z']"#),
    (7, "[[rule.group]]\nkey = 'query:b'\nroutes = '/z'", r#"line 9: rule "bots": group.routes '/z': expected an array of strings: write routes = ["/z"]"#),
    (7, "[rule.group]\nkey = 'query:b'\nroutes = ['/z']", r#"line 7: rule "bots": group [rule.group]: this table may be repeated: write [[rule.group]], in double brackets"#),
    (7, "[rule.groups]\nkey = 'query:b'", r#"line 7: rule "bots": groups [rule.groups]: unknown field: write [[rule.group]]"#),
    (7, "group = ['query:b']", r#"line 7: rule "bots": group 'query:b': write [[rule.group]] and its fields below it"#),
    (6, "applies_to = 'every_request'\nper_route = true", r#"line 7: rule "bots": per_route true: a rule without routes has one history per key: leave it out"#),
    (7, "name", r#"line 7: rule "bots": toml name: this is not TOML (key with no value, expected `=`): write a field as in name = "bots""#),
    (7, "level = bot", r#"line 7: rule "bots": level bot: this is not TOML (string values must be quoted, expected literal string): write the string in quotes"#),
    (7, "level = 'bot", r#"line 7: rule "bots": level 'bot: this is not TOML (invalid literal string, expected `'`)"#),
    (7, "routes2 = ['a' 'b']", r#"line 7: rule "bots": routes2 ['a' 'b']: this is not TOML (missing comma between array elements, expected `,`): write a comma after each string but the last"#),
    (7, "level = ", r#"line 7: rule "bots": level: this is not TOML (string values must be quoted, expected literal string): write the string in quotes"#),
    (7, "[[rule", "line 7: toml [[rule: this is not TOML (unclosed array table, expected `]]`)"),
    (7, "[client_ip]\ntrust = [ '10.0.0.0/8'", "line 8: trust [ '10.0.0.0/8': this is not TOML (unclosed array, expected `]`)"),
    (7, "[[rule]]\nname = 'BOTS'\nkey = 'peer_ip'\nquotas = ['1/s']\napplies_to = 'unmatched_requests'", r#"line 8: rule "BOTS": name "BOTS": rule "bots" on line 3 has this name already (names are compared ignoring case): write another"#),
    (7, "[[rule]]\nkey = 'peer_ip'\nquotas = ['1/s']\napplies_to = 'unmatched_requests'", r#"line 7: name: the rule has no name: write name = "bots" below [[rule]]"#),
    (7, "[[rule]]\nname = 'b'\nkey = 'peer_ip'\nquotas = ['1/s']\napplies_to = 'unmatched_requests'\n[[rule]]\nname = 'c'\nkey = 'peer_ip'\nquotas = ['1/s']\napplies_to = 'unmatched_requests'", r#"line 16: rule "c": applies_to "unmatched_requests": rule "b" is for the unmatched requests already: let one rule be for them"#),
    (7, "[[rule]]\nname = 'BOTS/x'\nkey = 'peer_ip'\nquotas = ['y=1/s']\napplies_to = 'unmatched_requests'\n[[rule]]\nname = 'bots'\nkey = 'peer_ip'\nquotas = ['1/s']", r#"line 13: rule "bots": routes []: the rule governs no request: write routes = ["POST /bots/{id}"], or applies_to = "every_request""#),
    (3, "name = 'b ts'", "line 3: rule \"b ts\": name \"b ts\": a name is one or more visible ASCII characters without spaces, \" and \\: write one such as \"b-ts\""),
    (3, "name = \"b\\nts\"", "line 3: rule \"b\\nts\": name \"b\\nts\": a name is one or more visible ASCII characters without spaces, \" and \\: write one such as \"b-ts\""),
    (3, "name = \"b\\u001B[31m\"", "line 3: rule \"b\\u{1b}[31m\": name \"b\\u{1b}[31m\": a name is one or more visible ASCII characters without spaces, \" and \\: write one such as \"b-[31m\""),
    (3, "name = \"\\u202Ebots\"", "line 3: rule \"\\u{202e}bots\": name \"\\u{202e}bots\": a name is one or more visible ASCII characters without spaces, \" and \\: write one such as \"-bots\""),
    (3, "name = ''", "line 3: rule \"\": name \"\": a name is one or more visible ASCII characters without spaces, \" and \\: write one such as \"calls\""),
    (3, "name = 7", r#"line 3: name 7: a string has quotes: write name = "7""#),
    (3, "name = ['bots']", r#"line 3: name ['bots']: expected a string: write name = "bots""#),
    (3, "name = 1979-05-27", r#"line 3: name 1979-05-27: a string has quotes: write name = "1979-05-27""#),
];

/// Files and what is said of them.
#[rustfmt::skip]
const ELSEWHERE: &[(&str, &str)] = &[
    ("", "line 1: rule: the file has no rules: write [[rule]] and its fields below it"),
    ("# nothing", "line 1: rule: the file has no rules: write [[rule]] and its fields below it"),
    ("max_keys = 0", "line 1: max_keys 0: a limiter keeps at least one history: write max_keys = 1000000, or leave it out"),
    ("max_keys = '1000'", "line 1: max_keys '1000': a number has no quotes: write max_keys = 1000"),
    ("max_keys = 'many'", "line 1: max_keys 'many': expected a whole number: write max_keys = 1000000"),
    ("max_keys = 1e6", "line 1: max_keys 1e6: expected a whole number: write max_keys = 1000000"),
    ("max_keys = -1", "line 1: max_keys -1: the number is too small or too large: write max_keys = 1000000"),
    ("max_keys = 99999999999999999999", "line 1: max_keys 99999999999999999999: the number is too small or too large: write max_keys = 1000000"),
    ("[refusal]\nmessage = 7", r#"line 2: refusal.message 7: a string has quotes: write message = "7""#),
    ("[refusal]\nmessage = 'after {hours}'", r#"line 2: refusal.message "after {hours}": {hours} is unknown: write one of {rule}, {level}, {quota}, {limit}, {window}, {unit}, {cost}, {retry_after}, or {{hours}} for the braces themselves"#),
    ("[refusal]\nmessage = '{limt}'", r#"line 2: refusal.message "{limt}": {limt} is unknown: write {limit}, or {{limt}} for the braces themselves"#),
    ("[refusal]\nmessage = 'a { b'", r#"line 2: refusal.message "a { b": a brace stands alone: write {{ or }} for one that is part of the text"#),
    ("\nmax_key = 7", "line 2: max_key 7: unknown field: write max_keys = 7"),
    ("quotas = ['60/minute']", "line 1: quotas ['60/minute']: the field belongs to another table: write it below [[rule]]"),
    ("[[rules]]\nname = 'a'", "line 1: rules [[rules]]: unknown field: write [[rule]]"),
    ("[rule]\nname = 'a'", "line 1: rule [rule]: this table may be repeated: write [[rule]], in double brackets"),
    ("[rule]\nname = 'a'\n[rule]\nname='b'", "line 3: rule [rule]: this table may be repeated: write [[rule]], in double brackets"),
    ("\nrule = 7", "line 2: rule 7: write [[rule]] and its fields below it"),
    ("rule = ['a']", "line 1: rule 'a': write [[rule]] and its fields below it"),
    ("\n[[rule]]\nquotas = ['1/s']", r#"line 2: name: the rule has no name: write name = "bots" below [[rule]]"#),
    ("[[rule]]\nlevels = 'bot'", "line 2: levels 'bot': unknown field: write level = 'bot'"),
    ("[[rule]]\nname = 7", r#"line 2: name 7: a string has quotes: write name = "7""#),
    ("[client_ip]\ntrust = '10.0.0.0/8'", r#"line 2: client_ip.trust '10.0.0.0/8': expected an array of strings: write trust = ["10.0.0.0/8"]"#),
    ("[client_ip]\nheader = 'x y'", r#"line 2: client_ip.header "x y": not the name of a header field: write one such as "x-forwarded-for""#),
    ("[client_ip]\nipv6_prefix = 256", "line 2: client_ip.ipv6_prefix 256: the number is too small or too large: write ipv6_prefix = 64"),
    ("[client_ip]\nipv6_prefix = '64'", "line 2: client_ip.ipv6_prefix '64': a number has no quotes: write ipv6_prefix = 64"),
    ("[client_ip]\ntrusted = []", "line 2: client_ip.trusted []: unknown field: write trust = []"),
    ("[[client_ip]]\ntrust = []", "line 1: client_ip [[client_ip]]: this table occurs once: write [client_ip], in single brackets"),
    ("[client-ip]\ntrust = []", "line 1: client-ip [client-ip]: unknown field: write [client_ip]"),
    ("client_ip = 7", "line 1: client_ip 7: write [client_ip] and its fields below it"),
    ("[client_ip]\n[client_ip]", "line 2: toml [client_ip]: this is not TOML (duplicate key): it is defined above already: leave one of them out"),
    ("max_keys = 7\n[[rule]\nname = 'a'", "line 2: toml [[rule]: this is not TOML (unclosed array table, expected `]`)"),
    ("max_keys = 7\n\nname", r#"line 3: toml name: this is not TOML (key with no value, expected `=`): write a field as in name = "bots""#),
    ("max_keys = 7\r\nmax_keys = 8", "line 2: max_keys 8: this is not TOML (duplicate key): it is defined above already: leave one of them out"),
    ("message = '", "line 1: message ': this is not TOML (invalid literal string, expected `'`)"),
    ("\u{feff}[[rule]", "line 1: toml \\u{feff}[[rule]: this is not TOML (unclosed array table, expected `]`)"),
    ("[client_ip]\nprefix = 64", "line 2: client_ip.prefix 64: unknown field: write ipv6_prefix = 64"),
    ("message = 'no'", "line 1: message 'no': the field belongs to another table: write it below [refusal]"),
    ("decision = 'reqest'", r#"line 1: decision "reqest": unknown value: write "request""#),
    ("decision = 'all'", r#"line 1: decision "all": unknown value: write "request", "response", "both" or "neither""#),
    ("limit_preflights = 0", "line 1: limit_preflights 0: expected true or false: write limit_preflights = false"),
    ("[headers]\nrate_limit = 'sometimes'", r#"line 2: headers.rate_limit "sometimes": unknown value: write "always", "on_refusals" or "never""#),
    ("[headers]\nrate_limit = true", r#"line 2: headers.rate_limit true: a string has quotes: write rate_limit = "true""#),
    ("[headers]\nlegacy = 'dalta'", r#"line 2: headers.legacy "dalta": unknown value: write "delta""#),
    ("[headers]\nin_trailers = true", "line 2: headers.in_trailers true: unknown field: write in_trailers_only = true"),
    ("[headers]\non_conflict = 'both'", r#"line 2: headers.on_conflict "both": unknown value: write "keep", "replace" or "merge""#),
    ("[headers]\nx = 1", "line 2: headers.x 1: unknown field: the fields are rate_limit, legacy, in_trailers_only, on_conflict"),
    ("[header]\nlegacy = 'delta'", "line 1: header [header]: unknown field: write [headers]"),
    ("headers = false", "line 1: headers false: write [headers] and its fields below it"),
    ("[refusal]\nstatus = 302", "line 2: refusal.status 302: a refusal has a status from 400 to 599: write one such as 429"),
    ("[refusal]\nstatus = 600", "line 2: refusal.status 600: the number is too small or too large: write status = 429"),
    ("[refusal]\nstatus = '503'", "line 2: refusal.status '503': a number has no quotes: write status = 503"),
    ("[refusal]\nbody = 'text'", "line 2: refusal.body 'text': unknown field: write format = 'text'"),
    ("[refusal]\nformat = 'json'", r#"line 2: refusal.format "json": unknown value: write "problem", "text" or "empty""#),
    ("[refusal]\nproblem = false", r#"line 2: refusal.problem false: unknown field: write format = "problem""#),
    ("[refusal]\ncaller_protocol = 'http2'", r#"line 2: refusal.caller_protocol "http2": unknown value: write "http""#),
    ("[refusal]\npushback_jitter = 300", "line 2: refusal.pushback_jitter 300: the number is too small or too large: write pushback_jitter = 10"),
    ("[refusal]\nerror_domain = 7", r#"line 2: refusal.error_domain 7: a string has quotes: write error_domain = "7""#),
    ("[refusals]\nstatus = 503", "line 1: refusals [refusals]: unknown field: write [refusal]"),
    ("[store]", r#"line 1: store.kind: the table does not say where: write kind = "memory", or url = "$REDIS_URL""#),
    ("[store]\nkind = 'redis'", "line 1: store [store]: this program keeps histories in memory: leave this table out, or write .store_from_file() in the program, before .toml(..)"),
    ("[store]\nkind = 'memory'\nprefix = 'shop'", r#"line 3: store.prefix 'shop': a store in memory does not have it: leave it out, or write kind = "redis""#),
    ("\n[redis]\nurl = 'redis://host'", "line 2: redis [redis]: unknown field: write [store]"),
    ("a.b = 1", "line 1: a a: unknown field: the fields are max_keys, decision, limit_preflights, exempt, store, headers, refusal, client_ip, rule"),
    ("= 7", "line 1: toml = 7: this is not TOML (unquoted keys cannot be empty, expected letters, numbers, `-`, `_`)"),
    (r#"{"rule": []}"#, r#"line 1: toml {"rule": []}: this is not TOML (invalid key-value pair, expected key)"#),
    ("rule:\n  - name: bots", r#"line 1: toml rule:: this is not TOML (key with no value, expected `=`): write a field as in name = "bots""#),
];

/// The good file with another text in the place of one line, which is counted from 1.
fn with(line: usize, text: &str) -> String {
    let mut lines = GOOD;
    lines[line - 1] = text;
    lines.join("\n")
}

#[track_caller]
fn refusal(text: &str) -> ConfigError {
    RateLimiter::from_toml(text).map(|_| ()).expect_err(text)
}

#[test]
fn a_mistake_in_a_rule_is_told_with_what_to_write() {
    assert!(RateLimiter::from_toml(&GOOD.join("\n")).is_ok());
    for (line, replacement, message) in IN_A_RULE {
        assert_eq!(refusal(&with(*line, replacement)).to_string(), *message, "{replacement}");
    }
}

#[test]
fn a_mistake_outside_of_rules_is_told_with_what_to_write() {
    for (text, message) in ELSEWHERE {
        assert_eq!(refusal(text).to_string(), *message, "{text}");
    }
}

/// Of those that the TOML parser finds it says what it expected.
#[test]
fn every_mistake_says_what_to_do() {
    let rows = IN_A_RULE.iter().map(|(_, _, message)| message).chain(ELSEWHERE.iter().map(|(_, message)| message));
    for message in rows {
        let advises = ["write ", "leave ", "keep ", "expected", "the fields are", "let one rule"];
        assert!(advises.iter().any(|advice| message.contains(advice)), "{message}");
    }
}

/// What an attacker could write into a file must not move the cursor of whoever reads its log.
#[test]
fn nothing_in_a_file_reaches_a_log_as_it_is_but_what_can_be_seen() {
    let odd =
        ["\n", "\r", "\u{1b}[31m", "\u{202e}", "\u{2028}", "\u{2029}", "\u{85}", "\u{200b}", "\u{7f}", "\u{2066}"];
    for odd in odd {
        let escaped: String = odd.chars().map(|letter| format!("\\u{:04X}", u32::from(letter))).collect();
        for field in ["name", "level", "applies_to", "on_missing", "key", "unknown"] {
            let text = format!("[[rule]]\nname = 'a'\nquotas = ['1/s']\n{field} = \"a{escaped}b\"")
                .replace("name = 'a'\n", if field == "name" { "" } else { "name = 'a'\n" });
            assert_visible(&refusal(&text), odd);
        }
        for array in ["quotas", "routes", "key"] {
            assert_visible(
                &refusal(&with(4, &format!("key = 'peer_ip'\n[[rule]]\nname = 'b'\n{array} = [\"a{escaped}b\"]"))),
                odd,
            );
        }
        assert_visible(&refusal(&format!("[refusal]\nmessage = \"{{a{escaped}b}}\"")), odd);
        assert_visible(&refusal(&format!("\"a{escaped}b\" = 1")), odd);
        assert_visible(&refusal(&format!("'a{odd}b = 1")), odd);
    }
}

#[track_caller]
fn assert_visible(error: &ConfigError, odd: &str) {
    let letter = odd.chars().next().unwrap();
    assert!(!error.to_string().contains(letter), "{error:?}");
}

/// A file with all that there is in it.
const WHOLE: &str = r#"max_keys = 200000
decision = "both"
limit_preflights = false

[store]
kind = "memory"

[headers]
rate_limit = "on_refusals"
legacy = "epoch"
in_trailers_only = true
on_conflict = "merge"

[refusal]
message = "Over the limit of {limit} per {window}: wait {retry_after} seconds."
status = 503
format = "text"
caller_protocol = "http"
pushback_jitter = 0
error_domain = "example.com"

[client_ip]
trust = ["10.0.0.0/8"]
header = "x-forwarded-for"
ipv6_prefix = 56

[[rule]]
name = "bots"
level = "bot"
key = ["path:botId", "header:a | query:b"]
quotas = ["60/minute", "burst=5/1s", "1800 per hour"]
routes = ["POST /bots/{botId}/export", 'GET|PUT /bots/{botId}']
multiple_values = "joined"
per_route = true
spaced_by = "10ms"
margin = "1ms"
count_denied = false
resolution = 64
on_missing = 401

[[rule.group]]
key = "query:botId | cookie:bot"
routes = ["POST /bots/import"]

[[rule]]
name = "else"
key = "client_ip"
quotas = ["600/m"]
applies_to = "unmatched_requests"
on_missing = "skip"
"#;

/// Pieces that files are made of, so that what is put together gets beyond the parser.
const PIECES: [&str; 34] = [
    "[store]\n",
    "[store.lease]\n",
    "[headers]\n",
    "[refusal]\n",
    "url = ",
    "status = ",
    "spaced_by = ",
    "'$HOME'\n",
    "[[rule]]\n",
    "[rule]\n",
    "[[rule.group]]\n",
    "[client_ip]\n",
    "name = ",
    "key = ",
    "quotas = ",
    "routes = ",
    "'a'\n",
    "\"",
    "'",
    "['60/m']\n",
    "['/x']\n",
    "[",
    "]",
    "{",
    "}",
    "=",
    "\n",
    "\r\n",
    "7\n",
    "true\n",
    "'peer_ip'\n",
    "'18446744073709551615s1000000000ns'",
    "\u{202e}",
    "ä",
];

fn assert_has_a_line(text: &str) -> Result<(), TestCaseError> {
    if let Err(error) = RateLimiter::from_toml(text) {
        let lines = text.split('\n').count();
        prop_assert!(error.line().is_some_and(|line| (1..=lines).contains(&line)), "{}", error);
        prop_assert!(!error.to_string().contains(char::is_control), "{}", error);
        prop_assert!(!error.reason().is_empty() && !error.field().is_empty(), "{error:?}");
    }
    Ok(())
}

#[test]
fn a_long_text_does_not_fill_the_log() {
    let (long, many) = ("x".repeat(100_000), "60/m, ".repeat(10_000));
    for text in [
        format!("quotas = '{long}'"),
        with(5, &format!("quotas = '{many}'")),
        with(5, &format!("quotas = ['{many}60/m']")),
        with(5, &format!("quotas = ['{long}']")),
        with(3, &format!("name = '{long} '")),
        with(3, &format!("name = 'bots'\n{long} = 7")),
        with(6, &format!("routes = ['{long}']")),
        format!("[refusal]\nmessage = '{{{long}}}'"),
        format!("{long} = "),
    ] {
        let message = refusal(&text).to_string();
        assert!(message.chars().count() < 3_000, "{message}");
    }
}

#[test]
fn a_limit_beyond_32_bits_is_read_from_a_file_and_kept() {
    let limiter = RateLimiter::from_toml(&with(5, "quotas = ['1099511627776/hour']")).unwrap();
    let decision = limiter.rule("bots").unwrap().check("a4");
    let quota = decision.quotas().next().unwrap();
    assert_eq!((quota.limit(), quota.remaining()), (1 << 40, (1 << 40) - 1));
}

#[test]
fn the_whole_file_is_a_good_one() {
    RateLimiter::from_toml(WHOLE).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_becomes_of_a_file_is_no_panic_and_has_a_line(
        cuts in prop::collection::vec((0usize..1000, 0usize..60, prop::sample::select(&PIECES[..]), "[ -~\n]{0,3}"), 1..6),
    ) {
        let mut text = WHOLE.to_owned();
        for (from, length, piece, junk) in cuts {
            let floor = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let (from, to) = (floor(from), floor(from + length));
            text.replace_range(from..to, &format!("{junk}{piece}"));
        }
        assert_has_a_line(&text)?;
    }

    #[test]
    fn whatever_is_put_together_is_no_panic_and_has_a_line(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..100)) {
        assert_has_a_line(&pieces.concat())?;
    }

    #[test]
    fn whatever_bytes_there_are_is_no_panic_and_has_a_line(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        assert_has_a_line(&String::from_utf8_lossy(&bytes))?;
    }
}
