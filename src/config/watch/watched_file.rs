//! A file that is read again and again.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{self, Path, PathBuf},
    sync::Arc,
};

use crate::config::watch::WatchError;

/// Longer files are not read: 64 MiB.
const MOST_BYTES: u64 = 64 << 20;
/// Longer chains of symbolic links are taken for circles, as Linux does.
const MOST_LINKS: usize = 40;

/// A file by its path, which may lead through symbolic links.
#[derive(Clone, Debug)]
pub(super) struct WatchedFile {
    path: Arc<Path>,
    most_bytes: u64,
}

impl WatchedFile {
    /// The file at `path`, which is one of the current directory if it is relative, wherever the process goes later.
    pub(super) fn new(path: &Path) -> Result<Self, WatchError> {
        let absolute = path::absolute(path).map_err(|error| WatchError::unwatchable(&path.into(), error))?;
        Ok(Self { path: absolute.into(), most_bytes: MOST_BYTES })
    }

    pub(super) const fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Reads the whole text.
    pub(super) fn read(&self) -> Result<String, WatchError> {
        let bytes = self.read_bytes().map_err(|error| WatchError::unreadable(&self.path, &error))?;
        let bytes = bytes.ok_or_else(|| WatchError::not_regular(&self.path))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > self.most_bytes) {
            return Err(WatchError::too_large(&self.path, self.most_bytes));
        }
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            WatchError::not_utf8(&self.path, error.as_bytes(), valid)
        })
    }

    /// Reads at most one byte more than is allowed. None if this is no regular file: to open a pipe would wait for a writer.
    fn read_bytes(&self) -> io::Result<Option<Vec<u8>>> {
        if !fs::metadata(&self.path)?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::open(&self.path)?.take(self.most_bytes + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Returns the directories in which a change can make the path mean another file: that of the file, and that of each
    /// symbolic link on the way to it.
    ///
    /// Links in the root directory belong to the system and are not replaced; those who watch that directory hear of
    /// everything, on some systems.
    pub(super) fn directories(&self) -> BTreeSet<PathBuf> {
        let mut found: Vec<PathBuf> = self.path.parent().map(Path::to_owned).into_iter().collect();
        let mut path = self.path.to_path_buf();
        for _ in 0..MOST_LINKS {
            let Some((place, target)) = first_link(&path) else { break };
            let directory = place.parent().unwrap_or(&place);
            if directory.parent().is_some() {
                found.push(directory.to_owned());
            }
            let rest = path.strip_prefix(&place).unwrap_or(Path::new(""));
            path = if rest.as_os_str().is_empty() { directory.join(target) } else { directory.join(target).join(rest) };
        }
        found.extend(path.parent().map(Path::to_owned));
        found.iter().filter_map(|directory| nearest(directory)).collect()
    }
}

/// The directory by the one name that it has without links, so that it is watched once. If there is none then the nearest one
/// above it, in which it will be created.
fn nearest(directory: &Path) -> Option<PathBuf> {
    let above = || directory.ancestors().filter(|above| above.parent().is_some());
    fs::canonicalize(directory).ok().or_else(|| above().find_map(|above| fs::canonicalize(above).ok()))
}

/// The first of the names of a path that is a symbolic link, and where that leads.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut places: Vec<&Path> = path.ancestors().collect();
    places.reverse();
    places.into_iter().find_map(|place| fs::read_link(place).ok().map(|target| (place.to_owned(), target)))
}

#[cfg(test)]
mod tests {
    use tempfile::{TempDir, tempdir};

    use super::*;

    fn file(folder: &TempDir, name: &str) -> WatchedFile {
        WatchedFile::new(&folder.path().join(name)).unwrap()
    }

    fn refusal(file: &WatchedFile) -> String {
        let text = file.read().unwrap_err().to_string();
        text.strip_prefix(&format!("{}: ", file.path().display())).unwrap().to_owned()
    }

    #[test]
    fn a_file_is_read_whole() {
        let folder = tempdir().unwrap();
        fs::write(folder.path().join("a"), "grün\n").unwrap();
        assert_eq!(file(&folder, "a").read().unwrap(), "grün\n");
    }

    #[test]
    fn a_relative_path_is_one_of_the_current_directory() {
        assert_eq!(**WatchedFile::new(Path::new("a")).unwrap().path(), *std::env::current_dir().unwrap().join("a"));
        assert!(WatchedFile::new(Path::new("")).unwrap_err().to_string().contains("cannot be watched"));
    }

    #[test]
    fn a_file_that_is_missing_or_none_is_refused() {
        let folder = tempdir().unwrap();
        assert!(refusal(&file(&folder, "a")).starts_with("the file cannot be read: "));
        assert_eq!(refusal(&file(&folder, "")), "not a regular file: write the path of one");
    }

    #[test]
    fn a_file_is_refused_from_its_first_byte_too_many() {
        let folder = tempdir().unwrap();
        let file = WatchedFile { most_bytes: 4, ..file(&folder, "a") };
        fs::write(file.path(), "four").unwrap();
        assert_eq!(file.read().unwrap(), "four");
        fs::write(file.path(), "fours").unwrap();
        assert_eq!(refusal(&file), "the file has more than 4 bytes, which is the most that is read");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_line() {
        let folder = tempdir().unwrap();
        let file = file(&folder, "a");
        fs::write(file.path(), b"one\ntwo\nthr\xe9e\n").unwrap();
        assert_eq!(refusal(&file), "line 3 is not UTF-8: save the file in this encoding");
    }

    #[test]
    fn a_file_without_links_has_one_directory_or_the_nearest_above_it() {
        let folder = tempdir().unwrap();
        let place = fs::canonicalize(folder.path()).unwrap();
        for name in ["missing", "no/such/file"] {
            // A temporary folder may itself be behind a link.
            assert!(file(&folder, name).directories().contains(&place), "{name}");
        }
    }

    #[cfg(unix)]
    mod links {
        use std::os::unix::fs::symlink;

        use super::*;

        fn names(folder: &TempDir, file: &WatchedFile) -> Vec<String> {
            let place = fs::canonicalize(folder.path()).unwrap();
            let found = file.directories();
            let inside = found.iter().filter_map(|directory| directory.strip_prefix(&place).ok());
            inside.map(|name| name.display().to_string()).collect()
        }

        #[test]
        fn every_directory_with_a_link_on_the_way_is_found() {
            let folder = tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            for name in ["etc", "srv/releases/5", "srv/links"] {
                fs::create_dir_all(at(name)).unwrap();
            }
            fs::write(at("srv/releases/5/rules"), "").unwrap();
            symlink("../srv/links/rules", at("etc/rules")).unwrap();
            symlink(at("srv/current/rules"), at("srv/links/rules")).unwrap();
            symlink("releases/5", at("srv/current")).unwrap();
            assert_eq!(names(&folder, &file(&folder, "etc/rules")), ["etc", "srv", "srv/links", "srv/releases/5"]);
        }

        #[test]
        fn a_circle_of_links_ends() {
            let folder = tempdir().unwrap();
            symlink("b", folder.path().join("a")).unwrap();
            symlink("a", folder.path().join("b")).unwrap();
            assert_eq!(names(&folder, &file(&folder, "a")), [""]);
        }
    }
}
