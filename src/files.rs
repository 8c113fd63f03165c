//! Files that are whole or absent, and durable.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The file itself, where `path` leads to it by a symbolic link.
pub(crate) fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Makes durable what was created, renamed or removed in the directory that holds `path`.
pub(crate) fn sync_dir_of(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

/// Replaces `path` by what `write` writes: the old complete file or the new complete one, never a part (P14).
///
/// Goes through a temporary file of mode 0600 in the same directory, which is synced and renamed; then the directory
/// is synced. A file that is there keeps its mode, a symbolic link its place. What is no regular file (`/dev/null`, a
/// pipe) is written to as it is.
///
/// # Errors
/// Whatever `write` says, or [`Error::Disk`]; the old file is then as it was.
pub(crate) fn write_atomically<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T, Error>,
) -> Result<T, Error> {
    let target = real(path);
    let trouble = |source: io::Error| Error::Disk { verb: "write", path: path.to_owned(), source: source.into() };
    if is_special(&target) {
        let file = OpenOptions::new().write(true).open(&target).map_err(trouble)?;
        let mut out = BufWriter::new(file);
        let value = write(&mut out)?;
        out.flush().map_err(trouble)?;
        return Ok(value);
    }
    clear_leftovers(&target);
    let named =
        tempfile::Builder::new().prefix(&temporary_prefix(&target)).suffix(TEMPORARY).tempfile_in(parent(&target));
    let named = named.map_err(trouble)?;
    // Tells whoever clears up that this one's writer is alive. Where a file system has no such locks, a run's own lock
    // keeps others away.
    _ = named.as_file().try_lock();
    let mut out = BufWriter::with_capacity(1 << 18, named);
    let value = write(&mut out)?;
    let named = out.into_inner().map_err(|error| trouble(error.into_error()))?;
    if let Ok(old) = fs::metadata(&target) {
        named.as_file().set_permissions(old.permissions()).map_err(trouble)?;
    }
    named.as_file().sync_all().map_err(trouble)?;
    named.persist(&target).map_err(|error| trouble(error.error))?;
    sync_dir_of(&target).map_err(trouble)?;
    Ok(value)
}

/// A pipe, a terminal, `/dev/null`: it is written to as it is, and nothing there can be lost.
pub(crate) fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Removes what killed processes left of their own [`write_atomically`] to `target`; what can't be removed is in nobody's
/// way.
fn clear_leftovers(target: &Path) {
    let prefix = temporary_prefix(target);
    let is_written = |path: &Path| {
        File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    };
    for entry in fs::read_dir(parent(target)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let middle = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(TEMPORARY));
        // As `tempfile` makes them up; a name of somebody else's is left alone.
        let is_ours =
            middle.is_some_and(|middle| middle.len() == 6 && middle.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if is_ours && !is_written(&entry.path()) {
            _ = fs::remove_file(entry.path());
        }
    }
}

const TEMPORARY: &str = ".tmp";

/// Hidden, and telling whose it is where a kill left it behind.
fn temporary_prefix(target: &Path) -> String {
    format!(".{}.", target.file_name().map_or_else(Default::default, |name| name.to_string_lossy()))
}

/// Renames a file, but never over another one. Not yet durable: see [`sync_dir_of`].
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // A file system, or a kernel, that can't: then a look must do.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            result => return result.map_err(Into::into),
        }
    }
    if fs::symlink_metadata(to).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", to.display())));
    }
    fs::rename(from, to)
}

/// Removes a file that may not be there.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Makes a file of mode 0600 that was not there before.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Whether the file system is one on which `SQLite`'s shared memory and locks can't be trusted: `SQLite` then works with
/// a rollback journal. `false` where that can't be told.
pub(crate) fn is_network(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        /// NFS, SMB, CIFS, SMB2, FUSE, 9P, AFS, Ceph, Lustre, GPFS, OCFS2, GFS2, Coda, vboxsf, beegfs, panfs.
        const MAGIC: [u32; 16] = [
            0x6969,
            0x517b,
            0xff53_4d42,
            0xfe53_4d42,
            0x6573_5546,
            0x0102_1997,
            0x5346_414f,
            0x00c3_6400,
            0x0bd0_0bd0,
            0x4750_4653,
            0x7461_636f,
            0x0116_1970,
            0x7375_7245,
            0x786f_4256,
            0x1983_0326,
            0xaad7_aaea,
        ];
        // The type's width and sign vary by architecture; the numbers have 32 bits.
        let kind = |stat: rustix::fs::StatFs| i128::from(stat.f_type).rem_euclid(1 << 32);
        rustix::fs::statfs(parent(path)).is_ok_and(|stat| MAGIC.map(i128::from).contains(&kind(stat)))
    }
    #[cfg(target_os = "macos")]
    {
        /// `MNT_LOCAL` of `<sys/mount.h>`.
        const LOCAL: u32 = 0x1000;
        rustix::fs::statfs(parent(path)).is_ok_and(|stat| stat.f_flags & LOCAL == 0)
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    {
        _ = path;
        false
    }
}

/// What a path leads to, whatever links are on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileIdentity {
    Node {
        device: u64,
        inode: u64,
    },
    /// Nothing is there yet: the folder's true path, and the name.
    Name(PathBuf),
}

/// Tells files apart: by device and inode where there is one, else by the place where it would be made.
pub(crate) fn identity(path: &Path) -> FileIdentity {
    use std::os::unix::fs::MetadataExt as _;
    if let Ok(found) = fs::metadata(path) {
        return FileIdentity::Node { device: found.dev(), inode: found.ino() };
    }
    // Whoever writes through a link that leads to nothing yet makes what it leads to.
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = parent(&path).join(target);
    }
    let folder = fs::canonicalize(parent(&path)).unwrap_or_else(|_| parent(&path).to_owned());
    FileIdentity::Name(folder.join(path.file_name().unwrap_or_default()))
}

/// As Linux counts them.
const MAX_LINKS: usize = 40;

/// A path that is not taken, with `word` put before the ending: `leavers.results.WORD.csv`.
pub(crate) fn with_word(path: &Path, word: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(".");
    name.push(word);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn text(text: &[u8]) -> impl FnOnce(&mut dyn Write) -> Result<(), Error> {
        |out| {
            out.write_all(text).unwrap();
            Ok(())
        }
    }

    #[test]
    fn p14_a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.csv");
        write_atomically(&path, text(b"old")).unwrap();
        assert_eq!(mode(&path), 0o600);
        let failed: Result<(), _> = write_atomically(&path, |out| {
            out.write_all(b"ne").unwrap();
            Err(Error::Stopped("in the middle".to_owned()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn p14_until_the_end_the_old_file_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.csv");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_atomically(&path, |out| {
            out.write_all(b"new").unwrap();
            out.flush().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"old");
            Ok(())
        })
        .unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (b"new".as_slice(), 0o644));
    }

    #[test]
    fn a_link_stays_a_link_and_a_device_a_device() {
        let directory = tempfile::tempdir().unwrap();
        let (link, target) = (directory.path().join("link"), directory.path().join("target"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_atomically(&link, text(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
        write_atomically(Path::new("/dev/null"), text(b"x")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_with_the_path() {
        let error = write_atomically(Path::new("/nowhere/r.csv"), |_| Ok(())).unwrap_err();
        assert!(matches!(error, Error::Disk { path, .. } if path == Path::new("/nowhere/r.csv")));
    }

    #[test]
    fn what_a_kill_left_of_writing_is_cleared_away_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.csv");
        for name in [".r.csv.a1B2c3.tmp", ".r.csv.notes.tmp", ".r.csv.a1B2c3", ".other.csv.a1B2c3.tmp", "r.csv"] {
            fs::write(directory.path().join(name), "x").unwrap();
        }
        let left = write_atomically(&path, |_| {
            // One that is being written is not left over, whoever else writes there.
            write_atomically(&path, text(b"other"))?;
            let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let of_this_shape = |name: &String| name.starts_with(".r.csv.") && name.len() == 17;
            Ok(names.filter_map(|name| name.into_string().ok()).filter(of_this_shape).collect::<Vec<_>>())
        });
        let left = left.unwrap();
        assert!(left.len() == 1 && left[0] != ".r.csv.a1B2c3.tmp", "{left:?}");
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".other.csv.a1B2c3.tmp", ".r.csv.a1B2c3", ".r.csv.notes.tmp", "r.csv"]);
    }

    #[test]
    fn a_rename_never_replaces() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&a, "a").unwrap();
        fs::write(&b, "b").unwrap();
        assert_eq!(rename_new(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::remove_file(&b).unwrap();
        rename_new(&a, &b).unwrap();
        assert_eq!(fs::read(&b).unwrap(), b"a");
    }

    #[test]
    fn words_go_before_the_ending() {
        assert_eq!(with_word(Path::new("d/l.results.csv"), "ID"), Path::new("d/l.results.ID.csv"));
        assert_eq!(with_word(Path::new("results"), "ID"), Path::new("results.ID"));
    }
}
