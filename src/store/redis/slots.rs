//! Which node of a cluster has which slot.

use std::sync::Arc;

use redis::Value;

use crate::store::redis::node::Node;

pub(super) const SLOTS: usize = 16_384;

/// Slots, and who has them.
#[derive(Debug)]
pub(super) struct Slots {
    owners: Vec<Option<Arc<Node>>>,
}

/// A run of slots, and the host and port of their master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) address: (String, u16),
}

/// Nodes that have slots, each once, and one slot of each.
pub(super) type Masters = Vec<(Arc<Node>, u16)>;

impl Slots {
    pub(super) fn new(ranges: impl IntoIterator<Item = (Range, Arc<Node>)>) -> Self {
        let mut owners = vec![None; SLOTS];
        for (range, node) in ranges {
            if let Some(run) = owners.get_mut(usize::from(range.first)..=usize::from(range.last)) {
                run.fill(Some(node));
            }
        }
        Self { owners }
    }

    pub(super) fn owner(&self, slot: u16) -> Option<&Arc<Node>> {
        self.owners.get(usize::from(slot))?.as_ref()
    }

    /// Notes that a slot has gone to another node.
    pub(super) fn give(&mut self, slot: u16, node: Arc<Node>) {
        if let Some(owner) = self.owners.get_mut(usize::from(slot)) {
            *owner = Some(node);
        }
    }

    pub(super) fn masters(&self) -> Masters {
        let mut masters = Masters::new();
        for (slot, owner) in (0..).zip(&self.owners) {
            let Some(owner) = owner else { continue };
            if !masters.iter().rev().any(|(master, _)| Arc::ptr_eq(master, owner)) {
                masters.push((Arc::clone(owner), slot));
            }
        }
        masters
    }

    /// How many slots nobody has.
    pub(super) fn unserved(&self) -> usize {
        self.owners.iter().filter(|owner| owner.is_none()).count()
    }
}

/// The slot of a key, by what stands in its braces.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}').filter(|close| *close > 0)?;
        rest.get(..close)
    });
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key)) % SLOTS as u16
}

/// Reads the answer to `CLUSTER SLOTS`. A node that does not know its own host is meant to be where it was asked.
pub(super) fn ranges(answer: &Value, asked: &str) -> Option<Vec<Range>> {
    let Value::Array(entries) = answer else { return None };
    entries.iter().map(|entry| range(entry, asked)).collect()
}

fn range(entry: &Value, asked: &str) -> Option<Range> {
    let Value::Array(entry) = entry else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = entry.as_slice() else { return None };
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        _ => "",
    };
    let host = if host.is_empty() || host == "?" { asked } else { host };
    let slot = |slot: &i64| u16::try_from(*slot).ok().filter(|slot| usize::from(*slot) < SLOTS);
    let (first, last) = (slot(first)?, slot(last)?);
    Some(Range { first, last, address: (host.to_owned(), u16::try_from(*port).ok()?) }).filter(|_| first <= last)
}

/// Takes an address of a redirection apart, in which the host may be missing: then it is where it was asked.
pub(super) fn host_and_port(address: &str, asked: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() || host == "?" { asked } else { host };
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Value {
        redis::parse_redis_value(text.replace(' ', "\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn a_slot_is_that_of_the_tag_or_else_of_the_whole_key() {
        // By CLUSTER KEYSLOT of a real server.
        let slots = ["123456789", "foo", "{foo}bar", "a{foo}{bar}", "{}foo", "foo{", "foo{}{bar}"]
            .map(|key| slot_of(key.as_bytes()));
        assert_eq!(slots, [12739, 12182, 12182, 12182, 9500, 7673, 8363]);
    }

    #[test]
    fn ranges_are_read_and_who_does_not_know_its_host_is_where_it_was_asked() {
        let text = "*3 *3 :0 :5 *3 $3 ::1 :6381 $2 id *3 :6 :6 *2 $0  :6382 *3 :7 :16383 *2 $-1 :6383 ";
        let ranges = ranges(&answer(text), "here").unwrap();
        let told: Vec<_> =
            ranges.iter().map(|range| (range.first, range.last, range.address.0.as_str(), range.address.1)).collect();
        assert_eq!(told, [(0, 5, "::1", 6381), (6, 6, "here", 6382), (7, 16383, "here", 6383)]);
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for text in [
            "*1 *2 :0 :5 ",
            "*1 *3 :0 :16384 *2 $1 a :1 ",
            "*1 *3 :5 :4 *2 $1 a :1 ",
            "*1 *3 :0 :4 *2 $1 a :70000 ",
            ":1 ",
        ] {
            assert_eq!(ranges(&answer(text), "here"), None, "{text}");
        }
    }

    #[test]
    fn an_address_of_a_redirection_may_lack_its_host() {
        assert_eq!(host_and_port("[::1]:6381", "here"), Some(("::1".to_owned(), 6381)));
        assert_eq!(host_and_port("::1:6381", "here"), Some(("::1".to_owned(), 6381)));
        assert_eq!(host_and_port(":6381", "here"), Some(("here".to_owned(), 6381)));
        assert_eq!(host_and_port("nowhere", "here"), None);
    }
}
