//! A limiter that follows the file of its rules.

use std::path::Path;

use crate::{
    config::watch::{FileWatcher, WatchError, WatchSettings, WatchStatus},
    error::ConfigError,
    limiter::{RateLimiter, RateLimiterBuilder},
    request::RequestKind,
    store::Store,
};

/// A limiter that follows the file of its rules, until this is dropped: [`RateLimiter::watch`].
///
/// Dropping it waits for a reload that is under way. The limiter keeps the rules that it has.
#[derive(Debug)]
#[must_use = "the file is followed only as long as this is kept"]
pub struct RulesWatch(FileWatcher);

/// # Watching a file
impl<K: RequestKind, S: Store> RateLimiter<K, S> {
    /// Follows a file of rules, and [reloads](Self::reload) whenever its text changes, without a restart (feature `watch`).
    ///
    /// `rules` is given an empty builder and the text of the file, and adds all rules: those of the file, with the
    /// [`Sources`](crate::config::Sources) of their keys, and those of code. The text is read and applied before this returns,
    /// and afterwards in a thread of its own.
    ///
    /// A file that is missing, is not UTF-8 or has a mistake changes nothing: the rules before stay in force, and
    /// [`RulesWatch::last_error`] says why. So does a file that somebody is just writing, until it is whole. Renames over the
    /// file, editors' backups and the symbolic links of a Kubernetes ConfigMap are followed. File systems without events are
    /// read every 30 seconds; a ConfigMap that is mounted by `subPath` never changes.
    ///
    /// A change in a file that the text names (`overrides_file`) alone is followed, too: where
    /// [`Sources::files`](crate::config::Sources::files) reads it, at the next poll. `rules` has to read them in the thread that it
    /// is called in.
    ///
    /// The table `[store]` is passed over: the limiter keeps the store that it was built with.
    ///
    /// # Errors
    ///
    /// If the path is empty, or the system grants no thread. A mistake in the file is none here, not in the first text either.
    ///
    /// ```
    /// use tower_quota::{RateLimiter, config::Sources};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("rules.toml");
    /// let rules = |limit| {
    ///     format!("[[rule]]\nname = \"jobs\"\napplies_to = \"no_requests\"\nquotas = [\"{limit}/minute\"]")
    /// };
    /// std::fs::write(&path, rules(60))?;
    ///
    /// let sources = Sources::default();
    /// let limiter = RateLimiter::from_toml(&rules(1))?;
    /// let watch = limiter.watch(&path, move |builder, text| builder.toml(text, &sources))?;
    ///
    /// assert_eq!((watch.loaded(), watch.last_error()), (1, None));
    /// assert_eq!((0..100).filter(|_| limiter.rule("jobs").unwrap().admit("acme")).count(), 60);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch<F>(&self, path: impl AsRef<Path>, rules: F) -> Result<RulesWatch, WatchError>
    where
        F: Fn(RateLimiterBuilder<K>, &str) -> Result<RateLimiterBuilder<K>, ConfigError> + Send + 'static,
    {
        self.watch_with(path, WatchSettings::default(), rules)
    }

    /// Follows a file as [`watch`](Self::watch) does, with other pauses, or with an observer that logs what happens.
    ///
    /// # Errors
    ///
    /// As [`watch`](Self::watch).
    pub fn watch_with<F>(
        &self,
        path: impl AsRef<Path>,
        settings: WatchSettings,
        rules: F,
    ) -> Result<RulesWatch, WatchError>
    where
        F: Fn(RateLimiterBuilder<K>, &str) -> Result<RateLimiterBuilder<K>, ConfigError> + Send + 'static,
    {
        let limiter = self.clone();
        let reload = move |text: &str| limiter.reload(|builder| rules(builder, text)).map(|_| ());
        FileWatcher::start(path, settings, reload).map(RulesWatch)
    }
}

impl RulesWatch {
    /// Returns the number of texts that were taken, the first one included.
    #[must_use]
    pub fn loaded(&self) -> u64 {
        self.status().loaded()
    }

    /// Returns the number of failures of the file or its text, each counted once.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.status().failed()
    }

    /// Returns why the file is not in force as it is, or `None` if its text is the one that was taken last.
    #[must_use]
    pub fn last_error(&self) -> Option<WatchError> {
        self.status().last_error().cloned()
    }

    /// Returns why the system reports no changes, so that the file is only polled, or `None` if it does.
    #[must_use]
    pub fn polling_reason(&self) -> Option<WatchError> {
        self.status().polling_reason().cloned()
    }

    fn status(&self) -> WatchStatus {
        self.0.status()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::PathBuf,
        sync::mpsc::{Receiver, channel},
        time::Duration,
    };

    use tempfile::{TempDir, tempdir};

    use super::*;
    use crate::{
        config::{Sources, WatchEvent},
        policy::Policy,
        rule::Rule,
    };

    /// Far more than anything takes here.
    const PATIENCE: Duration = Duration::from_secs(60);
    const NEVER: Duration = Duration::from_secs(1_000_000);

    /// A limiter with a rule `jobs` that follows the file `rules.toml`.
    struct Scene {
        folder: TempDir,
        limiter: RateLimiter,
        watch: RulesWatch,
        events: Receiver<WatchEvent>,
    }

    impl Scene {
        fn new(prepare: impl FnOnce(&Path)) -> Self {
            let folder = tempdir().unwrap();
            prepare(folder.path());
            let limiter = RateLimiter::from_toml(&jobs("100/minute")).unwrap();
            let (tell, events) = channel();
            let settings = WatchSettings::default().debounce(Duration::from_millis(1)).poll(NEVER);
            let settings = settings.observer(move |event| {
                let _ = tell.send(event.clone());
            });
            let sources = Sources::new().files_in(folder.path());
            let code = || Rule::new("code").no_requests().policy(Policy::per_minute(7));
            let rules = move |builder: RateLimiterBuilder, text: &str| builder.rule(code()).toml(text, &sources);
            let watch = limiter.watch_with(folder.path().join("rules.toml"), settings, rules).unwrap();
            Self { folder, limiter, watch, events }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn replace(&self, text: &str) {
            self.replace_file("rules.toml", text);
        }

        fn replace_file(&self, name: &str, text: &str) {
            fs::write(self.at("new"), text).unwrap();
            fs::rename(self.at("new"), self.at(name)).unwrap();
        }

        fn limit_of(&self, rule: &str) -> u64 {
            self.limiter.rule(rule).unwrap().peek("acme").quotas().next().unwrap().limit()
        }

        fn admitted(&self) -> usize {
            let jobs = self.limiter.rule("jobs").unwrap();
            (0..10).filter(|_| jobs.admit("acme")).count()
        }

        fn until_taken(&self) {
            while self.events.recv_timeout(PATIENCE).unwrap() != WatchEvent::Taken {}
        }

        fn until_failed(&self) {
            while !matches!(self.events.recv_timeout(PATIENCE).unwrap(), WatchEvent::Failed(_)) {}
        }
    }

    fn jobs(quota: &str) -> String {
        format!("[[rule]]\nname = \"jobs\"\napplies_to = \"no_requests\"\nquotas = [\"{quota}\"]\n")
    }

    /// Rules that admit 1 a minute, and 3 in the tier that a file of overrides gives.
    fn jobs_with_overrides(file: &str) -> String {
        format!("{}overrides_file = \"{file}\"\ntiers = {{ pro = [\"3/minute\"] }}\n", jobs("1/minute"))
    }

    #[test]
    fn a_change_of_the_overrides_alone_is_taken_and_keeps_the_histories() {
        for file in ["overrides.csv", "tiers/overrides.csv"] {
            let scene = Scene::new(|folder| {
                fs::create_dir(folder.join("tiers")).unwrap();
                fs::write(folder.join(file), "globex,pro\n").unwrap();
                fs::write(folder.join("rules.toml"), jobs_with_overrides(file)).unwrap();
            });
            scene.until_taken();
            assert_eq!((scene.admitted(), scene.limit_of("jobs")), (1, 1));
            scene.replace_file(file, "acme,pro\n");
            scene.until_taken();
            assert_eq!((scene.admitted(), scene.limit_of("jobs"), scene.watch.loaded()), (2, 3, 2), "{file}");
            // In place, and back.
            fs::write(scene.at(file), "globex,pro\n").unwrap();
            scene.until_taken();
            assert_eq!(scene.admitted(), 0);
        }
    }

    #[test]
    fn bad_overrides_change_nothing_and_name_the_file_and_the_line() {
        let scene = Scene::new(|folder| {
            fs::write(folder.join("overrides.csv"), "acme,pro\n").unwrap();
            fs::write(folder.join("rules.toml"), jobs_with_overrides("overrides.csv")).unwrap();
        });
        scene.until_taken();
        scene.replace_file("overrides.csv", "globex,pro\nacme,prp\n");
        scene.until_failed();
        assert_eq!((scene.limit_of("jobs"), scene.watch.loaded(), scene.watch.failed()), (3, 1, 1));
        let error = scene.watch.last_error().unwrap().to_string();
        let reason = "rules.toml: line 5: rule \"jobs\": overrides_file \"overrides.csv\": line 2: tier \"prp\": \
                      the rule has no tier of this name: write \"pro\", or add it below [rule.tiers]";
        assert!(error.ends_with(reason), "{error}");
        fs::remove_file(scene.at("overrides.csv")).unwrap();
        scene.until_failed();
        assert!(scene.watch.last_error().unwrap().to_string().contains("overrides.csv\": the file cannot be read"));
        scene.replace_file("overrides.csv", "globex,pro\n");
        scene.until_taken();
        assert_eq!((scene.limit_of("jobs"), scene.watch.last_error()), (1, None));
    }

    #[test]
    fn overrides_that_come_later_than_the_rules_that_name_them_are_taken() {
        let rules = jobs_with_overrides("later/overrides.csv");
        let scene = Scene::new(|folder| fs::write(folder.join("rules.toml"), rules).unwrap());
        scene.until_failed();
        assert_eq!((scene.limit_of("jobs"), scene.watch.loaded()), (100, 0));
        fs::create_dir(scene.at("later")).unwrap();
        scene.replace_file("later/overrides.csv", "acme,pro\n");
        scene.until_taken();
        assert_eq!((scene.limit_of("jobs"), scene.watch.last_error()), (3, None));
    }

    #[test]
    fn a_file_is_applied_at_once_beside_the_rules_of_code() {
        let scene = Scene::new(|folder| fs::write(folder.join("rules.toml"), jobs("3/minute")).unwrap());
        assert_eq!((scene.limit_of("jobs"), scene.limit_of("code"), scene.watch.loaded()), (3, 7, 1));
    }

    #[test]
    fn a_rename_over_the_file_changes_the_limit_and_keeps_the_history() {
        let scene = Scene::new(|folder| fs::write(folder.join("rules.toml"), jobs("1/minute")).unwrap());
        scene.until_taken();
        assert_eq!(scene.admitted(), 1);
        scene.replace(&jobs("3/minute"));
        scene.until_taken();
        assert_eq!((scene.admitted(), scene.watch.loaded(), scene.watch.failed()), (2, 2, 0));
    }

    #[test]
    fn a_bad_file_changes_nothing_and_a_good_one_after_it_does() {
        let scene = Scene::new(|folder| fs::write(folder.join("rules.toml"), jobs("1/minute")).unwrap());
        scene.until_taken();
        scene.replace(&jobs("0/minute"));
        scene.until_failed();
        assert_eq!((scene.limit_of("jobs"), scene.watch.loaded(), scene.watch.failed()), (1, 1, 1));
        let error = scene.watch.last_error().unwrap().to_string();
        let reason =
            "rules.toml: line 4: rule \"jobs\": quota \"0/minute\": a quota admits at least 1: write 1 or more";
        assert!(error.ends_with(reason), "{error}");
        scene.replace(&jobs("3/minute"));
        scene.until_taken();
        assert_eq!((scene.limit_of("jobs"), scene.watch.last_error()), (3, None));
    }

    #[test]
    fn a_missing_file_leaves_the_rules_that_the_limiter_was_built_with() {
        let scene = Scene::new(|_| ());
        scene.until_failed();
        assert_eq!((scene.limit_of("jobs"), scene.watch.loaded()), (100, 0));
        scene.replace(&jobs("3/minute"));
        scene.until_taken();
        assert_eq!(scene.limit_of("jobs"), 3);
    }

    #[test]
    fn the_store_of_the_file_is_passed_over() {
        let text = format!("[store]\nurl = \"$REDIS_URL\"\non_outage = \"open\"\n{}", jobs("3/minute"));
        let scene = Scene::new(|folder| fs::write(folder.join("rules.toml"), text).unwrap());
        assert_eq!((scene.watch.last_error(), scene.limit_of("jobs")), (None, 3));
    }

    #[test]
    fn a_dropped_watch_leaves_the_rules_in_force() {
        let scene = Scene::new(|folder| fs::write(folder.join("rules.toml"), jobs("3/minute")).unwrap());
        let Scene { limiter, watch, .. } = scene;
        drop(watch);
        assert_eq!(limiter.rule("jobs").unwrap().peek("acme").quotas().next().unwrap().limit(), 3);
    }

    /// The folder of a ConfigMap: `rules.toml -> ..data/rules.toml`, and `..data` leads to the folder of a version.
    #[cfg(unix)]
    #[test]
    fn a_config_map_is_followed_when_its_link_is_replaced() {
        use std::os::unix::fs::symlink;

        let add = |folder: &Path, version: &str, text: &str| {
            fs::create_dir(folder.join(version)).unwrap();
            fs::write(folder.join(version).join("rules.toml"), text).unwrap();
        };
        let scene = Scene::new(|folder| {
            add(folder, "..2026_1", &jobs("1/minute"));
            symlink("..2026_1", folder.join("..data")).unwrap();
            symlink("..data/rules.toml", folder.join("rules.toml")).unwrap();
        });
        scene.until_taken();
        assert_eq!(scene.admitted(), 1);

        add(scene.folder.path(), "..2026_2", &jobs("3/minute"));
        symlink("..2026_2", scene.at("..data_tmp")).unwrap();
        fs::rename(scene.at("..data_tmp"), scene.at("..data")).unwrap();
        fs::remove_dir_all(scene.at("..2026_1")).unwrap();
        scene.until_taken();
        assert_eq!((scene.limit_of("jobs"), scene.admitted(), scene.watch.last_error()), (3, 2, None));
    }

    /// Both files are in one ConfigMap, of whose versions only the overrides differ.
    #[cfg(unix)]
    #[test]
    fn overrides_in_a_config_map_are_followed_when_its_link_is_replaced() {
        use std::os::unix::fs::symlink;

        let add = |folder: &Path, version: &str, overrides: &str| {
            fs::create_dir(folder.join(version)).unwrap();
            fs::write(folder.join(version).join("rules.toml"), jobs_with_overrides("overrides.csv")).unwrap();
            fs::write(folder.join(version).join("overrides.csv"), overrides).unwrap();
        };
        let scene = Scene::new(|folder| {
            add(folder, "..2026_1", "globex,pro\n");
            symlink("..2026_1", folder.join("..data")).unwrap();
            symlink("..data/rules.toml", folder.join("rules.toml")).unwrap();
            symlink("..data/overrides.csv", folder.join("overrides.csv")).unwrap();
        });
        scene.until_taken();
        assert_eq!(scene.limit_of("jobs"), 1);

        add(scene.folder.path(), "..2026_2", "acme,pro\n");
        symlink("..2026_2", scene.at("..data_tmp")).unwrap();
        fs::rename(scene.at("..data_tmp"), scene.at("..data")).unwrap();
        scene.until_taken();
        assert_eq!((scene.limit_of("jobs"), scene.watch.last_error()), (3, None));
    }
}
