//! A run's figures as a Prometheus text file, for the textfile collector of `node_exporter`.

use std::io::{self, Write};
use std::time::Duration;

use crate::error::Exit;
use crate::model::{Class, Doubt, StillAccess};
use crate::outcome::counts::Counts;

const LAST_SUCCESS: &str = "batch_detach_last_success_timestamp_seconds";

/// The figures of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Labels on every sample, so that several jobs of one host can be told apart (`input`); names must be valid
    /// label names.
    pub labels: Vec<(&'static str, String)>,
    pub version: String,
    pub outcomes: Counts,
    /// Rows that count as done and may not be what was meant, by kind.
    pub doubts: Vec<(Doubt, u64)>,
    /// Who still gets in, where that was looked for.
    pub still: Option<StillAccess>,
    /// Requests by class and by what became of them.
    pub requests: Vec<(Class, String, u64)>,
    /// How long sending had to wait, by reason (`throttled`, `outage`, …).
    pub waits: Vec<(String, Duration)>,
    pub duration: Duration,
    pub exit: Exit,
    /// When the run ended; seconds since 1970, UTC.
    pub ended_at: f64,
    /// When a run last ended with exit code 0 and no row in doubt, this one included; [`last_success_in`] finds an
    /// earlier one.
    pub last_success_at: Option<f64>,
}

impl Metrics {
    /// Writes the whole file in the text exposition format.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn render(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut file = File { out, common: &self.labels };
        file.family("batch_detach_info", "Version of the program that made this file.")?;
        file.sample("batch_detach_info", &[("version", &self.version)], "1")?;

        file.family("batch_detach_rows", "Rows of the last run by outcome.")?;
        for (outcome, rows) in self.outcomes.iter() {
            file.sample("batch_detach_rows", &[("outcome", outcome.as_str())], &rows.to_string())?;
        }
        file.family(
            "batch_detach_rows_in_doubt",
            "Rows of the last run that count as done but may be wrong, by kind.",
        )?;
        for doubt in Doubt::ALL {
            let rows: u64 = self.doubts.iter().filter(|(each, _)| *each == doubt).map(|(_, rows)| rows).sum();
            file.sample("batch_detach_rows_in_doubt", &[("kind", doubt.label())], &rows.to_string())?;
        }
        if let Some(still) = &self.still {
            const NAME: &str = "batch_detach_still_access";
            file.family(
                NAME,
                "People of the last run who still get in, their rows, and people of whom it is unknown.",
            )?;
            for (what, count) in [("people", still.people), ("rows", still.rows), ("unknown", still.unknown)] {
                file.sample(NAME, &[("what", what)], &count.to_string())?;
            }
        }
        file.family("batch_detach_requests", "Requests of the last run by class and result.")?;
        for (class, result, count) in &self.requests {
            let labels = [("class", class.as_str()), ("result", result)];
            file.sample("batch_detach_requests", &labels, &count.to_string())?;
        }
        file.family("batch_detach_wait_seconds", "Time that the last run had to wait, by reason.")?;
        for (reason, wait) in &self.waits {
            file.sample("batch_detach_wait_seconds", &[("reason", reason)], &wait.as_secs_f64().to_string())?;
        }
        file.family("batch_detach_duration_seconds", "Duration of the last run.")?;
        file.sample("batch_detach_duration_seconds", &[], &self.duration.as_secs_f64().to_string())?;
        file.family("batch_detach_exit_code", "Exit code of the last run; 0 is good.")?;
        file.sample("batch_detach_exit_code", &[], &self.exit.code().to_string())?;
        file.family("batch_detach_last_run_timestamp_seconds", "When the last run ended.")?;
        file.sample("batch_detach_last_run_timestamp_seconds", &[], &self.ended_at.to_string())?;
        if let Some(at) = self.last_success_at {
            file.family(LAST_SUCCESS, "When a run last ended with exit code 0 and no row in doubt.")?;
            file.sample(LAST_SUCCESS, &[], &at.to_string())?;
        }
        Ok(())
    }
}

/// The time of the last success in an older metrics file: a run that fails must not make it vanish, because an
/// alert on a series that is not there never fires.
pub(crate) fn last_success_in(older: &str) -> Option<f64> {
    older
        .lines()
        .filter_map(|line| line.strip_prefix(LAST_SUCCESS))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .find_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .filter(|at| at.is_finite())
}

struct File<'a> {
    out: &'a mut dyn Write,
    common: &'a [(&'static str, String)],
}

impl File<'_> {
    /// All figures describe the last run and are replaced by the next one: gauges, not counters.
    fn family(&mut self, name: &str, help: &str) -> io::Result<()> {
        writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} gauge")
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: &str) -> io::Result<()> {
        let common = self.common.iter().map(|(name, value)| (*name, value.as_str()));
        let labels: Vec<String> = common
            .chain(labels.iter().copied())
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        if labels.is_empty() {
            writeln!(self.out, "{name} {value}")
        } else {
            writeln!(self.out, "{name}{{{}}} {value}", labels.join(","))
        }
    }
}

/// A label value: backslash, quote and line feed are escaped (text exposition format 0.0.4).
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outcome;

    fn metrics() -> Metrics {
        let mut outcomes = Counts::default();
        outcomes.add(Outcome::Detached, 58);
        outcomes.add(Outcome::Failed, 2);
        Metrics {
            labels: vec![("input", "Q3 \"leavers\"\\new\n.csv".to_owned())],
            version: "0.1.0".to_owned(),
            outcomes,
            doubts: vec![(Doubt::NearName, 2)],
            still: Some(StillAccess { people: 3, rows: 4, unknown: 1, ..StillAccess::default() }),
            requests: vec![(Class::BatchDetach, "ok".to_owned(), 3), (Class::BatchDetach, "throttled".to_owned(), 1)],
            waits: vec![("throttled".to_owned(), Duration::from_millis(10_500))],
            duration: Duration::from_secs(42),
            exit: Exit::SomeRows,
            ended_at: 1_795_493_649.0,
            last_success_at: Some(1_795_407_249.5),
        }
    }

    fn rendered(metrics: &Metrics) -> String {
        let mut out = Vec::new();
        metrics.render(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_file_is_in_the_text_exposition_format() {
        insta::assert_snapshot!(rendered(&metrics()));
    }

    #[test]
    fn every_sample_belongs_to_the_family_above_it() {
        let mut family = String::new();
        for line in rendered(&metrics()).lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap().to_owned();
            } else if !line.starts_with('#') {
                assert_eq!(line.split(['{', ' ']).next().unwrap(), family);
                assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
            }
        }
    }

    #[test]
    fn the_last_success_survives_a_run_that_fails() {
        assert_eq!(last_success_in(&rendered(&metrics())), Some(1_795_407_249.5));
        assert_eq!(last_success_in(&rendered(&Metrics { last_success_at: None, ..metrics() })), None);
        assert_eq!(last_success_in("garbage\nbatch_detach_last_success_timestamp_seconds NaN\n"), None);
    }

    #[test]
    fn a_disk_that_is_full_is_an_error() {
        let mut room = [0_u8; 10];
        assert!(metrics().render(&mut room.as_mut_slice()).is_err());
    }
}
