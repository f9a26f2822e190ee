//! Names of keys on the server, and their hash slots.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::{
    key::{Charge, Text},
    store::Scope,
};

/// Hash slots of a cluster.
pub(super) const HASH_SLOTS: usize = 16_384;

/// Bytes that are escaped in key names: those that would end a part of the name, and those that upset terminals.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%').add(b'*').add(b':').add(b'{').add(b'}').add(b'~');

/// Returns the name of a history: `prefix:{tag}:rule:level:key`, with the rule's name in lower case. So it is the same in all
/// processes that have a rule of this name and level.
///
/// A key of one short part is readable in it; all others are hashed, with a `~` in front. The hash tag decides the slot of
/// the history in a cluster, and is the same for all keys with the same first part. Braces in a client's text are escaped.
pub(super) fn key_name(prefix: &str, scope: &Scope, charge: &Charge) -> String {
    let mut name = format!("{prefix}:{{{:08x}}}:", charge.tenant());
    for part in scope.identity().split('\n') {
        let _ = write!(name, "{}:", percent_encode(part.as_bytes(), ESCAPED));
    }
    let _ = match charge.key.text() {
        Text::Shared => name.write_char('*'),
        Text::Part(part) => write!(name, "{}", percent_encode(&part, ESCAPED)),
        Text::Hash(hash) => write!(name, "~{}", URL_SAFE_NO_PAD.encode(hash)),
    };
    name
}

/// Returns the name of a history that belongs to no rule, to try the server with; in `slot` if one is given.
pub(super) fn probe_key_name(prefix: &str, slot: Option<u16>) -> String {
    let number = fastrand::u32(..);
    let is_there = |tag: &u32| slot.is_none_or(|slot| hash_slot(format!("{{{tag:08x}}}").as_bytes()) == slot);
    let tag = (0..u32::MAX).find(is_there).unwrap_or_default();
    format!("{prefix}:{{{tag:08x}}}::{number:08x}")
}

/// Returns the hash slot of a key: that of its hash tag, which stands in braces, or else of the whole key.
pub(super) fn hash_slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}').filter(|close| *close > 0)?;
        rest.get(..close)
    });
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key)) % HASH_SLOTS as u16
}

/// Returns the hash slot of all histories of a tenant.
pub(super) fn hash_slot_of_tenant(tenant: u32) -> u16 {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // No prefix has braces, so the tag alone decides.
    hash_slot(&std::array::from_fn::<u8, 8, _>(|at| DIGITS[(tenant >> (28 - 4 * at)) as usize & 15]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Registration;
    use crate::{
        key::{KeyBuilder, KeyHasher, KeyParts},
        policy::Policy,
        store::Scopes,
    };

    fn named_in(scope: &str, charge: &Charge) -> String {
        let scopes = Scopes::default();
        scopes.register(&Registration::counting_requests(scope, &[Policy::per_minute(1)])).unwrap();
        key_name("quota", scopes.get(0).unwrap(), charge)
    }

    fn named(parts: &[&[u8]]) -> String {
        let hasher = KeyHasher::with_secret([7; 32]);
        let mut key = KeyBuilder::new(&hasher);
        parts.iter().for_each(|part| key.part(part));
        named_in("bots GET /x/{id}", key.charge())
    }

    #[test]
    fn a_short_key_can_be_read() {
        let name = named(&[b"acme"]);
        assert_eq!(name, "quota:{d67567e8}:bots%20GET%20/x/%7Bid%7D:acme");
    }

    #[test]
    fn a_level_has_names_of_its_own_and_no_rule_has_the_names_of_a_level() {
        let hasher = KeyHasher::with_secret([7; 32]);
        let charge = KeyBuilder::new(&hasher);
        let name = |identity: &str| named_in(identity, charge.charge());
        assert!(name("bots\nuser").ends_with(":bots:user:*"));
        assert_ne!(name("bots\nuser"), name("bots\nteam"));
        assert_ne!(name("bots\nuser"), name("bots:user"));
    }

    #[test]
    fn a_key_that_is_asked_for_is_in_the_place_of_its_parts() {
        let hasher = KeyHasher::with_secret([7; 32]);
        for parts in [&[b"acme".as_slice()][..], &[b"acme", b"orders"], &[b"a text of more than 27 bytes"], &[]] {
            let (mut made, mut asked) = (KeyBuilder::new(&hasher), KeyBuilder::new(&hasher));
            parts.iter().for_each(|part| made.part(part));
            made.key().write(&mut asked);
            assert_eq!(named_in("calls", asked.charge()), named_in("calls", made.charge()));
        }
    }

    #[test]
    fn no_text_of_a_client_makes_a_tag_or_another_name() {
        let texts: [&[u8]; 9] = [b"}{", b"{}", b"{a", b"a}", b"*", b"~a", b"a:b", b"\0|", b""];
        let mut names: Vec<String> = texts.iter().map(|text| named(&[text])).collect();
        names.push(named(&[]));
        for name in &names {
            assert_eq!((name.matches('{').count(), name.matches('}').count()), (1, 1), "{name}");
            assert_eq!(name.matches(':').count(), 3, "{name}");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), texts.len() + 1);
    }

    #[test]
    fn a_long_key_is_its_hash_and_the_same_wherever_the_secret_is() {
        let long = named(&[b"a key that is longer than fifteen bytes"]);
        assert!(long.contains(":~"), "{long}");
        assert_eq!(long, named(&[b"a key that is longer than fifteen bytes"]));
        assert_ne!(named(&[b"a", b"b"]), named(&[b"ab"]));
    }

    #[test]
    fn a_slot_is_that_of_the_tag_or_else_of_the_whole_key() {
        // By CLUSTER KEYSLOT of a real server.
        let slots = ["123456789", "foo", "{foo}bar", "a{foo}{bar}", "{}foo", "foo{", "foo{}{bar}"]
            .map(|key| hash_slot(key.as_bytes()));
        assert_eq!(slots, [12739, 12182, 12182, 12182, 9500, 7673, 8363]);
    }
}
