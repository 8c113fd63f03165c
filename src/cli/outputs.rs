//! Nothing is overwritten: what a command writes is checked against what it reads, what earlier runs left, and the
//! other files that it writes, before anything is read from the service.
//!
//! Files are told apart by what they are (device and inode), not by their names: a link of either kind is the file that
//! it leads to.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::args::journal_of;
use crate::error::Error;
use crate::files::{self, FileIdentity};
use crate::journal::beside;
use crate::model::Outcome;
use crate::text::timestamp_now;

/// How every `SQLite` file begins, a journal too.
const JOURNAL_HEADER: &[u8] = b"SQLite format 3\0";
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
        self.keep("a run's journal", Some(journal));
        for ending in ["-wal", "-shm", "-journal", ".lock"] {
            self.keep("a part of a run's journal", Some(&beside(journal, ending)));
        }
        self.keep("a run's results", Some(&journal.with_extension("")));
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
        for ending in ["-wal", "-shm", "-journal", ".lock"] {
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
            if is_special(path) {
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
            // The run's own journal is judged by whoever opens it.
            let start = if is_journal { Vec::new() } else { start_of(path) };
            if start.starts_with(JOURNAL_HEADER) {
                return refuse(&format!("a run's journal ({})", path.display()));
            }
            if !matches!(*option, "the journal" | "--results") && is_results(&start) {
                return refuse(&format!("a run's results ({})", path.display()));
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
    if is_special(results) {
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

/// Moves results without a journal, or a foreign file, out of the way: under the time instead of a run's id.
///
/// # Errors
/// [`Error::File`] where the disk says no.
pub(super) fn move_aside_by_time(results: &Path) -> Result<(), Error> {
    let trouble = |source| Error::File { verb: "move aside", path: results.to_owned(), source };
    let time: String = timestamp_now().chars().filter(char::is_ascii_alphanumeric).collect();
    let aside = files::with_word(results, &time);
    files::rename_new(results, &aside).and_then(|()| files::sync_dir_of(&aside)).map_err(trouble)?;
    tracing::info!(file = %aside.display(), "what stood where the results go was moved aside");
    Ok(())
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

/// Whether results hold nothing but `planned` rows.
fn is_preview(results: &Path) -> bool {
    let Ok(mut reader) = csv::ReaderBuilder::new().from_path(results) else { return false };
    let Ok(header) = reader.headers() else { return false };
    let Some(column) = header.iter().position(|name| name == "outcome") else { return false };
    reader.records().all(|record| {
        record.is_ok_and(|record| {
            let outcome = record.get(column).and_then(Outcome::parse);
            // What a plan settles by itself stands in its preview, too.
            outcome.is_some_and(|outcome| {
                !matches!(outcome, Outcome::Detached | Outcome::Attached | Outcome::Failed | Outcome::Unknown)
            })
        })
    }) && holds_a_planned_row(results, column)
}

fn holds_a_planned_row(results: &Path, column: usize) -> bool {
    csv::ReaderBuilder::new().from_path(results).is_ok_and(|mut reader| {
        let mut records = reader.records().flatten();
        records.any(|record| record.get(column) == Some(Outcome::Planned.as_str()))
    })
}

/// A pipe, a terminal, `/dev/null`: nothing there can be lost.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
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
