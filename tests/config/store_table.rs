//! The table `[store]`: the store that it describes, and the mistakes in it.

use std::env::VarError;

use tower_quota::{
    AnyRateLimiter, ConfigError, RateLimiter, RateLimiterBuilder,
    config::Sources,
    store::{AnyStore, MemoryStore, OnOutage, RedisStore},
};

const RULE: &str = "
[[rule]]
name = 'calls'
quotas = ['60/minute']
applies_to = 'no_requests'
";

fn sources() -> Sources {
    Sources::new().environment(|name| match name {
        "QUOTA_REDIS" => Ok("redis://user:hunter2@10.0.0.1:6379/3".to_owned()),
        "BAD_URL" => Ok("http://user:hunter2@host?pass=hunter2".to_owned()),
        "EMPTY" => Ok(String::new()),
        "KEY_SECRET" => Ok("hunter2".to_owned()),
        "ODD" => Err(VarError::NotUnicode("hunter2".into())),
        _ => Err(VarError::NotPresent),
    })
}

fn built(store: &str) -> Result<AnyRateLimiter, ConfigError> {
    RateLimiter::builder()
        .store_from_file()
        .toml(&format!("{store}{RULE}"), &sources())
        .and_then(RateLimiterBuilder::build)
}

/// The settings that a Redis store shows.
#[track_caller]
fn shown(store: &str) -> String {
    let limiter = built(store).unwrap();
    format!("{:?}", limiter.store().downcast_ref::<RedisStore>().expect("it is on Redis"))
}

#[track_caller]
fn is_in_memory(store: &str) -> bool {
    built(store).unwrap().store().downcast_ref::<MemoryStore>().is_some()
}

#[test]
fn without_the_table_histories_are_in_memory() {
    assert!(is_in_memory(""));
    assert!(is_in_memory("[store]\nkind = 'memory'\n"));
}

#[test]
fn a_url_is_a_redis_store_with_the_settings_of_the_table() {
    let plain = shown("[store]\nurl = 'redis://10.0.0.1:6379'\non_outage = 'open'\n");
    assert!(plain.contains("prefix: \"quota\", on_outage: Open, deadline: 50ms"), "{plain}");
    let all = "[store]\nkind = 'redis'\nurl = '$QUOTA_REDIS'\non_outage = 'local'\nshare = 0.25\nprefix = 'shop'\n\
               deadline = '80ms'\ndenial_cache_ttl = '0s'\nmax_batch = 1\nkey_secret = '$KEY_SECRET'\n\
               [store.lease]\nmax_units = 50\nduration = '1s'\nrules = ['calls']\n";
    let all = shown(all);
    let on_outage = format!("{:?}", OnOutage::Local { share: 0.25 });
    assert!(all.contains(&format!("prefix: \"shop\", on_outage: {on_outage}, deadline: 80ms")), "{all}");
    assert!(!all.contains("hunter2"));
    for whole in ["1", "1.0"] {
        shown(&format!("[store]\nurl = '$QUOTA_REDIS'\non_outage = 'local'\nshare = {whole}\n"));
    }
}

#[test]
fn sentinels_and_clusters_have_several_urls() {
    let urls = "urls = ['redis://10.0.0.1:26379', '$QUOTA_REDIS']\non_outage = 'closed'\n";
    shown(&format!("[store]\nkind = 'sentinel'\nservice = 'mymaster'\n{urls}"));
    shown(&format!("[store]\nkind = 'cluster'\n{}", urls.replace("'$QUOTA_REDIS'", "'redis://10.0.0.2'")));
}

#[test]
fn a_url_that_is_not_set_means_memory_only_if_the_file_says_so() {
    let unset = "[store]\nurl = '$UNSET'\non_outage = 'open'\nprefix = 'shop'\n";
    assert!(is_in_memory(&format!("{unset}if_unset = 'memory'\n")));
    let advice = "the environment variable UNSET is not set: write it into the environment, or write if_unset = \"memory\" to \
                  keep histories in this process then";
    for text in [unset.to_owned(), format!("{unset}if_unset = 'error'\n")] {
        let error = built(&text).unwrap_err();
        assert_eq!((error.line(), error.field(), error.value()), (Some(2), "store.url", "\"$UNSET\""));
        assert_eq!(error.reason(), advice);
    }
    shown("[store]\nurl = '$QUOTA_REDIS'\non_outage = 'open'\nif_unset = 'memory'\n");
    // A mistake is found where the variable is not set, too, before it is where it is set.
    let error = built(&format!("{unset}if_unset = 'memory'\nmax_batch = 0\n")).unwrap_err();
    assert_eq!((error.line(), error.field()), (Some(6), "store.max_batch"));
}

#[test]
fn a_file_does_not_overrule_the_store_of_the_program() {
    let table = "[store]\nurl = 'redis://10.0.0.1'\non_outage = 'open'\n";
    let text = format!("\n{table}{RULE}");
    let any = RateLimiter::builder().store(AnyStore::memory()).toml(&text, &sources()).map(drop);
    let redis = RedisStore::new("redis://10.0.0.2", OnOutage::Closed);
    let redis = RateLimiter::builder().store(redis).toml(&text, &sources()).map(drop);
    let twice = RateLimiter::builder().store_from_file().toml(&text, &sources()).unwrap();
    let twice = twice.toml(&format!("\n{table}"), &sources()).map(drop);
    for refused in [any, redis, twice] {
        let error = refused.unwrap_err();
        assert_eq!((error.line(), error.field(), error.value()), (Some(2), "store", "[store]"));
        assert!(error.reason().starts_with("the program, or another file, has chosen the store already"), "{error}");
    }
    let error = RateLimiter::from_toml(&text).unwrap_err();
    assert!(error.reason().starts_with("this program keeps histories in memory"), "{error}");
}

/// Of a limiter in memory the file may say what is so already.
#[test]
fn memory_is_no_contradiction_to_memory() {
    assert!(RateLimiter::from_toml(&format!("[store]\nkind = 'memory'\n{RULE}")).is_ok());
}

/// The table, and what is said of it.
#[rustfmt::skip]
const MISTAKES: &[(&str, &str)] = &[
    ("", r#"line 1: store.kind: the table does not say where: write kind = "memory", or url = "$REDIS_URL""#),
    ("kind = 'disk'", r#"line 2: store.kind "disk": unknown value: write "memory", "redis", "sentinel" or "cluster""#),
    ("kind = 'reddis'", r#"line 2: store.kind "reddis": unknown value: write "redis""#),
    ("type = 'memory'", "line 2: store.type 'memory': unknown field: write kind = 'memory'"),
    ("url_from_env = 'REDIS_URL'", "line 2: store.url_from_env 'REDIS_URL': unknown field: write url = \"$REDIS_URL\""),
    ("kind = 'memory'\ndeadline = '1s'", r#"line 3: store.deadline '1s': a store in memory does not have it: leave it out, or write kind = "redis""#),
    ("kind = 'memory'\n[store.lease]", r#"line 3: store.lease [store.lease]: a store in memory does not have it: leave it out, or write kind = "redis""#),
    ("kind = 'redis'\non_outage = 'open'", r#"line 1: store.url: a single server has a URL: write url = "$REDIS_URL""#),
    ("kind = 'redis'\nurls = ['redis://a']\non_outage = 'open'", r#"line 3: store.urls ['redis://a']: a single server has one: write url = "redis://10.0.0.1:6379""#),
    ("url = 'redis://a'", r#"line 1: store.on_outage: each choice has its price: write on_outage = "open", "closed", or "local" with a share"#),
    ("url = 'redis://a'\non_outage = 'opened'", r#"line 3: store.on_outage "opened": unknown value: write "open", "closed" or "local""#),
    ("url = 'redis://a'\non_outage = 'local'", "line 1: store.share: a share of each limit is this process's: write share = 0.25 if there are four"),
    ("url = 'redis://a'\non_outage = 'open'\nshare = 0.5", r#"line 4: store.share 0.5: it is for requests that are decided locally: write on_outage = "local", or leave it out"#),
    ("url = 'redis://a'\non_outage = 'local'\nshare = 0.0", "line 4: store.share 0: a share is more than 0 and at most 1: write share = 0.25"),
    ("url = 'redis://a'\non_outage = 'local'\nshare = 4", "line 4: store.share 4: a share is more than 0 and at most 1: write share = 0.25"),
    ("url = 'redis://a'\non_outage = 'local'\nshare = '1/4'", "line 4: store.share '1/4': expected a number such as 0.25: write share = 0.25"),
    ("url = 'redis://a'\nservice = 'b'\non_outage = 'open'", r#"line 3: store.service 'b': only sentinels know services: write kind = "sentinel", or leave it out"#),
    ("kind = 'cluster'\nurl = 'redis://a'\non_outage = 'open'", r#"line 3: store.url 'redis://a': there are several servers: write urls = ["redis://10.0.0.1:6379"]"#),
    ("kind = 'cluster'\non_outage = 'open'\nurls = []", r#"line 4: store.urls []: write urls = ["redis://10.0.0.1:6379"], some of the nodes"#),
    ("kind = 'cluster'\non_outage = 'open'\nurls = ['redis://a/3']", r#"line 4: store.urls "redis://a/3": a cluster has only database 0 - InvalidClientConfig: write urls = ["redis://10.0.0.1:6379"]"#),
    ("kind = 'sentinel'\non_outage = 'open'\nurls = ['redis://a']", r#"line 1: store.service: the sentinels know several: write service = "mymaster""#),
    ("url = '${QUOTA_REDIS}'\non_outage = 'open'", r#"line 2: store.url "${QUOTA_REDIS}": the whole string is the name of an environment variable: write "$QUOTA_REDIS""#),
    ("url = '$EMPTY'\non_outage = 'open'", r#"line 2: store.url "$EMPTY": the environment variable EMPTY is empty: write its value, or unset it"#),
    ("url = '$ODD'\non_outage = 'open'", r#"line 2: store.url "$ODD": the environment variable ODD is not valid Unicode: write its value in UTF-8"#),
    ("url = 'redis://a'\non_outage = 'open'\nif_unset = 'memory'", r#"line 4: store.if_unset "memory": no URL is an environment variable: leave it out, or write url = "$REDIS_URL""#),
    ("url = '$UNSET'\non_outage = 'open'\nif_unset = 'open'", r#"line 4: store.if_unset "open": unknown value: write "memory" or "error""#),
    ("url = 'redis://a'\non_outage = 'open'\nprefix = '{shop}'", r#"line 4: store.prefix "{shop}": a prefix has no braces: as a hash tag they would decide the hash slot of all keys: write prefix = "quota""#),
    ("url = 'redis://a'\non_outage = 'open'\ndeadline = '0ms'", r#"line 4: store.deadline 0s: a decision takes some time: write deadline = "50ms""#),
    ("url = 'redis://a'\non_outage = 'open'\ndeadline = 50", r#"line 4: store.deadline 50: a duration is a string with a unit: write deadline = "50ms" or deadline = "50s""#),
    ("url = 'redis://a'\non_outage = 'open'\ndeadline = '50'", r#"line 4: store.deadline "50": the number 50 has no unit behind it: write "50s""#),
    ("url = 'redis://a'\non_outage = 'open'\ntimeout = '50ms'", "line 4: store.timeout '50ms': unknown field: write deadline = '50ms'"),
    ("url = 'redis://a'\non_outage = 'open'\nmax_batch = 0", "line 4: store.max_batch 0: a batch has at least one request: write max_batch = 32"),
    ("url = 'redis://a'\non_outage = 'open'\nmax_batch = 256", "line 4: store.max_batch 256: the number is too small or too large: write max_batch = 32"),
    ("url = 'redis://a'\non_outage = 'open'\nroot_certificate = '/no/such/file'", r#"line 4: store.root_certificate "/no/such/file": the file cannot be read (No such file or directory (os error 2)): write the path of a file in PEM"#),
    ("url = 'redis://a'\non_outage = 'open'\nclient_key = 'key.pem'", "line 1: store.client_certificate: a client shows a certificate and has its key: write client_certificate and client_key"),
    ("url = 'redis://a'\non_outage = 'open'\n[store.lease]\nduration = '1s'", "line 4: store.lease.max_units: a lease has a size: write max_units = 50"),
    ("url = 'redis://a'\non_outage = 'open'\n[store.lease]\nmax_units = 2", r#"line 4: store.lease.duration: a lease ends: write duration = "1s""#),
    ("url = 'redis://a'\non_outage = 'open'\n[store.lease]\nmax_units = 1\nduration = '1s'", "line 5: store.lease.max_units 1: a lease has at least two units: write max_units = 50"),
    ("url = 'redis://a'\non_outage = 'open'\n[store.lease]\nmax_units = 9\nduration = '90s'", r#"line 6: rule "calls": store.lease.duration 1m 30s: longer than the shortest window, 1m: most of its units would never be spent: write duration = "1s""#),
    ("url = 'redis://a'\non_outage = 'open'\n[store.lease]\nmax_units = 9\nduration = '1s'\nrules = ['call']", r#"line 7: store.lease.rules "call": no rule has this name: write rules = ["bots"]"#),
    ("url = 'redis://a'\non_outage = 'open'\n[store.lease]\nunits = 9", "line 5: store.lease.units 9: unknown field: write max_units = 9"),
];

#[test]
fn a_mistake_is_told_with_its_line_and_with_what_to_write() {
    for (fields, message) in MISTAKES {
        assert_eq!(built(&format!("[store]\n{fields}\n")).unwrap_err().to_string(), *message, "{fields}");
    }
}

#[test]
fn no_message_shows_a_password_or_a_secret() {
    for fields in [
        "url = '$BAD_URL'\non_outage = 'open'",
        "url = 'http://user:hunter2@host'\non_outage = 'open'",
        "url = 'redis://:hunter2@host'\non_outage = 'open'\nservice = 'redis://:hunter2@mymaster'",
        "kind = 'memory'\nurl = 'redis+unix:///run/redis.sock?pass=hunter2'",
        "kind = 'cluster'\non_outage = 'open'\nurls = ['redis://user:hunter2@host/3']",
        "kind = 'redis'\non_outage = 'open'\nurls = [\"redis://a:hunter2@b\",\"redis://c:hunter2@d\"]",
        "uri = 'redis://:hunter2@host'",
        "url = redis://:hunter2@host",
        "url = '$ODD'\non_outage = 'open'",
        "url = 'redis://a'\non_outage = 'open'\nkey_secret = 'hunter2'",
        "key_secret = hunter2",
        "key_secret = ['hunter2']",
        "key_secert = 'hunter2'",
        "secret = 'hunter2'",
        "password = 'hunter2'",
        "kind = 'memory'\nkey_secret = 'hunter2'",
    ] {
        let error = built(&format!("[store]\n{fields}\n")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        assert!(error.line().is_some_and(|line| line >= 1), "{error}");
    }
}
