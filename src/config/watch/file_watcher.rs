//! The thread that follows a file.

use std::{
    collections::BTreeSet,
    fmt::{self, Display},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    clock::{SystemClock, Timestamp},
    config::watch::{
        WatchError, WatchEvent, directories::Directories, schedule::Schedule, watched_file::WatchedFile,
        watched_text::WatchedText,
    },
};

/// Whoever moves directories faster than this is heard at the next event or poll.
const MOST_LISTENS: usize = 8;

/// Follows a file, and those that it names, until it is dropped.
///
/// Dropping it waits for the closure to return if that is just taking a text; afterwards neither the closure nor the observer
/// is called.
pub(crate) struct FileWatcher {
    shared: Arc<Shared>,
    bell: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

/// The settings of a watched file: pauses, and an observer.
///
/// ```
/// use std::time::Duration;
/// use tower_quota::config::{WatchEvent, WatchSettings};
///
/// let settings = WatchSettings::default().poll(Duration::from_secs(5)).observer(|event| {
///     if let WatchEvent::Failed(error) = event {
///         eprintln!("{error}");
///     }
/// });
/// # let _ = settings;
/// ```
#[must_use]
pub struct WatchSettings {
    debounce: Duration,
    poll: Duration,
    observer: Box<dyn FnMut(&WatchEvent) + Send>,
}

/// What has become of a watched file so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WatchStatus {
    loaded: u64,
    failed: u64,
    last_error: Option<WatchError>,
    polling_reason: Option<WatchError>,
}

/// Belongs to the watcher and its thread.
#[derive(Debug, Default)]
struct Shared {
    status: Mutex<WatchStatus>,
    is_stopping: AtomicBool,
}

/// Belongs to the thread.
struct Worker<F> {
    file: WatchedFile,
    text: WatchedText,
    directories: Directories,
    schedule: Schedule,
    observer: Box<dyn FnMut(&WatchEvent) + Send>,
    on_change: F,
    shared: Arc<Shared>,
    rings: Receiver<()>,
}

impl FileWatcher {
    /// Calls `on_change` with the text of the file, before this returns, and from then on, in a thread of its own, with each
    /// text that differs from the one before.
    ///
    /// If `on_change` refuses a text, or panics, then the file counts as it was, and that text is not tried again until there
    /// is another. The text may be half of what somebody is just writing. A file that is missing, cannot be read, has more
    /// than 64 MiB or is not UTF-8 is never given to the closure. All this is no error here but in the [status](Self::status),
    /// that of the first text too.
    ///
    /// If the system reports no changes ([`WatchStatus::polling_reason`]) then the file is polled.
    ///
    /// # Errors
    ///
    /// If the path is empty, or the system grants no thread.
    pub(crate) fn start<F, E>(path: impl AsRef<Path>, settings: WatchSettings, on_change: F) -> Result<Self, WatchError>
    where
        F: FnMut(&str) -> Result<(), E> + Send + 'static,
        E: Display,
    {
        let file = WatchedFile::new(path.as_ref())?;
        let path = Arc::clone(file.path());
        let (bell, rings) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let mut worker = Worker {
            file,
            text: WatchedText::default(),
            directories: Directories::new(bell.clone()),
            schedule: Schedule::new(settings.debounce, settings.poll, now()),
            observer: settings.observer,
            on_change,
            shared: Arc::clone(&shared),
            rings,
        };
        worker.look();
        let thread = thread::Builder::new().name("quota-watch".to_owned()).spawn(move || worker.run());
        let thread = thread.map_err(|error| WatchError::unwatchable(&path, error))?;
        Ok(Self { shared, bell, thread: Some(thread) })
    }

    /// Returns what has become of the file so far.
    pub(crate) fn status(&self) -> WatchStatus {
        self.shared.status.lock().clone()
    }
}

impl Drop for FileWatcher {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        // If this fails then the bell is ringing, or the thread has ended.
        let _ = self.bell.try_send(());
        if let Some(thread) = self.thread.take() {
            // The closure itself may let go of the watcher, and would wait for its own end.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for FileWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWatcher").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl WatchSettings {
    /// Sets the pause in the events of a directory after which the file is looked at. Defaults to 250 ms.
    ///
    /// Where events never pause, the file is looked at after eight times as long.
    pub const fn debounce(mut self, pause: Duration) -> Self {
        self.debounce = pause;
        self
    }

    /// Sets the time between looks if there are no events. Defaults to 30 s; at least 100 ms.
    pub const fn poll(mut self, interval: Duration) -> Self {
        self.poll = interval;
        self
    }

    /// Sets a closure that is told when a text was taken, when the file or its text fails, and when it recovers; each once,
    /// after [`RulesWatch`](crate::config::RulesWatch) says so.
    pub fn observer<O>(mut self, observer: O) -> Self
    where
        O: FnMut(&WatchEvent) + Send + 'static,
    {
        self.observer = Box::new(observer);
        self
    }
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self { debounce: Duration::from_millis(250), poll: Duration::from_secs(30), observer: Box::new(|_| ()) }
    }
}

impl fmt::Debug for WatchSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { debounce, poll, .. } = self;
        f.debug_struct("WatchSettings").field("debounce", debounce).field("poll", poll).finish_non_exhaustive()
    }
}

impl WatchStatus {
    /// Returns how many texts were taken.
    pub(crate) const fn loaded(&self) -> u64 {
        self.loaded
    }

    /// Returns how often the file or its text has failed, each failure counted once.
    pub(crate) const fn failed(&self) -> u64 {
        self.failed
    }

    /// Returns why the file is not in force as it is: none if the text that was taken last is that of the file.
    pub(crate) const fn last_error(&self) -> Option<&WatchError> {
        self.last_error.as_ref()
    }

    /// Returns why the system does not report changes, so that the file is only polled; none if it does.
    pub(crate) const fn polling_reason(&self) -> Option<&WatchError> {
        self.polling_reason.as_ref()
    }
}

impl<F, E> Worker<F>
where
    F: FnMut(&str) -> Result<(), E>,
    E: Display,
{
    fn run(mut self) {
        loop {
            match self.rings.recv_timeout(self.schedule.wait(now())) {
                Ok(()) => self.schedule.note_event(now()),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.shared.is_stopping.load(Ordering::Acquire) {
                return;
            }
            if self.schedule.wait(now()).is_zero() {
                self.look();
            }
        }
    }

    /// Listens first and reads then, so that no change falls between. Which other files the text names is known afterwards:
    /// another look follows, after listening to these.
    fn look(&mut self) {
        self.schedule.note_look(now());
        let path = Arc::clone(self.file.path());
        let heard = self.listen();
        let wanted = self.directories();
        let event = self.text.look(&path, self.file.read(), &mut self.on_change);
        if self.directories() != wanted {
            self.schedule.note_event(now());
        }
        let polling_reason = heard.err().map(|error| WatchError::unwatchable(&path, error));
        self.note(event.as_ref(), polling_reason);
        if let Some(event) = event {
            (self.observer)(&event);
        }
    }

    /// Watches the directories that the paths lead through. Looks for them again afterwards: the path may have come to lead
    /// elsewhere before it was listened to.
    fn listen(&mut self) -> Result<(), notify::Error> {
        let mut wanted = self.directories();
        let mut result = Ok(());
        for _ in 0..MOST_LISTENS {
            result = self.directories.follow(wanted.clone());
            let found = self.directories();
            if found == wanted {
                break;
            }
            wanted = found;
        }
        result
    }

    /// Returns the directories in which a change can be one of the file, or of those that it names.
    fn directories(&self) -> BTreeSet<PathBuf> {
        let others = self.text.others().filter_map(|path| WatchedFile::new(&path).ok());
        others.fold(self.file.directories(), |all, other| &all | &other.directories())
    }

    fn note(&self, event: Option<&WatchEvent>, polling_reason: Option<WatchError>) {
        let mut status = self.shared.status.lock();
        match event {
            Some(WatchEvent::Taken) => status.loaded += 1,
            Some(WatchEvent::Failed(_)) => status.failed += 1,
            Some(WatchEvent::Recovered) | None => (),
        }
        status.last_error = self.text.error().cloned();
        status.polling_reason = polling_reason;
    }
}

fn now() -> Timestamp {
    Timestamp::read(&SystemClock::new())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File, OpenOptions},
        io::Write,
        path::PathBuf,
        sync::mpsc::{Sender, channel},
    };

    use tempfile::{TempDir, tempdir};

    use super::*;

    /// Far more than anything takes here, and less than a poll.
    const PATIENCE: Duration = Duration::from_secs(60);
    const NEVER: Duration = Duration::from_secs(24 * 3600);

    /// What a watcher has told.
    #[derive(Debug, PartialEq, Eq)]
    enum Told {
        Tried(String),
        Event(WatchEvent),
    }

    /// A folder with a watched file. Texts that end in `!` are taken.
    struct Scene {
        folder: TempDir,
        told: Receiver<Told>,
        watcher: Option<FileWatcher>,
    }

    impl Scene {
        /// Has a folder prepared, and watches its file `rules`.
        fn new(prepare: impl FnOnce(&Path)) -> Self {
            Self::watching("rules", prepare)
        }

        fn watching(name: &str, prepare: impl FnOnce(&Path)) -> Self {
            let folder = tempdir().unwrap();
            prepare(folder.path());
            let (tell, told) = channel();
            let settings = settings(tell.clone());
            let watcher = FileWatcher::start(folder.path().join(name), settings, move |text| try_text(&tell, text));
            Self { folder, told, watcher: Some(watcher.unwrap()) }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn status(&self) -> WatchStatus {
            self.watcher.as_ref().unwrap().status()
        }

        fn error(&self) -> String {
            self.status().last_error().unwrap().to_string()
        }

        /// Waits until a text is tried, and returns what was tried until then.
        fn until_tried(&self, text: &str) -> Vec<String> {
            let mut tried = Vec::new();
            while tried.last().map(String::as_str) != Some(text) {
                if let Told::Tried(text) = self.told.recv_timeout(PATIENCE).unwrap() {
                    tried.push(text);
                }
            }
            tried
        }

        fn until(&self, wanted: impl Fn(&WatchEvent) -> bool) {
            while !matches!(self.told.recv_timeout(PATIENCE).unwrap(), Told::Event(event) if wanted(&event)) {}
        }

        fn until_taken(&self, text: &str) {
            self.until_tried(text);
            self.until(|event| *event == WatchEvent::Taken);
        }

        /// Another file takes the place of this one at once.
        fn replace(&self, name: &str, text: &str) {
            write_whole(&self.at(name), text);
        }
    }

    fn settings(tell: Sender<Told>) -> WatchSettings {
        WatchSettings::default().debounce(Duration::from_millis(1)).poll(NEVER).observer(move |event| {
            let _ = tell.send(Told::Event(event.clone()));
        })
    }

    fn try_text(tell: &Sender<Told>, text: &str) -> Result<(), String> {
        tell.send(Told::Tried(text.to_owned())).unwrap();
        if text.ends_with('!') { Ok(()) } else { Err(format!("{text} is half a text")) }
    }

    fn write_whole(path: &Path, text: &str) {
        let draft = path.with_extension("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, path).unwrap();
    }

    fn with_one(folder: &Path) {
        write_whole(&folder.join("rules"), "one!");
    }

    const fn is_failed(event: &WatchEvent) -> bool {
        matches!(event, WatchEvent::Failed(_))
    }

    #[test]
    fn the_first_text_is_taken_before_the_watcher_is_there() {
        let scene = Scene::new(with_one);
        assert_eq!(scene.told.try_recv(), Ok(Told::Tried("one!".to_owned())));
        assert_eq!(scene.told.try_recv(), Ok(Told::Event(WatchEvent::Taken)));
        let status = scene.status();
        assert_eq!((status.loaded(), status.failed(), status.last_error()), (1, 0, None));
        assert_eq!(status.polling_reason(), None);
    }

    #[test]
    fn a_file_that_another_is_renamed_to_is_taken_and_the_same_text_is_not() {
        let scene = Scene::new(with_one);
        scene.replace("rules", "two!");
        scene.until_taken("two!");
        scene.replace("rules", "two!");
        scene.replace("other", "of no matter!");
        scene.replace("rules", "three!");
        assert_eq!(scene.until_tried("three!"), ["three!"]);
        scene.until(|event| *event == WatchEvent::Taken);
        assert_eq!(scene.status().loaded(), 3);
    }

    #[test]
    fn a_file_that_is_written_slowly_is_taken_when_it_is_whole() {
        let scene = Scene::new(with_one);
        let mut file = File::create(scene.at("rules")).unwrap();
        file.write_all(b"tw").unwrap();
        scene.until_tried("tw");
        scene.until(is_failed);
        assert!(scene.error().ends_with("rules: tw is half a text"));
        assert_eq!(scene.status().loaded(), 1);
        file.write_all(b"o!").unwrap();
        scene.until_taken("two!");
        assert_eq!((scene.status().loaded(), scene.status().last_error()), (2, None));
    }

    #[test]
    fn a_file_that_is_added_to_in_place_is_taken() {
        let scene = Scene::new(with_one);
        OpenOptions::new().append(true).open(scene.at("rules")).unwrap().write_all(b" two!").unwrap();
        scene.until_taken("one! two!");
    }

    #[test]
    fn a_file_that_is_deleted_and_created_again_is_an_error_in_between() {
        let scene = Scene::new(with_one);
        fs::remove_file(scene.at("rules")).unwrap();
        scene.until(is_failed);
        assert!(scene.error().contains("the file cannot be read"));
        scene.replace("rules", "one!");
        scene.until(|event| *event == WatchEvent::Recovered);
        assert_eq!((scene.status().loaded(), scene.status().last_error()), (1, None));
        scene.replace("rules", "two!");
        scene.until_taken("two!");
    }

    #[test]
    fn a_directory_that_is_deleted_and_created_again_is_watched_again() {
        let scene = Scene::watching("a/b/rules", |_| ());
        for text in ["one!", "two!"] {
            fs::create_dir_all(scene.at("a/b")).unwrap();
            scene.replace("a/b/rules", text);
            scene.until_taken(text);
            fs::remove_dir_all(scene.at("a")).unwrap();
            scene.until(is_failed);
        }
    }

    #[test]
    fn a_directory_in_whose_place_another_is_moved_is_watched() {
        let scene = Scene::watching("a/rules", |folder| {
            for (name, text) in [("a", "one!"), ("b", "two!")] {
                fs::create_dir(folder.join(name)).unwrap();
                write_whole(&folder.join(name).join("rules"), text);
            }
        });
        fs::rename(scene.at("a"), scene.at("old")).unwrap();
        fs::rename(scene.at("b"), scene.at("a")).unwrap();
        scene.until_taken("two!");
        scene.replace("a/rules", "three!");
        scene.until_taken("three!");
        // The end of the directory that was watched first does not end the watch of the one in its place.
        fs::remove_dir_all(scene.at("old")).unwrap();
        scene.replace("a/rules", "four!");
        scene.until_taken("four!");
    }

    #[test]
    fn a_file_that_comes_later_than_the_watcher_is_taken() {
        let scene = Scene::new(|_| ());
        assert!(scene.error().contains("the file cannot be read"));
        scene.replace("rules", "one!");
        scene.until_taken("one!");
        assert_eq!((scene.status().loaded(), scene.status().failed()), (1, 1));
    }

    #[test]
    fn a_bad_file_at_first_is_in_the_status() {
        let scene = Scene::new(|folder| write_whole(&folder.join("rules"), "bad"));
        assert!(scene.error().ends_with("rules: bad is half a text"));
        scene.replace("rules", "good!");
        scene.until_taken("good!");
    }

    #[test]
    fn an_empty_path_cannot_be_watched() {
        let refused = FileWatcher::start("", WatchSettings::default(), |_| Ok::<_, String>(()));
        assert!(refused.unwrap_err().to_string().contains("the file cannot be watched"));
    }

    #[test]
    fn a_dropped_watcher_lets_go_of_the_closure() {
        let mut scene = Scene::new(with_one);
        scene.watcher = None;
        assert_eq!(scene.told.iter().count(), 2, "the channel ends with the closure and the observer");
    }

    #[test]
    fn the_closure_may_drop_its_own_watcher() {
        let folder = tempdir().unwrap();
        with_one(folder.path());
        let own: Arc<Mutex<Option<FileWatcher>>> = Arc::default();
        let (tell, told) = channel();
        let owner = Arc::clone(&own);
        let watcher = FileWatcher::start(folder.path().join("rules"), settings(tell.clone()), move |text| {
            drop(owner.lock().take());
            try_text(&tell, text)
        });
        *own.lock() = Some(watcher.unwrap());
        write_whole(&folder.path().join("rules"), "two!");
        while told.recv_timeout(PATIENCE).is_ok() {}
        assert!(own.lock().is_none());
        assert!(told.recv().is_err(), "the thread has ended");
    }

    #[cfg(unix)]
    mod links {
        use std::os::unix::fs::symlink;

        use super::*;

        /// Lets a symbolic link lead elsewhere, in one step.
        fn lead(link: &Path, target: &str) {
            let draft = link.with_file_name("draft");
            symlink(target, &draft).unwrap();
            fs::rename(draft, link).unwrap();
        }

        /// Writes a version of a ConfigMap, as the kubelet does.
        fn publish(folder: &Path, version: &str, text: &str) {
            fs::create_dir(folder.join(version)).unwrap();
            fs::write(folder.join(version).join("rules"), text).unwrap();
            lead(&folder.join("..data"), version);
        }

        #[test]
        fn a_config_map_is_followed_from_version_to_version() {
            let scene = Scene::new(|folder| {
                publish(folder, "..1", "one!");
                symlink("..data/rules", folder.join("rules")).unwrap();
            });
            for (old, new, text) in [("..1", "..2", "two!"), ("..2", "..3", "three!"), ("..3", "..4", "four!")] {
                publish(scene.folder.path(), new, text);
                scene.until_taken(text);
                fs::remove_dir_all(scene.at(old)).unwrap();
            }
            assert_eq!((scene.status().loaded(), scene.status().failed()), (4, 0));
        }

        #[test]
        fn a_file_behind_links_is_followed_where_it_is() {
            let scene = Scene::new(|folder| {
                for version in ["srv/1", "srv/2", "etc"] {
                    fs::create_dir_all(folder.join(version)).unwrap();
                }
                write_whole(&folder.join("srv/1/rules"), "one!");
                write_whole(&folder.join("srv/2/rules"), "two!");
                symlink("1", folder.join("srv/current")).unwrap();
                symlink("../srv/current/rules", folder.join("etc/rules")).unwrap();
                symlink("etc/rules", folder.join("rules")).unwrap();
            });
            scene.replace("srv/1/rules", "one again!");
            scene.until_taken("one again!");
            lead(&scene.at("srv/current"), "2");
            scene.until_taken("two!");
            scene.replace("srv/2/rules", "two again!");
            scene.until_taken("two again!");
            scene.replace("etc/rules", "no link!");
            scene.until_taken("no link!");
        }
    }
}
