//! What is known of the texts of a file, and of the files that it names.

use std::{
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::config::{
    files::{ReadFile, recorded},
    watch::WatchError,
};

/// The text of a file that was taken last, and what has become of the file since.
#[derive(Default)]
pub(super) struct WatchedText {
    taken: Option<Tried>,
    refused: Option<Refused>,
    error: Option<WatchError>,
}

/// A text that was tried, and the other files that were read for it. It is another text if one of these has changed.
struct Tried {
    text: String,
    others: Vec<ReadFile>,
}

/// A text that was tried and not taken: not tried again until there is another.
struct Refused {
    tried: Tried,
    error: WatchError,
}

/// Something to tell about a watched file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// A new text was taken.
    Taken,
    /// The file or its new text cannot be used. What was taken before stays in force.
    Failed(WatchError),
    /// The file has the text again that was taken last, after it had failed.
    Recovered,
}

impl WatchedText {
    /// Compares what was read with what is known, and tries it with `take` if it is new.
    ///
    /// Returns what there is to tell: nothing if the file is as it was at the last look.
    pub(super) fn look<F, E>(
        &mut self,
        path: &Arc<Path>,
        read: Result<String, WatchError>,
        take: F,
    ) -> Option<WatchEvent>
    where
        F: FnOnce(&str) -> Result<(), E>,
        E: Display,
    {
        match read {
            Err(error) => self.fail(error),
            Ok(text) if self.taken.as_ref().is_some_and(|taken| taken.is_still(&text)) => self.recover(),
            Ok(text) => match self.refusal_of(&text) {
                Some(error) => self.fail(error),
                None => Some(self.attempt(path, text, take)),
            },
        }
    }

    /// Returns why the file is not in force as it is, if it is not.
    pub(super) const fn error(&self) -> Option<&WatchError> {
        self.error.as_ref()
    }

    /// Returns the paths of the other files that were read, when a text was taken last and when one was refused since.
    pub(super) fn others(&self) -> impl Iterator<Item = PathBuf> {
        let tried = self.taken.iter().chain(self.refused.iter().map(|refused| &refused.tried));
        tried.flat_map(|tried| &tried.others).filter_map(ReadFile::place)
    }

    fn fail(&mut self, error: WatchError) -> Option<WatchEvent> {
        let is_new = self.error.as_ref() != Some(&error);
        self.error = Some(error.clone());
        is_new.then_some(WatchEvent::Failed(error))
    }

    fn recover(&mut self) -> Option<WatchEvent> {
        self.refused = None;
        self.error.take().map(|_| WatchEvent::Recovered)
    }

    fn refusal_of(&self, text: &str) -> Option<WatchError> {
        self.refused.as_ref().filter(|refused| refused.tried.is_still(text)).map(|refused| refused.error.clone())
    }

    fn attempt<F, E>(&mut self, path: &Arc<Path>, text: String, take: F) -> WatchEvent
    where
        F: FnOnce(&str) -> Result<(), E>,
        E: Display,
    {
        // Whatever the closure has broken is its own: nothing here is touched while it runs.
        let take = AssertUnwindSafe(|| take(&text).map_err(|error| error.to_string()));
        let (outcome, others) = recorded(|| catch_unwind(take));
        let tried = Tried { text, others };
        let problem = match outcome {
            Ok(Ok(())) => {
                *self = Self { taken: Some(tried), ..Self::default() };
                return WatchEvent::Taken;
            }
            Ok(Err(reason)) => WatchError::refused(path, reason),
            Err(_) => WatchError::refused(path, "taking the file over panicked"),
        };
        self.error = Some(problem.clone());
        self.refused = Some(Refused { tried, error: problem.clone() });
        WatchEvent::Failed(problem)
    }
}

impl Tried {
    /// Returns `true` if the file has this text, and the others are as they were.
    fn is_still(&self, text: &str) -> bool {
        self.text == text && self.others.iter().all(ReadFile::is_unchanged)
    }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use parking_lot::Mutex;

    use super::*;
    use crate::{
        clock::Timestamp,
        config::{files::Files, watch::schedule::Schedule},
    };

    /// A watched text, and what was tried. Texts that end in `!` are taken.
    struct Trial {
        path: Arc<Path>,
        text: WatchedText,
        tried: Vec<String>,
    }

    impl Trial {
        fn new() -> Self {
            Self { path: Path::new("rules.toml").into(), text: WatchedText::default(), tried: Vec::new() }
        }

        fn read(&mut self, text: &str) -> Option<WatchEvent> {
            self.look(Ok(text.to_owned()))
        }

        fn miss(&mut self) -> Option<WatchEvent> {
            let error = WatchError::unreadable(&self.path, &io::Error::from(io::ErrorKind::NotFound));
            self.look(Err(error))
        }

        fn look(&mut self, read: Result<String, WatchError>) -> Option<WatchEvent> {
            let Self { path, text, tried } = self;
            text.look(path, read, |text| {
                tried.push(text.to_owned());
                if text.ends_with('!') { Ok(()) } else { Err(format!("{text} is half a text")) }
            })
        }

        fn error(&self) -> Option<String> {
            self.text.error().map(ToString::to_string)
        }
    }

    const fn is_failed(event: Option<&WatchEvent>) -> bool {
        matches!(event, Some(WatchEvent::Failed(_)))
    }

    #[test]
    fn a_text_is_tried_once_however_often_it_is_seen() {
        let mut trial = Trial::new();
        assert_eq!(trial.read("one!"), Some(WatchEvent::Taken));
        assert_eq!((trial.read("one!"), trial.read("one!")), (None, None));
        assert_eq!(trial.read("two!"), Some(WatchEvent::Taken));
        assert_eq!(trial.tried, ["one!", "two!"]);
    }

    #[test]
    fn a_refused_text_keeps_its_error_until_a_good_one_comes() {
        let mut trial = Trial::new();
        trial.read("one!");
        assert!(is_failed(trial.read("tw").as_ref()));
        assert_eq!(trial.error().unwrap(), "rules.toml: tw is half a text");
        assert_eq!(trial.read("tw"), None);
        assert_eq!(trial.read("two!"), Some(WatchEvent::Taken));
        assert_eq!(trial.error(), None);
        assert_eq!(trial.tried, ["one!", "tw", "two!"]);
    }

    #[test]
    fn a_missing_file_is_told_once_and_recovers_without_being_taken_again() {
        let mut trial = Trial::new();
        trial.read("one!");
        assert!(is_failed(trial.miss().as_ref()));
        assert_eq!(trial.miss(), None);
        assert!(trial.error().unwrap().starts_with("rules.toml: the file cannot be read: "));
        assert_eq!(trial.read("one!"), Some(WatchEvent::Recovered));
        assert_eq!((trial.error(), trial.tried.len()), (None, 1));
    }

    #[test]
    fn a_refused_text_that_was_missing_for_a_moment_is_not_tried_again() {
        let mut trial = Trial::new();
        trial.read("bad");
        let refusal = trial.error();
        assert!(is_failed(trial.miss().as_ref()));
        assert!(is_failed(trial.read("bad").as_ref()));
        assert_eq!((trial.error(), trial.tried.len()), (refusal, 1));
    }

    #[test]
    fn a_text_is_tried_again_when_a_file_that_it_names_has_changed() {
        let other = Arc::new(Mutex::new("one!"));
        let files = Arc::clone(&other);
        let files = Files::By(Arc::new(move |_| Ok(files.lock().as_bytes().to_vec())));
        let (path, mut text) = (Path::new("rules.toml").into(), WatchedText::default());
        let mut look = || {
            text.look(&path, Ok("the same".to_owned()), |_| {
                let other = String::from_utf8(files.read("other").unwrap()).unwrap();
                if other.ends_with('!') { Ok(()) } else { Err(format!("{other} is half a text")) }
            })
        };
        assert_eq!((look(), look()), (Some(WatchEvent::Taken), None));
        *other.lock() = "two!";
        assert_eq!((look(), look()), (Some(WatchEvent::Taken), None));
        *other.lock() = "thr";
        assert!(is_failed(look().as_ref()) && look().is_none());
        *other.lock() = "two!";
        assert_eq!((look(), look()), (Some(WatchEvent::Recovered), None));
        *other.lock() = "three!";
        assert_eq!((look(), look()), (Some(WatchEvent::Taken), None));
    }

    #[test]
    fn going_back_to_the_taken_text_makes_the_file_good() {
        let mut trial = Trial::new();
        trial.read("one!");
        trial.read("bad");
        assert_eq!(trial.read("one!"), Some(WatchEvent::Recovered));
        assert_eq!(trial.error(), None);
        assert!(is_failed(trial.read("bad").as_ref()), "it is another attempt, and told");
        assert_eq!(trial.tried, ["one!", "bad", "bad"]);
    }

    #[test]
    fn an_empty_file_is_a_text_like_others() {
        let mut trial = Trial::new();
        assert!(is_failed(trial.read("").as_ref()));
        assert_eq!(trial.tried, [""]);
    }

    #[test]
    fn a_panic_of_the_closure_is_an_error() {
        let mut trial = Trial::new();
        let event = trial.text.look(&trial.path, Ok("one!".to_owned()), |_| -> Result<(), String> { panic!("no") });
        assert!(is_failed(event.as_ref()));
        assert_eq!(trial.error().unwrap(), "rules.toml: taking the file over panicked");
        assert_eq!(trial.read("one!"), None);
        assert_eq!(trial.read("two!"), Some(WatchEvent::Taken));
    }

    /// A minute of looks at a file that changes and has no events.
    #[test]
    fn a_file_without_events_is_taken_by_the_next_poll() {
        let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        let mut schedule = Schedule::new(Duration::from_millis(250), Duration::from_secs(30), at(0));
        let mut trial = Trial::new();
        let mut taken_at = Vec::new();
        for second in 0..=60 {
            if schedule.wait(at(second)).is_zero() {
                schedule.note_look(at(second));
                let file = if second < 40 { "one!" } else { "two!" };
                assert_eq!(trial.read(file), Some(WatchEvent::Taken));
                taken_at.push(second);
            }
        }
        assert_eq!((taken_at, trial.tried), (vec![30, 60], vec!["one!".to_owned(), "two!".to_owned()]));
    }
}
