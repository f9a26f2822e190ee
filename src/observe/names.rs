//! The names of keys that were denied, which their hashes do not tell.

use std::{collections::BTreeMap, fmt};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::key::{Key, RawParts, Text};

/// Bytes of a part of a key that are remembered.
const MAX_PART: usize = 128;

/// The names of the keys that were denied last, up to a number of them.
#[derive(Default)]
pub(super) struct Names {
    most: usize,
    kept: Mutex<Kept>,
}

/// Names by their keys, and keys by the time of their last denial.
#[derive(Default)]
struct Kept {
    by_key: HashMap<Key, (u64, Box<str>)>,
    by_age: BTreeMap<u64, Key>,
    denials: u64,
}

impl Names {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    pub(super) const fn is_on(&self) -> bool {
        self.most > 0
    }

    /// Remembers the name of a key that was denied just now, if the key does not tell it. The one that was denied longest ago is
    /// forgotten for it.
    pub(super) fn remember(&self, key: Key, parts: &RawParts) {
        if !self.is_on() || !matches!(key.text(), Text::Hash(_)) {
            return;
        }
        let mut kept = self.kept.lock();
        let Kept { by_key, by_age, denials } = &mut *kept;
        *denials += 1;
        if let Some((age, _)) = by_key.get_mut(&key) {
            by_age.remove(age);
            *age = *denials;
        } else {
            if by_key.len() >= self.most
                && let Some((_, oldest)) = by_age.pop_first()
            {
                by_key.remove(&oldest);
            }
            by_key.insert(key, (*denials, name(parts).into()));
        }
        by_age.insert(*denials, key);
    }

    /// Returns the name of a key, if it is remembered or the key itself tells it.
    pub(super) fn get(&self, key: Key) -> Option<String> {
        match key.text() {
            Text::Shared => None,
            Text::Part(part) => Some(part.escape_ascii().to_string()),
            Text::Hash(_) => self.kept.lock().by_key.get(&key).map(|(_, name)| name.to_string()),
        }
    }
}

/// Returns the parts of a key as one text, of which long parts are cut off: a name is for people, and takes bounded memory.
fn name(parts: &RawParts) -> String {
    let part = |part: &[u8]| match part.get(..MAX_PART) {
        Some(begin) if part.len() > MAX_PART => format!("{}...", begin.escape_ascii()),
        _ => part.escape_ascii().to_string(),
    };
    let parts: Vec<String> = parts.iter().map(|bytes| part(bytes)).collect();
    parts.join("/")
}

impl fmt::Debug for Names {
    /// Shows none of them: they identify users.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("most", &self.most).finish_non_exhaustive()
    }
}
