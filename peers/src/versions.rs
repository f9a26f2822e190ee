//! The versions of what is measured, from the lock file that it was built with.

const LOCK: &str = include_str!("../../Cargo.lock");

/// The version of a package; the newest one, if others depend on an older one.
pub(crate) fn version(package: &str) -> &'static str {
    let name = format!("name = \"{package}\"\nversion = \"");
    let version = LOCK.rsplit_once(&name).and_then(|(_, rest)| rest.split('"').next());
    version.unwrap_or("unknown")
}
