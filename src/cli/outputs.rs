//! Nothing is overwritten: what a command writes is checked against what it reads, what earlier runs left, and the
//! other files that it writes, before anything is read from the service.
//!
//! Files are told apart by what they are (device and inode), not by their names: a link of either kind is the file that
//! it leads to.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::args::journal_of;
use crate::error::Error;
use crate::files::{self, FileIdentity};
use crate::journal::{PARTS, beside, is_of_a_journal, move_remains_aside};
use crate::model::{Outcome, Repeat};
use crate::text::timestamp_now;

/// How the results of this program begin, after a byte order mark.
const RESULTS_HEADER: &str = "line,desktop_id,desktop_name,user_name,";

/// What a command reads, and what it is asked to write.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// With the words that name each.
    kept: Vec<(String, PathBuf)>,
    written: Vec<(&'static str, PathBuf)>,
}

impl Outputs {
    /// A file that is read, and must stay as it is.
    pub(super) fn keep(&mut self, what: &str, path: Option<&Path>) {
        self.kept.extend(path.map(|path| (what.to_owned(), path.to_owned())));
    }

    /// A run's journal with all that belongs to it, and its results.
    pub(super) fn keep_run(&mut self, journal: &Path) {
        self.keep_journal(journal);
        self.keep("a run's results", Some(&journal.with_extension("")));
    }

    /// A run's journal, or the place of one, with all that belongs to it.
    pub(super) fn keep_journal(&mut self, journal: &Path) {
        self.keep("a run's journal", Some(journal));
        for ending in PARTS {
            self.keep("a part of a run's journal", Some(&beside(journal, ending)));
        }
    }

    /// What an earlier run was started on and with: going on with it, or taking it back, may need that.
    pub(super) fn keep_started(&mut self, input: &OsStr, options: &Repeat) {
        self.keep("the run's input", Some(Path::new(input)).filter(|input| input.as_os_str() != "-"));
        for (name, what) in [("config", "the run's settings"), ("ca-file", "the run's file of certificates")] {
            self.keep(what, options.file(name));
        }
    }

    /// A file that is written; `-` is standard output.
    ///
    /// * `option`: as the command line calls it.
    pub(super) fn write(&mut self, option: &'static str, path: Option<&Path>) {
        self.written.extend(path.filter(|path| path.as_os_str() != "-").map(|path| (option, path.to_owned())));
    }

    /// Where this command's own run would be: nothing else may be written over its results and journal.
    pub(super) fn write_run(&mut self, results: &Path) {
        self.write("--results", Some(results));
        let journal = journal_of(results);
        for ending in PARTS {
            self.keep("a part of this run's journal", Some(&beside(&journal, ending)));
        }
        self.write("the journal", Some(&journal));
    }

    /// Finds the first output that would be written over something else, or that can't be written.
    ///
    /// # Errors
    /// [`Error::Usage`] or [`Error::File`], each with exit code 2.
    pub(super) fn check(&self) -> Result<(), Error> {
        let mut taken: Vec<(String, FileIdentity)> = self
            .kept
            .iter()
            .map(|(what, path)| (format!("{what} ({})", path.display()), files::identity(path)))
            .collect();
        for (option, path) in &self.written {
            let is_journal = *option == "the journal";
            if files::is_special(path) {
                continue;
            }
            let identity = files::identity(path);
            let refuse = |what: &str| {
                Err(Error::Usage {
                    problem: format!("{option} would be written over {what}: name another file; nothing was changed"),
                })
            };
            if let Some((what, _)) = taken.iter().find(|(_, known)| *known == identity) {
                return refuse(what);
            }
            if is_part_by_name(path, &identity) {
                return refuse(&format!("a part of a run's journal ({})", path.display()));
            }
            // The run's own journal is judged by whoever opens it.
            let start = if is_journal { Vec::new() } else { start_of(path) };
            if is_of_a_journal(&start) {
                return refuse(&format!("a run's journal, or a part of one ({})", path.display()));
            }
            if !matches!(*option, "the journal" | "--results") && is_results(&start) {
                return refuse(&format!("a run's results ({})", path.display()));
            }
            if beginning_of(option).is_some_and(|own| !start.is_empty() && !start.starts_with(own)) {
                return refuse(&format!("a file that is not of its kind ({})", path.display()));
            }
            if !is_journal && *option != "--log-file" {
                writable(option, path)?;
            }
            taken.push((format!("{option} ({})", path.display()), identity));
        }
        Ok(())
    }
}

/// What stands where results shall go, and no journal with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// Nothing, or what makes way: an empty file, or a preview of `planned` rows.
    Free,
    /// Results whose journal is not there.
    Results,
    /// Somebody else's file.
    Foreign,
}

/// Looks at what stands where results shall go.
pub(super) fn stands(results: &Path) -> Stands {
    if files::is_special(results) {
        return Stands::Free;
    }
    let start = start_of(results);
    if start.is_empty() {
        Stands::Free
    } else if !is_results(&start) {
        Stands::Foreign
    } else if is_preview(results) {
        Stands::Free
    } else {
        Stands::Results
    }
}

/// Results that would be lost: those of a run, or a file that is not ours.
///
/// # Errors
/// [`Error::Usage`], saying what stands there and what to do.
pub(super) fn keep_results(results: &Path) -> Result<(), Error> {
    let path = results.display();
    let problem = match stands(results) {
        Stands::Free => return Ok(()),
        Stands::Results if journal_of(results).exists() => {
            format!(
                "{path} holds the results of a run, and a plan's rows would replace them: name another file with --results"
            )
        }
        Stands::Results => format!(
            "{path} holds results whose journal is not there: name another file with --results, or move it aside \
             (`run --fresh` does)"
        ),
        Stands::Foreign => format!(
            "{path} is not a file of this program: name another file with --results, or move it aside (`run --fresh` does)"
        ),
    };
    Err(Error::Usage { problem })
}

/// Moves results without a journal, a foreign file, or what is left of a lost journal, out of the way: under the time
/// instead of a run's id.
///
/// # Errors
/// [`Error::File`] where the disk says no.
pub(super) fn move_aside_by_time(results: &Path, journal: &Path) -> Result<(), Error> {
    let trouble = |source| Error::File { verb: "move aside", path: results.to_owned(), source };
    let time: String = timestamp_now().chars().filter(char::is_ascii_alphanumeric).collect();
    let aside = files::with_word(results, &time);
    if stands(results) != Stands::Free {
        files::rename_new(results, &aside).map_err(trouble)?;
    }
    move_remains_aside(journal, &aside)?;
    files::sync_dir_of(&aside).map_err(trouble)?;
    tracing::info!(file = %aside.display(), "what stood where the results go was moved aside");
    Ok(())
}

/// Whether a path leads to where a part of a journal is kept, though nothing may stand there now.
fn is_part_by_name(path: &Path, identity: &FileIdentity) -> bool {
    let place = match identity {
        FileIdentity::Name(place) => place.clone(),
        FileIdentity::Node { .. } => files::real(path),
    };
    let Some(name) = place.file_name() else { return false };
    PARTS.iter().any(|part| {
        let journal = name.as_encoded_bytes().strip_suffix(part.as_bytes());
        journal.is_some_and(|name| is_of_a_journal(&start_of(&place.with_file_name(OsStr::from_bytes(name)))))
    })
}

/// How each file begins that this program replaces whole. One that begins otherwise is somebody's.
fn beginning_of(option: &str) -> Option<&'static [u8]> {
    match option {
        "--metrics" => Some(b"# HELP "),
        "--requests" => Some(b"{\""),
        "--html" | "--output" => Some(b"<!DOCTYPE html>"),
        _ => None, // a log is added to; results are judged by whoever writes them
    }
}

fn start_of(path: &Path) -> Vec<u8> {
    let mut start = Vec::new();
    if let Ok(file) = File::open(path) {
        _ = file.take(128).read_to_end(&mut start);
    }
    start
}

fn is_results(start: &[u8]) -> bool {
    start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start).starts_with(RESULTS_HEADER.as_bytes())
}

/// Whether results are those of a plan: some row is `planned`, the rest what a plan settles by itself.
fn is_preview(results: &Path) -> bool {
    let Ok(mut reader) = csv::ReaderBuilder::new().from_path(results) else { return false };
    let column = reader.headers().ok().and_then(|header| header.iter().position(|name| name == "outcome"));
    let mut planned = false;
    for record in reader.records() {
        let outcome = record.ok().and_then(|record| Outcome::parse(record.get(column?)?));
        match outcome {
            Some(Outcome::Planned) => planned = true,
            None | Some(Outcome::Detached | Outcome::Attached | Outcome::Failed | Outcome::Unknown) => return false,
            Some(_) => {}
        }
    }
    planned
}

/// Whether a file can be replaced here at the end is found out before anything is sent.
fn writable(option: &str, path: &Path) -> Result<(), Error> {
    let verb = match option {
        "--results" => "write the results to",
        "--metrics" => "write the metrics to",
        "--requests" => "write the requests to",
        "--html" => "write the page to",
        _ => "write",
    };
    let trouble = |source| Error::File { verb, path: path.to_owned(), source };
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if target.is_dir() {
        return Err(trouble(std::io::ErrorKind::IsADirectory.into()));
    }
    // Without a name, where the file system can: a kill leaves nothing.
    tempfile::tempfile_in(files::parent(&target)).map(drop).map_err(trouble)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULTS: &str = "line,desktop_id,desktop_name,user_name,outcome\n2,d,,a,";

    fn refused(outputs: &Outputs) -> String {
        outputs.check().map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn p14_no_output_is_written_over_what_is_kept_by_any_path_or_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("list.csv"), "user_name\na\n").unwrap();
        std::fs::write(at("r.journal"), b"SQLite format 3\0...").unwrap();
        std::fs::write(at("r"), format!("{RESULTS}detached\n")).unwrap();
        let mut checked = 0;
        for kept in ["list.csv", "r.journal", "r"] {
            let (soft, hard) = (at(&format!("{kept}.soft")), at(&format!("{kept}.hard")));
            std::os::unix::fs::symlink(at(kept), &soft).unwrap();
            std::fs::hard_link(at(kept), &hard).unwrap();
            for path in [at(kept), soft, hard] {
                for option in ["--requests", "--metrics", "--html", "--log-file", "--output"] {
                    let mut outputs = Outputs::default();
                    outputs.keep("the input", Some(&at("list.csv")));
                    outputs.write(option, Some(&path));
                    assert!(refused(&outputs).contains(option), "{option} {}", path.display());
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, 45);
    }

    #[test]
    fn p14_two_outputs_are_never_one_file_though_it_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        let mut outputs = Outputs::default();
        outputs.write("--metrics", Some(&folder.path().join("same")));
        outputs.write("--log-file", Some(&folder.path().join(".").join("same")));
        assert!(refused(&outputs).contains("--metrics"));
    }

    #[test]
    fn p14_a_preview_makes_way_and_results_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        assert_eq!(stands(&path), Stands::Free);
        for (text, found) in [
            (String::new(), Stands::Free),
            (format!("{RESULTS}planned\n"), Stands::Free),
            (format!("{RESULTS}planned\n3,d,,b,detached\n"), Stands::Results),
            (format!("{RESULTS}already_detached\n"), Stands::Results),
            ("somebody's,table\n1,2\n".to_owned(), Stands::Foreign),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(stands(&path), found);
        }
    }
}
