//! Entry points of the fuzz targets into private code. Only in a fuzzer's build.

/// Checks the reading of a server's reply.
#[cfg(feature = "redis")]
pub fn replies(data: &[u8]) {
    crate::store::check_replies(data);
}
