//! Which column is which field.

use super::due::{self, Due};
use super::field::Field;
use super::options::ReadOptions;
use super::record::{DELIMITERS, is_blank};
use crate::text::escape_untrusted;

/// The columns of a results file, before those that travel through it; an input's columns of these names are replaced.
pub(crate) const RESULT_COLUMNS: [&str; 17] = [
    "line",
    "desktop_id",
    "desktop_name",
    "user_name",
    "user_id",
    "user_group",
    "type",
    "domain",
    "outcome",
    "job_id",
    "error_code",
    "error_msg",
    "attempts",
    "request_id",
    "chunk",
    "finished_at",
    "still_via",
];

/// Headers as they are compared: without case, blanks, `_`, `-` and zero-width characters.
fn normalise(header: &str) -> String {
    header.chars().filter(|&c| !is_blank(c) && !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// What is said of a field that no header holds.
const NONE: &str = "-";

/// How the refusal of a record begins that is no header line.
pub(super) const NO_USER: &str = "no column `user_name` in the header line";

/// Words that a header has which names desktops, and whole headers that do.
const DESKTOP_WORDS: [&str; 22] = [
    "desktop",
    "hostname",
    "computer",
    "workstation",
    "machine",
    "asset",
    "device",
    "laptop",
    "notebook",
    "thinclient",
    "serialn",
    "桌面",
    "计算机",
    "主机",
    "设备",
    "资产",
    "电脑",
    "虚拟机",
    "终端",
    "工作站",
    "机器",
    "云机",
];
const DESKTOP_HEADERS: [&str; 12] =
    ["host", "pc", "vm", "vdi", "pcname", "pcid", "vmname", "vmid", "vdiname", "vdiid", "workspace", "workspaceid"];

fn sounds_like_a_desktop(normal: &str) -> bool {
    let bare: String = normal.chars().filter(|c| c.is_alphanumeric()).collect();
    DESKTOP_WORDS.iter().any(|word| bare.contains(word)) || DESKTOP_HEADERS.contains(&bare.as_str())
}

/// Why a list is refused that has a column of desktops which is not read.
pub(crate) fn unread_desktops(header: &str) -> String {
    let header = escape_untrusted(header, 60);
    format!(
        "the column \"{header}\" seems to name desktops, and is not read: each row would mean every desktop of its user. Say \
         what it is: --column \"desktop_name={header}\", --column \"desktop_id={header}\", or --column desktop_id=- where it \
         names none"
    )
}

/// The parts of a cell that may hold a whole line.
fn parts(cell: &str) -> impl Iterator<Item = String> {
    let is_mark = |c: char| c.is_ascii() && DELIMITERS.iter().any(|&delimiter| char::from(delimiter) == c);
    cell.split(is_mark).map(|part| normalise(part.trim_matches(['"', '\'', ' '])))
}

/// Whether a record further down is the header line, perhaps with another delimiter.
pub(super) fn may_be(headers: &[String]) -> bool {
    let is_user = |part: String| matches!(Field::of_header(&part), Some(Field::UserName | Field::UserEmail));
    headers.iter().flat_map(|cell| parts(cell)).any(is_user)
}

/// What is wrong with a header line that stands in one cell whole, or whose cells are still in quotes.
pub(super) fn in_quotes(headers: &[String]) -> Option<String> {
    let filled: Vec<&String> = headers.iter().filter(|header| !header.is_empty()).collect();
    let is_known = |part: &String| Field::of_header(part).is_some();
    if let [only] = filled.as_slice()
        && parts(only).count() > 1
        && parts(only).any(|part| is_known(&part))
    {
        return Some(
            "the whole line stands in one cell, as in a file whose lines are each in quotes; take off the quotes around \
             the lines, or split the column into columns in a spreadsheet program"
                .to_owned(),
        );
    }
    let quoted = filled.iter().find(|header| {
        let bare = header.trim_matches(['"', '\'', '\u{201c}', '\u{201d}']);
        bare.len() < header.len() && is_known(&normalise(bare))
    })?;
    Some(format!(
        "the header {} is still in quotes; take them off (in CSV nothing, not even a blank, may stand before a quote)",
        escape_untrusted(quoted, 60)
    ))
}

/// How many of the headers are known ones; tells one delimiter from another.
pub(super) fn known<'h>(headers: impl Iterator<Item = &'h str>) -> usize {
    headers
        .filter(|header| {
            let normal = normalise(header);
            Field::of_header(&normal).is_some() || RESULT_COLUMNS.iter().any(|own| normalise(own) == normal)
        })
        .count()
}

/// What the header line says about every other line.
#[derive(Debug)]
pub(super) struct Layout {
    /// All headers as the file spells them, trimmed.
    pub(super) headers: Vec<String>,
    /// The file's column for each field.
    pub(super) fields: [Option<usize>; Field::READ.len()],
    /// Every field that has a column, in the order of [`Field::READ`], each with its column.
    pub(super) read: Vec<(Field, usize)>,
    /// The file's columns that travel through.
    pub(super) extras: Vec<usize>,
    /// The columns that say from which day on a row is due, as [`ReadOptions::due`] asks for them.
    pub(super) days: Vec<usize>,
    /// The file's `outcome` column.
    pub(super) outcome: Option<usize>,
    /// The file's `error_code` column.
    pub(super) error_code: Option<usize>,
    /// Whether the file is an earlier run's results: then the formula guard is to be taken off.
    pub(super) is_results: bool,
    /// What to tell about the header.
    pub(super) notes: Vec<String>,
}

impl Layout {
    /// # Errors
    /// In words: `user_name` missing, a field twice, a `--column` that names no header.
    pub(super) fn new(headers: Vec<String>, options: &ReadOptions) -> Result<Self, String> {
        let normal: Vec<String> = headers.iter().map(|header| normalise(header)).collect();
        let result_column = |name: &str| normal.iter().position(|header| *header == normalise(name));
        let is_results = ["line", "outcome", "finished_at"].iter().all(|name| result_column(name).is_some());

        let mut fields = [None; Field::READ.len()];
        let is_none = |field: Field| options.columns.iter().any(|(one, header)| *one == field && header == NONE);
        for (field, wanted) in options.columns.iter().filter(|(_, header)| header != NONE) {
            let column = explicit(*field, wanted, &headers, &normal)?;
            place(&mut fields, *field, column, &headers)?;
        }
        let explicit_fields = fields;
        for (column, header) in normal.iter().enumerate() {
            // A results file spells its own columns in one way; an alias in it is a column that travels through.
            let field = if is_results {
                Field::READ.into_iter().find(|field| normalise(field.as_str()) == *header)
            } else {
                Field::of_header(header)
            };
            let is_open = |field: &Field| explicit_fields[field.index()].is_none() && !is_none(*field);
            let Some(field) = field.filter(is_open) else { continue };
            if !fields.contains(&Some(column)) {
                place(&mut fields, field, column, &headers)?;
            }
        }

        let read = Field::READ.into_iter().zip(fields).filter_map(|(field, column)| Some((field, column?))).collect();
        let (extras, notes) = (Vec::new(), Vec::new());
        let error_code = result_column("error_code");
        let days = days(&options.due, &headers, &normal)?;
        let mut layout = Self { headers, fields, read, extras, days, outcome: None, error_code, is_results, notes };
        layout.require_user_name(&normal)?;
        let says_no_desktop = is_none(Field::DesktopId) || is_none(Field::DesktopName);
        layout.look_for_misspelt(&normal, says_no_desktop, &is_none)?;
        layout.sort_out_the_rest(&normal, options.only.is_some())?;
        Ok(layout)
    }

    /// The fields of [`Field::ALL`] that have a column, in their order.
    pub(super) fn present(&self) -> impl Iterator<Item = Field> {
        self.read.iter().map(|&(field, _)| field).filter(|&field| field != Field::UserEmail)
    }

    pub(super) fn column_of(&self, field: Field) -> Option<usize> {
        self.fields[field.index()]
    }

    /// The header of the field's column, for messages.
    pub(super) fn header_of(&self, field: Field) -> Option<String> {
        self.column_of(field).and_then(|column| self.headers.get(column)).cloned()
    }

    fn require_user_name(&self, normal: &[String]) -> Result<(), String> {
        if self.column_of(Field::UserName).or(self.column_of(Field::UserEmail)).is_some() {
            return Ok(());
        }
        let free = |column: &usize| !self.fields.contains(&Some(*column));
        let near = (0..normal.len())
            .filter(free)
            .map(|column| {
                let far = |alias: &&str| distance(&normal[column], alias);
                (Field::UserName.aliases().iter().map(far).min().unwrap_or(usize::MAX), column)
            })
            .min()
            .filter(|&(far, column)| far <= 2 && far < normal[column].chars().count());
        let what_to_do = if let Some((_, column)) = near {
            let header = escape_untrusted(&self.headers[column], 60);
            format!("did you mean \"{header}\"? Then rename it, or say --column \"user_name={header}\"")
        } else {
            let found: Vec<String> =
                self.headers.iter().take(12).map(|h| format!("\"{}\"", escape_untrusted(h, 60))).collect();
            format!("found: {}. Name the column with --column user_name=HEADER", found.join(", "))
        };
        Err(format!("{NO_USER}; {what_to_do}"))
    }

    /// A misspelt header of an optional column would be passed over without a word. Where it is the desktop's, each
    /// row would mean *every* desktop of its user, so that is refused.
    fn look_for_misspelt(
        &mut self,
        normal: &[String],
        says_no_desktop: bool,
        is_none: &impl Fn(Field) -> bool,
    ) -> Result<(), String> {
        let no_desktop = self.column_of(Field::DesktopId).is_none() && self.column_of(Field::DesktopName).is_none();
        for (column, header) in normal.iter().enumerate() {
            let taken =
                self.fields.contains(&Some(column)) || RESULT_COLUMNS.iter().any(|own| normalise(own) == *header);
            if taken || Field::of_header(header).is_some() {
                continue;
            }
            if no_desktop && !says_no_desktop && !self.is_results && sounds_like_a_desktop(header) {
                return Err(unread_desktops(&self.headers[column]));
            }
            let is_open = |field: &Field| self.fields[field.index()].is_none() && !is_none(*field);
            for field in Field::ALL.into_iter().filter(is_open) {
                let is_near = |alias: &&str| {
                    let length = alias.chars().count();
                    distance(header, alias) <= if length >= 8 { 2 } else { usize::from(length >= 4) }
                };
                if !field.aliases().iter().any(is_near) {
                    continue;
                }
                let (name, header) = (field.as_str(), escape_untrusted(&self.headers[column], 60));
                if no_desktop && !says_no_desktop && matches!(field, Field::DesktopId | Field::DesktopName) {
                    return Err(format!(
                        "the header \"{header}\" is not known; did you mean `{name}`? Without a desktop column each \
                         row means every desktop of its user. Rename it, or say --column \"{name}={header}\""
                    ));
                }
                self.notes.push(format!(
                    "the column \"{header}\" is not read as `{name}`; if it is meant, say --column \"{name}={header}\""
                ));
                break;
            }
        }
        if no_desktop {
            self.notes.push("no desktop column: each row means every desktop that its user holds".to_owned());
        }
        Ok(())
    }

    fn sort_out_the_rest(&mut self, normal: &[String], outcome_counts: bool) -> Result<(), String> {
        for (column, header) in normal.iter().enumerate() {
            if self.fields.contains(&Some(column)) && self.column_of(Field::UserEmail) != Some(column) {
                continue;
            }
            let is_own = |own: &&str| normalise(own) == *header;
            let result = RESULT_COLUMNS.iter().find(|own| is_own(own));
            if result == Some(&"outcome") {
                if let Some(first) = self.outcome.filter(|_| outcome_counts) {
                    return Err(self.twice("outcome", first, column));
                }
                self.outcome = Some(column);
            }
            // A column that another one was chosen for would stand twice in the results.
            if result.is_none() {
                self.extras.push(column);
            } else if !self.is_results {
                let header = escape_untrusted(&self.headers[column], 60);
                self.notes.push(format!("the column \"{header}\" is replaced in the results by their own"));
            }
        }
        Ok(())
    }

    fn twice(&self, name: &str, first: usize, second: usize) -> String {
        twice(name, &self.headers, first, second)
    }
}

fn explicit(field: Field, wanted: &str, headers: &[String], normal: &[String]) -> Result<usize, String> {
    let name = field.as_str();
    match named(wanted, headers, normal) {
        (Some(column), None) => Ok(column),
        (Some(first), Some(second)) => Err(twice(name, headers, first, second)),
        (None, _) => {
            Err(format!("--column {name}={}: the header line has no such column", escape_untrusted(wanted, 60)))
        }
    }
}

/// The first two columns of this header, however it is spelt where none is spelt just so.
fn named(wanted: &str, headers: &[String], normal: &[String]) -> (Option<usize>, Option<usize>) {
    let mut exact = (0..headers.len()).filter(|&column| headers[column] == wanted.trim());
    let wanted_normal = normalise(wanted);
    let mut alike = (0..headers.len()).filter(|&column| normal[column] == wanted_normal);
    match (exact.next(), exact.next()) {
        (None, _) => (alike.next(), alike.next()),
        found => found,
    }
}

/// The columns that say from which day on a row is due.
fn days(due: &Due, headers: &[String], normal: &[String]) -> Result<Vec<usize>, String> {
    match due {
        Due::Now => Ok(Vec::new()),
        Due::Ask { .. } => Ok((0..normal.len()).filter(|&at| due::HEADERS.contains(&normal[at].as_str())).collect()),
        Due::By { header, .. } => match named(header, headers, normal) {
            (Some(column), None) => Ok(vec![column]),
            (found, _) => {
                let what = if found.is_some() { "several such columns; rename one" } else { "no such column" };
                Err(format!("--due-column {}: the header line has {what}", escape_untrusted(header, 60)))
            }
        },
    }
}

fn place(
    fields: &mut [Option<usize>; Field::READ.len()],
    field: Field,
    column: usize,
    headers: &[String],
) -> Result<(), String> {
    match fields[field.index()].replace(column) {
        Some(first) if first != column => Err(twice(field.as_str(), headers, first, column)),
        _ => Ok(()),
    }
}

fn twice(name: &str, headers: &[String], first: usize, second: usize) -> String {
    let header = |column: usize| {
        format!("column {} \"{}\"", column + 1, headers.get(column).map_or(String::new(), |h| escape_untrusted(h, 60)))
    };
    format!(
        "`{name}` is there twice: {} and {}; rename or remove one, or choose with --column {name}=HEADER",
        header(first),
        header(second)
    )
}

/// Levenshtein distance in characters, of texts that are cut at 64.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, c) in one.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, d) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(headers: &str, options: &ReadOptions) -> Result<Layout, String> {
        Layout::new(headers.split(',').map(str::to_owned).collect(), options)
    }

    fn plain(headers: &str) -> Result<Layout, String> {
        layout(headers, &ReadOptions::default())
    }

    #[test]
    fn every_alias_is_found_without_case_blanks_and_dashes() {
        for (headers, field, column) in [
            ("Desktop ID,USER-NAME", Field::DesktopId, 0),
            ("desktop,User", Field::UserName, 1),
            ("computer_name,username", Field::DesktopName, 0),
            ("桌面ID,用户名", Field::DesktopId, 0),
            ("桌面 名称,用户名", Field::DesktopName, 0),
            ("用户名,用户ID", Field::UserId, 1),
            ("user,用户组", Field::UserGroup, 1),
            ("user,类型,域", Field::Domain, 2),
            ("user,类型,域", Field::Type, 1),
            ("user,Do main", Field::Domain, 1),
        ] {
            assert_eq!(plain(headers).unwrap().column_of(field), Some(column), "{headers}");
        }
    }

    #[test]
    fn a_field_twice_is_refused_and_both_columns_are_named() {
        let problem = plain("desktop,user,Desktop_ID").unwrap_err();
        assert!(problem.contains("column 1 \"desktop\"") && problem.contains("column 3 \"Desktop_ID\""), "{problem}");
    }

    #[test]
    fn a_missing_user_name_names_the_nearest_header() {
        let problem = plain("desktop_id,usr_name").unwrap_err();
        assert!(problem.contains("did you mean \"usr_name\"?"), "{problem}");
        let problem = plain("a,b").unwrap_err();
        assert!(problem.contains("found: \"a\", \"b\""), "{problem}");
    }

    #[test]
    fn a_misspelt_desktop_column_never_becomes_every_desktop_of_the_user() {
        let problem = plain("desktp_id,user").unwrap_err();
        assert!(problem.contains("did you mean `desktop_id`?"), "{problem}");
        assert!(plain("desktops,user").is_err());
        assert!(plain("desktops,desktop_id,user").is_ok());
        let only_users = plain("user,office").unwrap();
        assert!(only_users.notes.iter().any(|note| note.contains("no desktop column")));
        let domains = plain("user,desktop,domains").unwrap();
        assert!(domains.notes[0].contains("not read as `domain`"), "{:?}", domains.notes);
    }

    #[test]
    fn columns_named_by_the_user_win_over_aliases() {
        let mut options = ReadOptions { columns: vec![(Field::UserName, "Konto".to_owned())], ..Default::default() };
        let found = layout("desktop,konto,user", &options).unwrap();
        assert_eq!((found.column_of(Field::UserName), found.extras), (Some(1), vec![2]));
        options.columns[0].1 = "account".to_owned();
        assert!(layout("desktop,konto,user", &options).unwrap_err().contains("no such column"));
    }

    #[test]
    fn columns_of_the_results_are_replaced_and_others_travel_through() {
        let found = plain("line,user_name,outcome,office,finished_at,Still via,desktop_id").unwrap();
        assert!(found.is_results && found.notes.is_empty());
        assert_eq!((found.extras, found.outcome), (vec![3], Some(2)));
        let found = plain("Chunk,user,desktop").unwrap();
        assert!(found.extras.is_empty() && found.notes[0].contains("replaced"));
    }

    #[test]
    fn results_whose_input_had_a_second_user_column_read_back() {
        let found = plain("line,user_name,outcome,finished_at,desktop_id,user").unwrap();
        assert_eq!((found.column_of(Field::UserName), found.extras), (Some(1), vec![5]));
    }

    #[test]
    fn distances_are_counted_in_characters() {
        for (one, other, far) in [("", "abc", 3), ("user", "user", 0), ("usre", "user", 2), ("用户", "用户名", 1)]
        {
            assert_eq!(distance(one, other), far);
        }
    }
}
