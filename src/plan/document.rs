//! The plan as JSON.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema};
use serde::{Serialize, Serializer};

use super::detach::Plan;
use super::fingerprint::Digests;
use super::show::Facts;
use crate::model::{Caller, Outcome, StillAccess};
use crate::text::serialized;

/// The version of [`json`]; rises when a key changes, or what the hash and the rows' digests cover.
pub(crate) const FORMAT: u32 = 2;

/// The plan as one JSON object; also what `--approved` is compared with. Written piece by piece: the rows are never
/// in memory together.
pub(crate) fn json<'a, 't>(plan: &'a Plan<'t>, facts: &Facts<'a>) -> impl Serialize + use<'a, 't> {
    let stats = plan.stats();
    let input = plan.input();
    Document {
        format: FORMAT,
        hash: facts.hash,
        input: InputPart { name: &input.name, sha256: &input.sha256, notes: &input.notes },
        endpoint: facts.covered.endpoint,
        region: facts.region,
        project: facts.covered.project,
        caller: facts.caller,
        settings: facts.covered.settings,
        preflight: plan.looked(),
        counts: Counts {
            rows: stats.rows,
            records: stats.entries,
            to_detach: stats.to_send(),
            users: stats.send_users,
            groups: stats.send_groups,
            all: stats.send_all,
            bindings: stats.bindings,
            duplicates: stats.duplicates,
            already_detached: stats.already_detached,
            invalid: stats.invalid_total(),
            invalid_by_code: stats.invalid.clone(),
            not_due: stats.not_due,
            left_out: stats.left_out,
            unknown_desktops: stats.unknown_desktops,
            desktops: stats.desktops,
            in_use: stats.in_use,
            hibernated: stats.hibernated,
            in_error: stats.in_error,
            frozen: stats.frozen,
            in_maintenance: stats.in_maintenance,
            busy: stats.busy,
            shut_down: stats.shut_down,
            started: stats.started,
            pooled: stats.pooled,
            left_with_nobody: stats.left_with_nobody,
            group_stays: stats.group_stays,
            requests: stats.chunks,
            canary_requests: stats.canary_chunks,
            bytes: stats.bytes,
        },
        in_use: stats.in_use_named.iter().map(|&name| name.to_owned()).collect(),
        may_be_refused: stats.stuck_named.iter().map(|&name| name.to_owned()).collect(),
        unknown_desktops: stats.unknown_named.iter().map(|&name| name.to_owned()).collect(),
        hints: stats
            .hints
            .iter()
            .map(|hint| HintPart {
                line: hint.line,
                user: hint.user.to_owned(),
                desktop: hint.desktop.to_owned(),
                nearest: hint.nearest.map(str::to_owned),
                unknown_user: hint.unknown_user,
                other_domain: hint.other_domain.map(str::to_owned),
            })
            .collect(),
        still_access: facts.still,
        chunks: Chunks(plan),
        row_columns: ["line", "desktop", "user", "outcome", "code", "digest"],
        rows: Rows(plan),
    }
}

/// A row as [`Document::row_columns`] names its values.
type RowPart = (u64, String, String, Outcome, String, String);

/// The schema of a plan's JSON.
pub(crate) fn schema() -> Schema {
    serialized::<Document<'static, Vec<ChunkPart>, Vec<RowPart>>>()
}

/// The plan of a run, as JSON.
#[derive(Serialize, JsonSchema)]
struct Document<'a, P: Serialize, R: Serialize> {
    /// Rises when a key changes.
    format: u32,
    /// What `--approved` is compared with.
    hash: &'a str,
    input: InputPart<'a>,
    endpoint: &'a str,
    region: Option<&'a str>,
    project: &'a str,
    caller: &'a Caller,
    /// The settings that shape the plan.
    settings: &'a BTreeMap<String, String>,
    /// Whether the live bindings were looked at.
    preflight: bool,
    counts: Counts,
    /// The first few names of what `counts` counts.
    in_use: Vec<String>,
    may_be_refused: Vec<String>,
    unknown_desktops: Vec<String>,
    /// Rows that are taken as already detached, and may name the wrong person.
    hints: Vec<HintPart>,
    /// Who would still get in by something else, if all writes go well; `null` where that was not looked for.
    still_access: Option<&'a StillAccess>,
    chunks: P,
    /// What the values of each row are.
    row_columns: [&'static str; 6],
    rows: R,
}

#[derive(Serialize, JsonSchema)]
struct InputPart<'a> {
    name: &'a str,
    sha256: &'a str,
    notes: &'a [String],
}

#[derive(Serialize, JsonSchema)]
struct Counts {
    rows: u64,
    records: u64,
    to_detach: u64,
    users: u64,
    groups: u64,
    all: u64,
    bindings: u64,
    duplicates: u64,
    already_detached: u64,
    invalid: u64,
    invalid_by_code: BTreeMap<&'static str, u64>,
    not_due: u64,
    left_out: u64,
    unknown_desktops: u64,
    desktops: u64,
    in_use: u64,
    hibernated: u64,
    in_error: u64,
    frozen: u64,
    in_maintenance: u64,
    busy: u64,
    shut_down: u64,
    started: u64,
    pooled: u64,
    left_with_nobody: u64,
    group_stays: u64,
    requests: u64,
    canary_requests: u64,
    bytes: u64,
}

#[derive(Serialize, JsonSchema)]
struct HintPart {
    line: u64,
    user: String,
    desktop: String,
    nearest: Option<String>,
    unknown_user: bool,
    other_domain: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct ChunkPart {
    number: u32,
    desktops: usize,
    users: usize,
    bytes: usize,
    sha256: String,
}

struct Chunks<'a, 't>(&'a Plan<'t>);

impl Serialize for Chunks<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = Vec::new();
        serializer.collect_seq(self.0.chunks().iter().enumerate().map(|(at, chunk)| ChunkPart {
            number: chunk.number,
            desktops: chunk.desktops,
            users: chunk.users,
            bytes: chunk.bytes,
            sha256: self.0.body_sha256(at, &mut body),
        }))
    }
}

struct Rows<'a, 't>(&'a Plan<'t>);

impl Serialize for Rows<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digests = Digests::new(self.0);
        serializer.collect_seq(self.0.entries().map(|entry| {
            let outcome: Outcome = entry.outcome();
            let digest = hex::encode(digests.of(&entry));
            (entry.line(), entry.desktop(), entry.user(), outcome.as_str(), entry.code(), digest)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::show::tests::{CSV, shown, world};
    use super::*;

    #[test]
    fn json_holds_hash_counts_chunks_and_every_row() {
        let value = shown(CSV, Some(&world()), |plan, facts| serde_json::to_value(json(plan, facts)).unwrap());
        assert_eq!((value["format"].as_u64(), value["hash"].as_str()), (Some(2), Some("0f")));
        assert_eq!(value["counts"]["to_detach"], 4);
        assert_eq!(
            (&value["region"], &value["caller"]["credentials"]),
            (&"cn-north-4".into(), &"HW_AUTH_TOKEN".into())
        );
        assert_eq!(value["counts"]["invalid_by_code"]["INVALID_DESKTOP_NOT_FOUND"], 4);
        assert_eq!(value["chunks"][0]["desktops"], 2);
        assert_eq!(value["chunks"][0]["sha256"].as_str().map(str::len), Some(64));
        let rows = value["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 9);
        assert_eq!(
            rows[0].as_array().unwrap()[..5],
            ["2", "d1", "ann", "planned", ""].map(|cell| {
                cell.parse::<u64>().map_or_else(|_| serde_json::Value::from(cell), serde_json::Value::from)
            })
        );
    }
}
