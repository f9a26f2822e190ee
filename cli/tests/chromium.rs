//! A real browser without a window.

use std::{
    path::Path,
    process::{Command, Stdio},
};

const NAMES: [&str; 5] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome"];

/// Opens a page, lets its scripts run, and returns the document as it is then.
pub(crate) fn document(page: &Path, options: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(installed());
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=3000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(options)
        .arg("--dump-dom")
        .arg(format!("file://{}", page.display()));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let document = String::from_utf8(output.stdout).unwrap();
    assert!(document.contains("</html>"), "{}", String::from_utf8_lossy(&output.stderr));
    document
}

/// Returns the name of a browser that is here.
fn installed() -> &'static str {
    let is_here =
        |name: &&&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    NAMES.iter().find(is_here).unwrap_or_else(|| {
        panic!("there is no Chromium here: run ./tests/run, or apt-get install --no-install-recommends chromium-headless-shell")
    })
}
