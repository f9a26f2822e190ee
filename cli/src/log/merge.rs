//! Several logs as one.

use crate::{
    failure::Failure,
    log::{Escape, Layout, LogFile, Record, UnreadableLines},
};

/// Several logs, merged by the times of their requests.
pub(crate) struct Merge {
    logs: Vec<(LogFile, Option<Record>)>,
    pub(crate) layout: Layout,
    pub(crate) seen: UnreadableLines,
    has_begun: bool,
}

impl Merge {
    pub(crate) fn new(logs: Vec<LogFile>, layout: Layout) -> Self {
        let logs = logs.into_iter().map(|log| (log, None)).collect();
        Self { logs, layout, seen: UnreadableLines::default(), has_begun: false }
    }

    /// Returns the earliest request of all logs, and how its fields are escaped.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(Record, Escape)>, Failure> {
        if let [(log, _)] = &mut *self.logs {
            let record = log.next(&mut self.layout, &mut self.seen)?;
            return Ok(record.map(|record| (record, log.escape())));
        }
        if !self.has_begun {
            self.has_begun = true;
            for (log, first) in &mut self.logs {
                *first = log.next(&mut self.layout, &mut self.seen)?;
            }
        }
        let heads = self.logs.iter_mut().filter(|(_, head)| head.is_some());
        let earliest = heads.min_by_key(|(_, head)| head.as_ref().map(|record| record.time));
        let Some((log, head)) = earliest else { return Ok(None) };
        let next = log.next(&mut self.layout, &mut self.seen)?;
        let escape = log.escape();
        Ok(std::mem::replace(head, next).map(|record| (record, escape)))
    }

    /// Returns the names of the formats, each once.
    pub(crate) fn formats(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.logs.iter().map(|(log, _)| log.format().name()).collect();
        names.dedup();
        names
    }

    /// Returns `true` if some log may have a field at this place.
    pub(crate) fn may_have(&self, place: usize) -> bool {
        self.logs.iter().any(|(log, _)| log.format().may_have(place))
    }
}
