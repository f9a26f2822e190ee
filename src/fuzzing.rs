//! Doors for `fuzz/` into what has no public way in. In no build but a fuzzer's.

/// Checks what is made of a server's reply.
#[cfg(feature = "redis")]
pub fn replies(data: &[u8]) {
    crate::store::check_replies(data);
}
