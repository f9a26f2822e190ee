//! Follows a file whose text changes (feature `watch`), and the files that it names.
//!
//! [`FileWatcher`] calls a closure with each new text of a file. A thread of its own waits for events in the directories that
//! the path leads through, and looks at the file when they have been quiet for a while. Nothing depends on the kind of an
//! event, nor on its arrival: what counts is whether the text differs from the one that was taken last, and the file is looked
//! at every 30 seconds anyway. So all of these are seen:
//!
//! * an editor that writes the file in place, or writes another one and renames it;
//! * a Kubernetes ConfigMap, where the link `..data` beside the file is replaced (but not one that is mounted by `subPath`,
//!   which never changes);
//! * a file that is deleted and created again, and its directory;
//! * a file on a network file system, which has no events.
//!
//! The parts that need neither a thread nor a file are pure: [`Schedule`](schedule::Schedule) says when to look, and
//! [`WatchedText`](watched_text::WatchedText) what to make of the text.

mod directories;
mod file_watcher;
mod schedule;
mod watch_error;
mod watched_file;
mod watched_text;

pub use file_watcher::WatchSettings;
pub(crate) use file_watcher::{FileWatcher, WatchStatus};
pub use watch_error::WatchError;
pub use watched_text::WatchEvent;
