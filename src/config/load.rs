//! The constructors that read a file.

use std::any::Any;

use hashbrown::HashMap;
use toml::Spanned;

use crate::{
    config::{
        environment::Environment,
        exempt::ExemptReader,
        file::{File, RuleTable},
        response::decision_in,
        rule::RuleReader,
        source::{Sources, client_ip},
        source_map::SourceMap,
        store::store,
        store_table::{StoreKind, StoreTable},
    },
    error::ConfigError,
    limiter::{AnswerSettings, RateLimiter, RateLimiterBuilder, Rules, UNMATCHED, Version, too_many_rules},
    request::Http,
    rule::{Rule, RuleId},
    store::{AnyStore, MemoryStore, Scopes, Store},
};

/// The reason for refusing `[store]` where the store is chosen already.
const ALREADY_CHOSEN: &str = "the program, or another file, has chosen the store already: leave this table out, or write \
                              .store_from_file() in the program in place of .store(..)";
/// The reason for refusing `[store]` where the type of the limiter allows only memory.
const ONLY_MEMORY: &str = "this program keeps histories in memory: leave this table out, or write .store_from_file() in the \
                           program, before .toml(..)";

impl RateLimiter {
    /// Builds a limiter from a file, whose format the [module `config`](crate::config) describes.
    ///
    /// If the file names key sources of the program, or if there are rules besides those of the file, use
    /// [`RateLimiterBuilder::toml`].
    ///
    /// # Errors
    ///
    /// Returns an error if anything in the file is invalid. The error names the rule, the field, the value and the line.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let builder = Self::builder().toml(text, &Sources::new())?;
        if builder.rules.is_empty() {
            let reason = "the file has no rules: write [[rule]] and its fields below it";
            return Err(ConfigError::new("rule", "", reason).at_line(1));
        }
        builder.build()
    }
}

impl<S> RateLimiterBuilder<Http, S> {
    /// Lets a file choose the store, in its table [`[store]`](crate::config#store). Without that table histories are kept in
    /// memory. Call it before [`toml`](Self::toml); it replaces a store that was set before.
    ///
    /// ```
    /// use tower_quota::{AnyRateLimiter, RateLimiter, config::Sources};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let text = r#"
    ///     [store]
    ///     url = "$QUOTA_REDIS_OF_THIS_EXAMPLE"
    ///     if_unset = "memory"
    ///     on_outage = "open"
    ///
    ///     [[rule]]
    ///     name = "calls"
    ///     key = "header:x-account"
    ///     quotas = ["60/minute"]
    ///     applies_to = "every_request"
    /// "#;
    /// let builder = RateLimiter::builder().store_from_file();
    /// let limiter: AnyRateLimiter = builder.toml(text, &Sources::new())?.build()?;
    /// assert!(limiter.rule("calls")?.check_async("acme").await?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    pub fn store_from_file(self) -> RateLimiterBuilder<Http, AnyStore>
    where
        S: Store,
    {
        self.store(AnyStore::open_to_choice())
    }
}

impl<S: Store> RateLimiterBuilder<Http, S> {
    /// Adds the rules of a file, whose format the [module `config`](crate::config) describes, and applies its settings.
    /// The file may name the key sources of the program in `sources`.
    ///
    /// # Errors
    ///
    /// Returns an error if anything in the file is invalid, by itself or together with the rules that were added before. The
    /// error names the rule, the field, the value and the line.
    pub fn toml(self, text: &str, sources: &Sources) -> Result<Self, ConfigError> {
        sources.validate()?;
        let lines = SourceMap::new(text);
        let file = File::parse(text)?;
        let mut builder = self.settings(&file, lines)?;
        if let Some(table) = &file.store {
            builder.choose_store(table, sources.variables(), lines)?;
        }
        let client_ip = file.client_ip.as_ref().map(|table| client_ip(table.get_ref(), lines)).transpose()?;
        let sources = sources.with_client_ip(client_ip.as_ref());
        let exempt = ExemptReader::new(lines, client_ip.as_ref());
        let builder = exempt.read(&file.exempt)?.into_iter().fold(builder, Self::exempt);
        let reader = RuleReader::new(lines, &sources, exempt);
        let rules: Vec<Rule> = file.rules.iter().map(|table| reader.read(table)).collect::<Result<_, _>>()?;
        check_number(builder.rules.len(), &file.rules, lines)?;
        check_names(&builder.rules, &file.rules, lines)?;
        let builder = rules.into_iter().fold(builder, Self::rule);
        let scopes = Scopes::default();
        let compiled = Rules::compile(
            (&builder.rules, &[]),
            AnswerSettings::default(),
            &scopes,
            (Version::default(), &std::sync::Arc::default()),
        );
        compiled.map_err(|error| locate(error, &file.rules, reader))?;
        Ok(builder)
    }

    fn settings(mut self, file: &File, lines: SourceMap<'_>) -> Result<Self, ConfigError> {
        if let Some(max_keys) = &file.max_keys {
            if *max_keys.get_ref() == 0 {
                let reason = "a limiter keeps at least one history: write max_keys = 1000000, or leave it out";
                return Err(ConfigError::new("max_keys", 0, reason).at_line(lines.line_of(max_keys)));
            }
            self = self.max_keys(*max_keys.get_ref());
        }
        if let Some(text) = &file.decision {
            self.response.decision = decision_in(text, lines)?;
        }
        if let Some(limited) = file.limit_preflights {
            self.response.limits_preflights = limited;
        }
        if let Some(headers) = &file.headers {
            headers.apply(&mut self.response, lines)?;
        }
        if let Some(refusal) = &file.refusal {
            refusal.apply(&mut self.response, lines)?;
            self.message = refusal.message(lines)?.map(str::to_owned).or(self.message);
        }
        Ok(self)
    }

    /// Puts the store of the file in the place that is kept for it.
    fn choose_store(
        &mut self,
        table: &Spanned<StoreTable>,
        environment: &Environment,
        lines: SourceMap<'_>,
    ) -> Result<(), ConfigError> {
        if self.is_reload {
            // To open another store for nothing would connect to its server.
            return StoreTable::kind(table, lines).map(|_| ());
        }
        let chosen: &mut dyn Any = self.store_mut();
        let is_in_memory = chosen.is::<MemoryStore>();
        if let Some(any) = chosen.downcast_mut::<AnyStore>().filter(|any| any.is_open_to_choice()) {
            *any = store(table, environment, lines)?;
        } else if !is_in_memory {
            return Err(refuse_store(table, ALREADY_CHOSEN, lines));
        } else if StoreTable::kind(table, lines)? != StoreKind::Memory {
            return Err(refuse_store(table, ONLY_MEMORY, lines));
        } else {
            // It says what is so already.
            store(table, environment, lines)?;
        }
        Ok(())
    }
}

fn refuse_store(table: &Spanned<StoreTable>, reason: &str, lines: SourceMap<'_>) -> ConfigError {
    ConfigError::new("store", "[store]", reason).at_line(lines.line_of(table))
}

/// Rejects a name that a rule of the builder, or an earlier rule of the file, has.
fn check_names(others: &[Rule], tables: &[Spanned<RuleTable>], lines: SourceMap<'_>) -> Result<(), ConfigError> {
    let mut owners: HashMap<String, NameOwner<'_>> =
        others.iter().map(|rule| (rule.name().to_ascii_lowercase(), NameOwner::Program(rule.name()))).collect();
    for name in tables.iter().filter_map(|table| table.get_ref().name.as_ref()) {
        if let Some(owner) = owners.insert(name.get_ref().to_ascii_lowercase(), NameOwner::File(name)) {
            let other = match owner {
                NameOwner::File(other) => format!("rule \"{}\" on line {}", other.get_ref(), lines.line_of(other)),
                NameOwner::Program(other) => format!("rule \"{other}\", which is not from this file,"),
            };
            let reason = format!("{other} has this name already (names are compared ignoring case): write another");
            let mistake = ConfigError::new("name", format_args!("\"{}\"", name.get_ref()), reason);
            return Err(mistake.in_rule(name.get_ref()).at_line(lines.line_of(name)));
        }
    }
    Ok(())
}

/// The rule that has a name: one of the program, or one of the file.
enum NameOwner<'a> {
    Program(&'a str),
    File(&'a Spanned<String>),
}

/// Rejects more rules than a limiter may have.
fn check_number(others: usize, tables: &[Spanned<RuleTable>], lines: SourceMap<'_>) -> Result<(), ConfigError> {
    match tables.get(RuleId::MAX_RULES.saturating_sub(others)) {
        Some(first_too_many) => Err(too_many_rules(others + tables.len()).at_line(lines.line_of(first_too_many))),
        None => Ok(()),
    }
}

/// Adds the line of an error in the compiled rules, if it is about a rule of the file.
fn locate(error: ConfigError, tables: &[Spanned<RuleTable>], reader: RuleReader<'_>) -> ConfigError {
    let is_named = |table: &&Spanned<RuleTable>| {
        table.get_ref().name.as_ref().is_some_and(|name| error.rule() == Some(name.get_ref()))
    };
    match tables.iter().find(is_named) {
        Some(table) if error.field() == UNMATCHED => {
            reader.locate(table.get_ref(), error.in_field("applies_to", "\"unmatched_requests\""))
        }
        Some(table) => reader.locate(table.get_ref(), error),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};

    use super::*;
    use crate::{
        key,
        policy::{Enforcement, Policy, Quota},
        request::{PeerAddr, RequestView},
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
        RateLimiter::builder().toml(text, &Sources::new()).unwrap().rules
    }

    #[test]
    fn a_source_that_no_key_can_name_is_a_mistake() {
        for name in ["", "a|b", " a", "a "] {
            let error = RateLimiter::builder()
                .toml("", &Sources::new().source(name, key::constant("x")))
                .map(|_| ())
                .unwrap_err();
            assert_eq!((error.field(), error.value()), ("source", &*format!("{name:?}")));
        }
    }

    #[test]
    fn a_mistake_in_a_rule_is_named_with_its_line() {
        #[rustfmt::skip]
        let mistakes = [
            // The replaced line and its replacement; the line, the field and the value of the mistake, and its reason.
            (4, "key = [\n'path:botId',\n'claim:bot']", 6, "key", "\"claim:bot\"", "not a key source; known are path:NAME, "),
            (4, "key = 'path:botId | claim:bot'", 4, "key", "\"claim:bot\"", "known are"),
            (4, "key = 'path:botId |'", 4, "key", "\"\"", "known are"),
            (4, "key = 'path:'", 4, "key", "\"path:\"", "follows the colon"),
            (4, "key = 'header:a b'", 4, "key", "\"header:a b\"", "name of a header field"),
            (4, "key = 'client_ip'", 4, "key", "\"client_ip\"", "needs the table [client_ip]"),
            (6, "routes = [\n'POST /x/{botId}',\n'GET y']", 8, "route", "\"GET y\"", "begins with /"),
            (6, "routes = [\n'POST /x/{botId}',\n'get /y/{botId}']", 8, "route", "\"get /y/{botId}\"", "capital letters"),
            (6, "routes = [\n'POST /x/{botId}',\n'GET /y/{bot}']", 8, "key", "\"path:botId\"", "(route \"GET /y/{bot}\")"),
            (6, "routes = [\n'/x/{botId}',\n'/y/{botId}',\n'/x/{botId}']", 9, "route", "\"/x/{botId}\"", "already"),
            (7, "[[rule.group]]\nkey = 'query:'\nroutes = ['/z']", 8, "key", "\"query:\"", "follows the colon"),
            (7, "[[rule.group]]\nkey = 'query:b'\nroutes = ['/z', 'z']", 9, "route", "\"z\"", "begins with /"),
            (7, "[[rule.group]]\nkey = 'query:b'\nroutes = ['GET /y/{b}']", 9, "route", "\"GET /y/{b}\"", "already"),
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
            ("[client_ip]\ntrust = [\n'10.0.0.0/8',\n'10.0.0.0/33']", 4, "client_ip.trust", "\"10.0.0.0/33\"", ""),
            ("[client_ip]\nheader = 'x y'", 2, "client_ip.header", "\"x y\"", "not the name of a header field"),
            ("[client_ip]\nipv6_prefix = 24", 2, "client_ip.ipv6_prefix", "24", "32 to 128"),
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
    fn a_name_of_a_rule_beside_the_file_is_refused() {
        let builder = RateLimiter::builder().toml(&with(3, "name = 'Bots'"), &Sources::new()).unwrap();
        let error = builder.toml(&with(3, "\nname = 'bots'"), &Sources::new()).unwrap_err();
        assert_eq!((error.line(), error.field()), (Some(4), "name"));
        assert!(
            error.reason().starts_with("rule \"Bots\", which is not from this file, has this name already"),
            "{error}"
        );
    }

    #[test]
    fn rules_that_conflict_are_refused_with_the_line_of_the_later_one() {
        let second =
            |fields: &str| with(7, &format!("[[rule]]\nname = 'b'\nkey = 'peer_ip'\nquotas = ['1/s']\n{fields}"));
        let error = refusal(&second("routes = [\n'/z',\n'POST /x/{*rest}'\n]"));
        assert_eq!((error.line(), error.rule(), error.field()), (Some(13), Some("b"), "route"), "{error}");
        assert!(error.reason().contains("POST /x/{botId}"), "{error}");

        let unmatched = "applies_to = 'unmatched_requests'";
        let text =
            second(&format!("{unmatched}\n[[rule]]\nname = 'c'\nkey = 'peer_ip'\nquotas = ['1/s']\n{unmatched}"));
        assert_eq!((refusal(&text).line(), refusal(&text).rule()), (Some(16), Some("c")));
    }

    #[test]
    fn a_mistake_in_a_rule_of_the_program_has_no_line() {
        let rule = Rule::new("code").every_request().key(key::constant("all")).policy(Policy::per_minute(0));
        let error = RateLimiter::builder().rule(rule).toml(&GOOD.join("\n"), &Sources::new()).unwrap_err();
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
            enforcement = "soft"
            on_missing = 401
            [[rule.group]]
            key = "query:botId"
            routes = ["/z"]
        "#;
        let policy = Policy::per_minute(60).and(Quota::new(500, std::time::Duration::from_secs(300)));
        let rule = Rule::new("bots")
            .key((key::first_of((key::header("a"), key::header("b"))), key::path("botId")))
            .level("bot")
            .routes(["POST /x/{botId}", "GET|PUT /y/{botId}"])
            .per_route()
            .policy(policy.count_denied().resolution(64))
            .enforcement(Enforcement::Soft)
            .on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED))
            .group(key::query("botId"), ["/z"]);
        assert_eq!(format!("{:?}", rules(text)), format!("{:?}", [rule]));
    }

    #[test]
    fn what_a_file_does_not_say_is_the_default() {
        let policy = Policy::per_minute(60).and_per_hour(1800);
        let routes = ["POST /x/{botId}", "GET /y/{botId}"];
        let rule = Rule::new("bots").key(key::path("botId")).routes(routes).policy(policy);
        assert_eq!(format!("{:?}", rules(&GOOD.join("\n"))), format!("{:?}", [rule]));
        let builder = RateLimiter::builder().max_keys(7).message("no").toml("", &Sources::new()).unwrap();
        assert_eq!((builder.max_keys, builder.message.as_deref(), builder.rules.len()), (7, Some("no"), 0));
    }

    #[test]
    fn the_settings_of_a_file_are_taken_over() {
        let builder = RateLimiter::builder()
            .toml("max_keys = 5\n[refusal]\nmessage = 'wait {retry_after} s'", &Sources::new())
            .unwrap();
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
        let limiter =
            RateLimiter::builder().toml(text, &Sources::new().source("tenant", tenant)).unwrap().build().unwrap();
        let key = |request: http::request::Builder| {
            let request = request.body(()).unwrap();
            limiter.matching(&RequestView::new(&request))[0].key()
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
            trust = ["10.0.0.0/8"]
            header = "forwarded"
            ipv6_prefix = 48
            [[rule]]
            name = "calls"
            key = "client_ip"
            quotas = ["60/minute"]
            applies_to = "every_request"
        "#;
        let limiter = RateLimiter::from_toml(text).unwrap();
        let key = |peer: &str, field: &str| {
            let mut request = Request::get("/").header("forwarded", field).body(()).unwrap();
            request.extensions_mut().insert(PeerAddr(peer.parse().unwrap()));
            limiter.matching(&RequestView::new(&request))[0].key()
        };
        assert_eq!(key("10.0.0.1:1", "for=198.51.100.7"), Some(limiter.key([198, 51, 100, 7].as_slice())));
        assert_eq!(key("192.0.2.1:1", "for=198.51.100.7"), Some(limiter.key([192, 0, 2, 1].as_slice())));
        assert_eq!(key("[2001:db8:1:2::3]:1", ""), key("[2001:db8:1:ffff::]:1", ""));
    }

    #[test]
    fn the_client_ip_of_one_file_is_not_that_of_another() {
        let rule = |name: &str| {
            format!("[[rule]]\nname = '{name}'\nkey = 'client_ip'\nquotas = ['1/s']\napplies_to = 'every_request'")
        };
        let builder = RateLimiter::builder().toml(&format!("{}\n[client_ip]", rule("a")), &Sources::new()).unwrap();
        assert!(builder.toml(&rule("b"), &Sources::new()).unwrap_err().reason().contains("[client_ip]"));
    }

    #[test]
    fn a_rule_may_apply_to_every_request_or_to_unmatched_ones_or_to_none() {
        let rule = |applies_to: &str| {
            format!("[[rule]]\nname = 'a'\nlevel = 'l'\nkey = 'peer_ip'\nquotas = ['1/s']\napplies_to = '{applies_to}'")
        };
        let code = || Rule::new("a").key(key::peer_ip()).level("l").policy(Policy::per_second(1));
        assert_eq!(format!("{:?}", rules(&rule("every_request"))), format!("{:?}", [code().every_request()]));
        assert_eq!(format!("{:?}", rules(&rule("unmatched_requests"))), format!("{:?}", [code().unmatched_requests()]));
        assert_eq!(format!("{:?}", rules(&rule("no_requests"))), format!("{:?}", [code().no_requests()]));
        let without_key = rule("no_requests").replace("level = 'l'\nkey = 'peer_ip'\n", "");
        let code: Rule = Rule::new("a").policy(Policy::per_second(1)).no_requests();
        assert_eq!(format!("{:?}", rules(&without_key)), format!("{:?}", [code]));
    }

    #[test]
    fn a_level_without_a_name_is_called_as_the_builder_calls_it() {
        let table: [(&str, Rule); 6] = [
            ("'header:X-Account'", Rule::new("a").key(key::header("X-Account"))),
            ("['header:a | query:b', 'cookie:c']", {
                Rule::new("a").key((key::first_of((key::header("a"), key::query("b"))), key::cookie("c")))
            }),
            (
                "['metadata:user-bin', 'constant:eu']",
                Rule::new("a").key((key::metadata("user-bin"), key::constant("eu"))),
            ),
            ("'query:bot id'", Rule::new("a").key(key::query("bot id"))),
            ("['peer_ip', 'host']", Rule::new("a").key((key::peer_ip(), key::host()))),
            ("'client_ip'", Rule::new("a").key(key::client_ip())),
        ];
        let levels = ["x-account", "a+c", "user-bin+eu", "bot-id", "peer_ip+host", "client_ip"];
        for ((text, code), level) in table.into_iter().zip(levels) {
            let text = format!("[client_ip]\n[[rule]]\nname = 'a'\nkey = {text}\nquotas = ['1/s']\nroutes = ['/x']");
            assert_eq!((&*rules(&text)[0].level_name(), &*code.level_name()), (level, level));
        }
        let text = "[[rule]]\nname = 'a'\nkey = 'claim:äpp | header:x'\nquotas = ['1/s']\nroutes = ['/x']";
        let builder =
            RateLimiter::builder().toml(text, &Sources::new().source("claim:äpp", key::constant("x"))).unwrap();
        assert_eq!(builder.rules[0].level_name(), "claim:-pp");
    }

    #[test]
    fn a_path_parameter_without_a_route_is_one_of_axum_or_a_mistake() {
        let text = "[[rule]]\nname = 'a'\nkey = 'path:b'\nquotas = ['1/s']\napplies_to = 'every_request'";
        let mistake = RateLimiter::from_toml(text).err();
        assert_eq!(mistake.is_none(), cfg!(feature = "axum"));
        assert!(mistake.is_none_or(|error| (error.line(), error.value()) == (Some(3), "\"path:b\"")));
    }

    #[test]
    fn a_rule_of_groups_alone_needs_no_key_of_its_own() {
        let groups =
            "[[rule.group]]\nkey = 'query:a'\nroutes = ['/a']\n[[rule.group]]\nkey = 'query:b'\nroutes = ['/b']";
        let text = format!("[[rule]]\nname = 'a'\nquotas = ['1/s']\n{groups}");
        assert_eq!(rules(&text)[0].level_name(), "a");
        let error = refusal(&text.replace("quotas", "key = 'path:x'\nquotas"));
        assert_eq!((error.line(), error.field(), error.value()), (Some(3), "key", "'path:x'"), "{error}");
        let error = refusal(&text.replace("quotas", "routes = ['/x']\nquotas"));
        assert_eq!((error.line(), error.field(), error.value()), (Some(2), "key", ""), "{error}");
    }
}
