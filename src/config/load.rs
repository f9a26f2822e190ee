//! From a file to a limiter.

use toml::Spanned;

use crate::{
    config::{
        client_ip::client_ip,
        file::{File, RuleTable},
        lines::Lines,
        rule::RuleReader,
        source::{CLIENT_IP, Sources},
        syntax,
    },
    error::ConfigError,
    key::KeyExtractor,
    limiter::{Assembly, RateLimiter, RateLimiterBuilder},
    message::Template,
    rule::Rule,
};

impl RateLimiter {
    /// Builds a limiter from a file, whose format the [module `config`](crate::config) describes.
    ///
    /// If the file names key sources of the program, or there are other rules beside it, use
    /// [`RateLimiterBuilder::toml`].
    ///
    /// # Errors
    ///
    /// If anything in the file cannot be used. The error names the rule, the field, the value and the line.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::builder().toml(text)?.build()
    }
}

impl RateLimiterBuilder {
    /// Names a key source for the files that are read after this.
    ///
    /// Any name will do that has no `|` in it and no space at its ends, such as `claim:appId`. It hides a built-in source
    /// of the same name.
    pub fn source(mut self, name: impl Into<String>, extractor: impl KeyExtractor) -> Self {
        self.sources.insert(name.into(), extractor);
        self
    }

    /// Adds the rules of a file, whose format the [module `config`](crate::config) describes, and takes over its settings.
    ///
    /// # Errors
    ///
    /// If anything in the file cannot be used, alone or beside the rules that were added before. The error names the
    /// rule, the field, the value and the line.
    pub fn toml(self, text: &str) -> Result<Self, ConfigError> {
        self.sources.validate()?;
        let lines = Lines::new(text);
        let file = syntax::parse(text)?;
        let builder = self.settings(&file, lines)?;
        let sources = sources_of(&file, &builder.sources, lines)?;
        let reader = RuleReader::new(lines, &sources);
        let rules: Vec<Rule> = file.rules.iter().map(|table| reader.read(table)).collect::<Result<_, _>>()?;
        check_names(&builder.rules, &file.rules, lines)?;
        let builder = rules.into_iter().fold(builder, Self::rule);
        let together = Assembly::of(&builder.rules, None);
        together.map_err(|error| locate(error, &file.rules, reader))?;
        Ok(builder)
    }

    fn settings(mut self, file: &File, lines: Lines<'_>) -> Result<Self, ConfigError> {
        if let Some(max_keys) = &file.max_keys {
            if *max_keys.get_ref() == 0 {
                let reason = "a limiter keeps at least one history";
                return Err(ConfigError::new("max_keys", 0, reason).at_line(lines.of(max_keys)));
            }
            self = self.max_keys(*max_keys.get_ref());
        }
        if let Some(message) = &file.message {
            Template::parse(message.get_ref()).map_err(|error| error.at_line(lines.of(message)))?;
            self = self.message(message.get_ref());
        }
        Ok(self)
    }
}

/// The sources of the program, and `client-ip` as this file wants it.
fn sources_of(file: &File, known: &Sources, lines: Lines<'_>) -> Result<Sources, ConfigError> {
    let mut sources = known.clone();
    if let Some(table) = &file.client_ip {
        sources.insert(CLIENT_IP.to_owned(), client_ip(table.get_ref(), lines)?);
    }
    Ok(sources)
}

/// Refuses a name that a rule of the builder or an earlier one of the file has.
fn check_names(known: &[Rule], tables: &[Spanned<RuleTable>], lines: Lines<'_>) -> Result<(), ConfigError> {
    let mut names: Vec<&Spanned<String>> = Vec::new();
    for name in tables.iter().filter_map(|table| table.get_ref().name.as_ref()) {
        let is_same = |other: &str| other.eq_ignore_ascii_case(name.get_ref());
        let in_file = names.iter().find(|other| is_same(other.get_ref()));
        let in_file = in_file.map(|other| format!("rule \"{}\" on line {}", other.get_ref(), lines.of(other)));
        let in_builder = known.iter().find(|rule| is_same(rule.name()));
        let in_builder = in_builder.map(|rule| format!("rule \"{}\", which is not of this file,", rule.name()));
        if let Some(other) = in_file.or(in_builder) {
            let reason = format!("{other} has this name already (names are compared ignoring case)");
            let mistake = ConfigError::new("name", format_args!("\"{}\"", name.get_ref()), reason);
            return Err(mistake.in_rule(name.get_ref()).at_line(lines.of(name)));
        }
        names.push(name);
    }
    Ok(())
}

/// Gives a mistake among the rules its line, if it is in one of the file.
fn locate(error: ConfigError, tables: &[Spanned<RuleTable>], reader: RuleReader<'_>) -> ConfigError {
    let is_named = |table: &&Spanned<RuleTable>| {
        table.get_ref().name.as_ref().is_some_and(|name| error.rule() == Some(name.get_ref()))
    };
    match tables.iter().find(is_named) {
        Some(table) => reader.locate(table.get_ref(), error),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        http::{PeerAddr, RequestView},
        key,
        policy::Policy,
        quota::Quota,
        rule::OnMissing,
    };

    const GOOD: [&str; 7] = [
        "max_keys = 10",
        "[[rule]]",
        "name = 'bots'",
        "key = 'path:botId'",
        "quotas = ['60/minute', '1800/hour']",
        "routes = ['POST /x/{botId}', 'GET /y/{botId}']",
        "",
    ];

    /// The good file with another text in the place of one line, which is counted from 1.
    fn with(line: usize, text: &str) -> String {
        let mut lines = GOOD;
        lines[line - 1] = text;
        lines.join("\n")
    }

    fn refusal(text: &str) -> ConfigError {
        RateLimiter::from_toml(text).map(|_| ()).expect_err(text)
    }

    fn rules(text: &str) -> Vec<Rule> {
        RateLimiter::builder().toml(text).unwrap().rules
    }

    #[test]
    fn a_source_that_no_key_can_name_is_a_mistake() {
        for name in ["", "a|b", " a", "a "] {
            let error = RateLimiter::builder().source(name, "x").toml("").map(|_| ()).unwrap_err();
            assert_eq!((error.field(), error.value()), ("source", &*format!("{name:?}")));
        }
    }

    #[test]
    fn a_mistake_in_a_rule_is_named_with_its_line() {
        #[rustfmt::skip]
        let mistakes = [
            // What is put in the place of which line; the line, the field and the value of the mistake, and its reason.
            (3, "name = 'bots'\nlevels = 'bot'", 4, "levels", "'bot'", "unknown field `levels`, expected one of `name`, `level`"),
            (3, "name = 'bots'\nlevel = 'a b'", 4, "level", "\"a b\"", "visible ASCII"),
            (3, "name = 'bots'\nlevel = 7", 4, "level", "7", "invalid type: integer `7`, expected a string"),
            (4, "", 3, "key", "", "a rule has a key, or groups"),
            (4, "key = 7", 4, "key", "7", "invalid type: integer `7`, expected a key source or an array"),
            (4, "key = []", 4, "key", "[]", "at least one part"),
            (4, "key = [\n'path:botId',\n7]", 6, "key", "7", "expected a string"),
            (4, "key = [\n'path:botId',\n'claim:bot']", 6, "key", "\"claim:bot\"", "not a key source; known are path:NAME, "),
            (4, "key = 'path:botId | claim:bot'", 4, "key", "\"claim:bot\"", "known are"),
            (4, "key = 'path:botId |'", 4, "key", "\"\"", "known are"),
            (4, "key = 'path:'", 4, "key", "\"path:\"", "behind the colon"),
            (4, "key = 'header:a b'", 4, "key", "\"header:a b\"", "name of a header field"),
            (4, "key = 'client-ip'", 4, "key", "\"client-ip\"", "needs the table [client_ip]"),
            (5, "", 3, "quotas", "", "such as [\"60/minute\""),
            (5, "quotas = '60/minute'", 5, "quotas", "'60/minute'", "invalid type: string \"60/minute\", expected an array"),
            (5, "quotas = [\n'60/minute',\n60]", 7, "quotas", "60", "expected a string"),
            (5, "quotas = [\n]", 5, "quotas", "[]", "at least one quota"),
            (5, "quotas = [\n'60/minute',\n'1800/fortnight'\n]", 7, "quota", "\"1800/fortnight\"", "a unit or a duration"),
            (5, "quotas = ['60']", 5, "quota", "\"60\"", "such as \"60/minute\""),
            (5, "quotas = ['0/hour']", 5, "quota", "\"0/hour\"", "at least 1"),
            (5, "quotas = [\n'60/minute',\n'30/minute']", 7, "quota name", "\"minute\"", "60/minute has this name already"),
            (5, "quotas = ['1/s']\nresolution = 15", 6, "resolution", "15", "from 16 to 65536"),
            (5, "quotas = ['1/s']\nresolution = -1", 6, "resolution", "-1", "expected u32"),
            (5, "quotas = ['1/s']\ncount_denied = 'no'", 6, "count_denied", "'no'", "expected a boolean"),
            (6, "", 3, "routes", "[]", "at least one route"),
            (6, "routes = [\n'POST /x/{botId}',\n'GET y']", 8, "route", "\"GET y\"", "begins with /"),
            (6, "routes = [\n'POST /x/{botId}',\n'get /y/{botId}']", 8, "route", "\"get /y/{botId}\"", "capital letters"),
            (6, "routes = [\n'POST /x/{botId}',\n'GET /y/{bot}']", 8, "key", "\"path:botId\"", "(route \"GET /y/{bot}\")"),
            (6, "routes = [\n'/x/{botId}',\n'/y/{botId}',\n'/x/{botId}']", 9, "route", "\"/x/{botId}\"", "already"),
            (7, "per_route = 1", 7, "per_route", "1", "expected a boolean"),
            (7, "on_missing = 'shre'", 7, "on_missing", "\"shre\"", "\"share\", \"skip\" and a status"),
            (7, "on_missing = 399", 7, "on_missing", "399", "from 400 to 599"),
            (7, "on_missing = 600", 7, "on_missing", "600", "from 400 to 599"),
            (7, "on_missing = 70000", 7, "on_missing", "70000", "from 400 to 599"),
            (7, "on_missing = [401]", 7, "on_missing", "[401]", "expected \"share\", \"skip\" or a status"),
            (7, "applies_to = 'all'", 7, "applies_to", "\"all\"", "\"routes\", \"every-request\" and \"unmatched\""),
            (7, "applies_to = 'unmatched'", 7, "applies_to", "\"unmatched\"", "with routes or groups"),
            (7, "[[rule.group]]\nroutes = ['/z']", 7, "group.key", "", "a key of its own"),
            (7, "[[rule.group]]\nkey = 'query:b'", 7, "group.routes", "[]", "has routes"),
            (7, "[[rule.group]]\nkey = 'query:'\nroutes = ['/z']", 8, "key", "\"query:\"", "behind the colon"),
            (7, "[[rule.group]]\nkey = 'query:b'\nroutes = ['/z', 'z']", 9, "route", "\"z\"", "begins with /"),
            (7, "[[rule.group]]\nkey = 'query:b'\nroutes = ['GET /y/{b}']", 9, "route", "\"GET /y/{b}\"", "already"),
            (7, "[[rule.group]]\nkey = 'query:b'\nroute = ['/z']", 9, "group.route", "['/z']", "unknown field `route`"),
            (7, "[[rule.group]]\nkey = 'query:b'\nroutes = '/z'", 9, "group.routes", "'/z'", "expected an array"),
            (7, "group = ['query:b']", 7, "group", "'query:b'", "expected a table"),
        ];
        for (place, replacement, line, field, value, reason) in mistakes {
            let error = refusal(&with(place, replacement));
            let found = (error.line(), error.rule(), error.field(), error.value());
            assert_eq!(found, (Some(line), Some("bots"), field, value), "{error}");
            assert!(error.reason().contains(reason), "{replacement}: {error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_mistake_outside_of_rules_is_named_with_its_line() {
        #[rustfmt::skip]
        let mistakes = [
            ("max_keys = 0", 1, "max_keys", "0", "at least one history"),
            ("max_keys = 'many'", 1, "max_keys", "'many'", "invalid type: string \"many\", expected usize"),
            ("\nmessage = 7", 2, "message", "7", "expected a string"),
            ("\nmessage = 'after {hours}'", 2, "message", "\"after {hours}\"", "{hours} is unknown"),
            ("\nmax_key = 7", 2, "max_key", "7", "unknown field `max_key`, expected one of `max_keys`"),
            ("[[rules]]\nname = 'a'", 1, "rules", "[[rules]]", "unknown field `rules`"),
            ("[rule]\nname = 'a'", 1, "rule", "[rule]", "invalid type: table, expected an array"),
            ("\nrule = 7", 2, "rule", "7", "expected an array"),
            ("\n[[rule]]\nquotas = ['1/s']", 2, "name", "", "a rule has a name"),
            ("[[rule]]\nlevels = 'bot'", 2, "levels", "'bot'", "unknown field"),
            ("[[rule]]\nname = 7", 2, "name", "7", "expected a string"),
            ("[client_ip]\ntrusted = [\n'10.0.0.0/8',\n'10.0.0.0/33']", 4, "client_ip.trusted", "\"10.0.0.0/33\"", ""),
            ("[client_ip]\ntrusted = '10.0.0.0/8'", 2, "client_ip.trusted", "'10.0.0.0/8'", "expected an array"),
            ("[client_ip]\nheader = 'x y'", 2, "client_ip.header", "\"x y\"", "not the name of a header field"),
            ("[client_ip]\nipv6_prefix = 24", 2, "client_ip.ipv6_prefix", "24", "32 to 128"),
            ("[client_ip]\nipv6_prefix = 256", 2, "client_ip.ipv6_prefix", "256", "expected u8"),
            ("[client_ip]\ntrust = []", 2, "client_ip.trust", "[]", "unknown field"),
            ("client_ip = 7", 1, "client_ip", "7", "expected a table"),
            ("max_keys = 7\n[[rule]\nname = 'a'", 2, "toml", "[[rule]", "unclosed array table"),
            ("max_keys = 7\n\nname", 3, "toml", "name", "key with no value"),
            ("max_keys = 7\r\nmax_keys = 8", 2, "toml", "max_keys = 8", "duplicate key"),
            ("message = '", 1, "toml", "message = '", ""),
        ];
        for (text, line, field, value, reason) in mistakes {
            let error = refusal(text);
            assert_eq!((error.line(), error.field(), error.value()), (Some(line), field, value), "{error}");
            assert!(error.rule().is_none() && error.reason().contains(reason), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused_with_its_line() {
        let error = refusal(&with(3, "name = 'b ts'"));
        assert_eq!((error.line(), error.rule(), error.field()), (Some(3), Some("b ts"), "name"), "{error}");
    }

    #[test]
    fn a_name_that_is_taken_is_refused_with_both_lines() {
        let text = with(7, "[[rule]]\nname = 'BOTS'\nkey = 'peer-ip'\nquotas = ['1/s']\napplies_to = 'unmatched'");
        let reason = "rule \"bots\" on line 3 has this name already (names are compared ignoring case)";
        assert_eq!(refusal(&text).to_string(), format!("line 8: rule \"BOTS\": name \"BOTS\": {reason}"));
    }

    #[test]
    fn a_name_of_a_rule_beside_the_file_is_refused() {
        let builder = RateLimiter::builder().toml(&with(3, "name = 'Bots'")).unwrap();
        let error = builder.toml(&with(3, "\nname = 'bots'")).unwrap_err();
        assert_eq!((error.line(), error.field()), (Some(4), "name"));
        assert!(
            error.reason().starts_with("rule \"Bots\", which is not of this file, has this name already"),
            "{error}"
        );
    }

    #[test]
    fn rules_that_do_not_go_together_are_refused_with_the_line_of_the_latter() {
        let second =
            |fields: &str| with(7, &format!("[[rule]]\nname = 'b'\nkey = 'peer-ip'\nquotas = ['1/s']\n{fields}"));
        let error = refusal(&second("routes = [\n'/z',\n'POST /x/{*rest}'\n]"));
        assert_eq!((error.line(), error.rule(), error.field()), (Some(13), Some("b"), "route"), "{error}");
        assert!(error.reason().contains("POST /x/{botId}"), "{error}");

        let unmatched = "applies_to = 'unmatched'";
        let text =
            second(&format!("{unmatched}\n[[rule]]\nname = 'c'\nkey = 'peer-ip'\nquotas = ['1/s']\n{unmatched}"));
        assert_eq!((refusal(&text).line(), refusal(&text).rule()), (Some(13), Some("c")));
    }

    #[test]
    fn a_mistake_in_a_rule_of_the_program_has_no_line() {
        let rule = Rule::new("code").every_request().level("all", "all").policy(Policy::per_minute(0));
        let error = RateLimiter::builder().rule(rule).toml(&GOOD.join("\n")).unwrap_err();
        assert_eq!((error.line(), error.rule()), (None, Some("code")), "{error}");
    }

    #[test]
    fn a_rule_of_a_file_is_the_rule_of_the_code() {
        let text = r#"
            [[rule]]
            name = "bots"
            level = "bot"
            key = ["header:a | header:b", "path:botId"]
            quotas = ["60/minute", "500/5m"]
            routes = ["POST /x/{botId}", "GET|PUT /y/{botId}"]
            per_route = true
            count_denied = true
            resolution = 64
            on_missing = 401
            [[rule.group]]
            key = "query:botId"
            routes = ["/z"]
        "#;
        let policy = Policy::per_minute(60).and(Quota::new(500, std::time::Duration::from_secs(300)));
        let rule = Rule::new("bots")
            .level("bot", (key::first_of((key::header("a"), key::header("b"))), key::path("botId")))
            .routes(["POST /x/{botId}", "GET|PUT /y/{botId}"])
            .per_route()
            .policy(policy.count_denied().resolution(64))
            .on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED))
            .routes_keyed_by(key::query("botId"), ["/z"]);
        assert_eq!(format!("{:?}", rules(text)), format!("{:?}", [rule]));
    }

    #[test]
    fn what_a_file_does_not_say_is_the_default() {
        let policy = Policy::per_minute(60).and_per_hour(1800);
        let routes = ["POST /x/{botId}", "GET /y/{botId}"];
        let rule = Rule::new("bots").level("path:botId", key::path("botId")).routes(routes).policy(policy);
        assert_eq!(format!("{:?}", rules(&GOOD.join("\n"))), format!("{:?}", [rule]));
        let builder = RateLimiter::builder().max_keys(7).message("no").toml("").unwrap();
        assert_eq!((builder.max_keys, builder.message.as_deref(), builder.rules.len()), (7, Some("no"), 0));
    }

    #[test]
    fn the_settings_of_a_file_are_taken_over() {
        let builder = RateLimiter::builder().toml("max_keys = 5\nmessage = 'wait {retry_after} s'").unwrap();
        assert_eq!((builder.max_keys, builder.message.as_deref()), (5, Some("wait {retry_after} s")));
    }

    #[test]
    fn a_key_of_a_file_is_the_key_of_its_parts() {
        let text = r#"
            [[rule]]
            name = "tables"
            key = ["header:account", "path:table"]
            quotas = ["2/minute"]
            routes = ["GET /tables/{table}"]
            [[rule.group]]
            key = ["tenant|query:account", "constant:all tables"]
            routes = ["GET /tables"]
        "#;
        let tenant = |request: &RequestView<'_>| request.headers().get("tenant").map(|value| value.as_bytes().to_vec());
        let limiter = RateLimiter::builder().source("tenant", tenant).toml(text).unwrap().build().unwrap();
        let key = |request: http::request::Builder| {
            let request = request.body(()).unwrap();
            limiter.governing(&RequestView::of(&request))[0].key()
        };
        assert_eq!(
            key(Request::get("/tables/orders").header("account", "acme")),
            Some(limiter.key(("acme", "orders")))
        );
        assert_eq!(key(Request::get("/tables/orders")), None);
        assert_eq!(key(Request::get("/tables?account=acme")), Some(limiter.key(("acme", "all tables"))));
        assert_eq!(
            key(Request::get("/tables?account=acme").header("tenant", "x")),
            Some(limiter.key(("x", "all tables")))
        );
    }

    #[test]
    fn the_client_of_a_file_is_behind_the_proxies_it_trusts() {
        let text = r#"
            [client_ip]
            trusted = ["10.0.0.0/8"]
            header = "forwarded"
            ipv6_prefix = 48
            [[rule]]
            name = "calls"
            key = "client-ip"
            quotas = ["60/minute"]
            applies_to = "every-request"
        "#;
        let limiter = RateLimiter::from_toml(text).unwrap();
        let key = |peer: &str, field: &str| {
            let mut request = Request::get("/").header("forwarded", field).body(()).unwrap();
            request.extensions_mut().insert(PeerAddr(peer.parse().unwrap()));
            limiter.governing(&RequestView::of(&request))[0].key()
        };
        assert_eq!(key("10.0.0.1:1", "for=198.51.100.7"), Some(limiter.key([198, 51, 100, 7].as_slice())));
        assert_eq!(key("192.0.2.1:1", "for=198.51.100.7"), Some(limiter.key([192, 0, 2, 1].as_slice())));
        assert_eq!(key("[2001:db8:1:2::3]:1", ""), key("[2001:db8:1:ffff::]:1", ""));
    }

    #[test]
    fn the_client_ip_of_one_file_is_not_that_of_another() {
        let rule = |name: &str| {
            format!("[[rule]]\nname = '{name}'\nkey = 'client-ip'\nquotas = ['1/s']\napplies_to = 'every-request'")
        };
        let builder = RateLimiter::builder().toml(&format!("{}\n[client_ip]", rule("a"))).unwrap();
        assert!(builder.toml(&rule("b")).unwrap_err().reason().contains("[client_ip]"));
    }

    #[test]
    fn a_rule_may_apply_to_every_request_or_to_unmatched_ones() {
        let rule = |applies_to: &str| {
            format!("[[rule]]\nname = 'a'\nlevel = 'l'\nkey = 'peer-ip'\nquotas = ['1/s']\napplies_to = '{applies_to}'")
        };
        let code = || Rule::new("a").level("l", key::peer_ip()).policy(Policy::per_second(1));
        assert_eq!(format!("{:?}", rules(&rule("every-request"))), format!("{:?}", [code().every_request()]));
        assert_eq!(format!("{:?}", rules(&rule("unmatched"))), format!("{:?}", [code().unmatched_requests()]));
    }

    #[test]
    fn a_path_parameter_without_a_route_is_one_of_axum_or_a_mistake() {
        let text = "[[rule]]\nname = 'a'\nkey = 'path:b'\nquotas = ['1/s']\napplies_to = 'every-request'";
        let mistake = RateLimiter::from_toml(text).err();
        assert_eq!(mistake.is_none(), cfg!(feature = "axum"));
        assert!(mistake.is_none_or(|error| (error.line(), error.value()) == (Some(3), "\"path:b\"")));
    }

    #[test]
    fn a_rule_of_groups_alone_needs_no_key_of_its_own() {
        let groups =
            "[[rule.group]]\nkey = 'query:a'\nroutes = ['/a']\n[[rule.group]]\nkey = 'query:b'\nroutes = ['/b']";
        let text = format!("[[rule]]\nname = 'a'\nquotas = ['1/s']\n{groups}");
        assert_eq!(rules(&text)[0].level_name(), "query:a");
        let error = refusal(&text.replace("quotas", "key = 'path:x'\nquotas"));
        assert_eq!((error.line(), error.field(), error.value()), (Some(3), "key", "'path:x'"), "{error}");
        let error = refusal(&text.replace("quotas", "routes = ['/x']\nquotas"));
        assert_eq!((error.line(), error.field(), error.value()), (Some(2), "key", ""), "{error}");
    }

    proptest! {
        #[test]
        fn whatever_is_wrong_has_a_line_of_the_file(from in 0usize..260, length in 0usize..40, junk in "[ -~\n]{0,3}") {
            let mut text = GOOD.join("\n") + "[[rule.group]]\nkey = 'query:b'\nroutes = ['/z']\n[client_ip]\ntrusted = []";
            let from = from.min(text.len());
            text.replace_range(from..text.len().min(from + length), &junk);
            if let Err(error) = RateLimiter::builder().toml(&text) {
                let lines = text.split('\n').count();
                prop_assert!(error.line().is_some_and(|line| (1..=lines).contains(&line)), "{}", error);
            }
        }
    }
}
