//! A list without a desktop column whose desktops stand in a column that nobody read.

use super::snapshot::Snapshot;
use crate::input::{Field, Input};
use crate::model::{DesktopId, fold};

/// The header of a column that is not read, and whose cells are ids of live desktops, or mostly names of them: then each
/// row is about one desktop, and would be taken for every one of its user. `None` where the list has a desktop column,
/// or not all desktops were seen.
pub fn unread_desktops<'t>(input: &'t Input, look: &Snapshot) -> Option<&'t str> {
    let table = &input.table;
    if !look.is_proved || table.has(Field::DesktopId) || table.has(Field::DesktopName) {
        return None;
    }
    let mut columns = vec![Cells::default(); table.extra_columns().len()];
    for row in table.rows() {
        for (column, cell) in columns.iter_mut().zip(row.extras()) {
            column.count(cell.trim(), look);
        }
    }
    let found = columns.iter().position(|cells| cells.ids > 0 || 2 * cells.names > cells.filled);
    found.and_then(|at| table.extra_columns().get(at)).map(String::as_str)
}

/// What the cells of a column are.
#[derive(Debug, Clone, Default)]
struct Cells {
    filled: usize,
    ids: usize,
    names: usize,
}

impl Cells {
    fn count(&mut self, cell: &str, look: &Snapshot) {
        if cell.is_empty() {
            return;
        }
        self.filled += 1;
        let is_id = || DesktopId::parse(cell).is_some_and(|id| look.desktops.get(&id).is_some_and(Option::is_some));
        self.ids += usize::from(is_id());
        self.names += usize::from(look.by_name.contains_key(&*fold(cell)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{desktop, input, snapshot};
    use super::*;

    #[test]
    fn cells_that_are_ids_or_names_of_desktops_tell_the_column() {
        let seen = snapshot([desktop("d1", &["ann"]), desktop("d2", &["bob"])]);
        let told = |csv: &str| unread_desktops(&input(csv), &seen).map(str::to_owned);
        assert_eq!(told("user,where,note\nann,x,d1\nbob,y,\n").as_deref(), Some("note"));
        assert_eq!(told("user,where\nann,pc-D1 \nbob,PC-d2\ncara,desk 7\n").as_deref(), Some("where"));
        assert_eq!(told("user,where\nann,PC-d1\nbob,floor 2\n"), None, "a floor may be called like a desktop");
        assert_eq!(told("user,desktop,where\nann,d1,d2\n"), None);
        let unproved = Snapshot { is_proved: false, ..seen.clone() };
        assert_eq!(unread_desktops(&input("user,note\nann,d1\n"), &unproved), None);
    }
}
