//! The directories whose events are heard.

use std::{collections::BTreeSet, path::PathBuf, sync::mpsc::SyncSender};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};

/// The directories that the system reports changes of.
#[derive(Debug)]
pub(super) struct Directories {
    /// None until the system grants one: its number is limited on Linux.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    bell: SyncSender<()>,
}

impl Directories {
    /// No directories yet. Each event rings the `bell`, unless that has been rung and not heard.
    pub(super) const fn new(bell: SyncSender<()>) -> Self {
        Self { watcher: None, watched: BTreeSet::new(), bell }
    }

    /// Watches these directories and no others.
    ///
    /// Each is added anew: another directory may have taken its name. Fails if one cannot be watched; others are.
    pub(super) fn follow(&mut self, wanted: BTreeSet<PathBuf>) -> Result<(), notify::Error> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => self.watcher.insert(listener(self.bell.clone())?),
        };
        for old in self.watched.difference(&wanted) {
            // It fails for a directory that is gone, of which there is nothing to hear.
            let _ = watcher.unwatch(old);
        }
        let mut result = Ok(());
        for directory in &wanted {
            result = watcher.watch(directory, RecursiveMode::NonRecursive).and(result);
        }
        self.watched = wanted;
        result
    }
}

fn listener(bell: SyncSender<()>) -> Result<RecommendedWatcher, notify::Error> {
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        if may_change_a_file(&event) {
            // It fails if the bell has been rung already, or nobody listens any more.
            let _ = bell.try_send(());
        }
    })
}

/// Whether a file may have changed. Reading one is an event too, and each look at the file would lead to another.
const fn may_change_a_file(event: &notify::Result<Event>) -> bool {
    match event {
        Ok(Event { kind: EventKind::Access(access), .. }) => matches!(access, AccessKind::Close(AccessMode::Write)),
        Ok(_) | Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{Flag, ModifyKind, RemoveKind};

    use super::*;

    #[test]
    fn reading_a_file_does_not_change_it_and_all_else_may() {
        let may = |kind| may_change_a_file(&Ok(Event::new(kind)));
        for reading in
            [AccessKind::Any, AccessKind::Read, AccessKind::Open(AccessMode::Any), AccessKind::Close(AccessMode::Read)]
        {
            assert!(!may(EventKind::Access(reading)));
        }
        for kind in [
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Modify(ModifyKind::Any),
            EventKind::Remove(RemoveKind::Folder),
            EventKind::Any,
        ] {
            assert!(may(kind));
        }
        assert!(may_change_a_file(&Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))), "events were lost");
        assert!(may_change_a_file(&Err(notify::Error::generic("overflow"))));
    }
}
