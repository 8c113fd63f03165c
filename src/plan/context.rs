//! What a plan stands on: the rows, what the preflight saw, and the desktops that they name.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};

use super::address::{Addressed, addressed};
use super::bodies::{Binding, plain_user_len, user_len};
use super::directory::Account;
use super::matching::Wanted;
use super::snapshot::{Snapshot, UserKey};
use crate::config::Protected;
use crate::input::{Field, Input, RowRef};
use crate::model::{Bound, DesktopId, Kind, LiveDesktop, fold};
use crate::text::bytes::to_usize;

/// No row, no desktop, no binding.
pub(super) const NONE: u32 = u32::MAX;

/// A place among things that one plan holds.
pub(super) fn place(at: usize) -> u32 {
    u32::try_from(at).expect("an input has at most some ten million rows, and memory ends before 2^32 entries")
}

/// One record of the results to be: a row, or a row on one of the desktops that its user holds. See
/// [`Entries`](super::entries::Entries).
#[derive(Debug, Clone, Copy)]
pub(super) struct EntryRec {
    pub(super) row: u32,
    /// What is to be sent: its slot (before it is judged, its desktop). A fault of the row itself: its place in the
    /// input's faults. Else the desktop; [`NONE`] where the row is settled without one.
    pub(super) to: u32,
}

/// One binding that is to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotRec {
    /// The row it is sent for: the first that names it with a privilege group, else the first that names it.
    /// [`NONE`]: no row names it; it goes with an `ALL`.
    pub(super) row: u32,
    /// Its place among the desktop's live bindings; [`NONE`]: as the row gives it.
    pub(super) bound: u32,
    /// How many entries share it.
    pub(super) rows: u32,
    /// The place of its item.
    pub(super) item: u32,
}

/// One desktop's share of one chunk: `len` slots from `first` on.
#[derive(Debug, Clone, Copy)]
pub(super) struct ItemRec {
    pub(super) desk: u32,
    pub(super) first: u32,
    /// The place of its chunk; until it is packed, its bytes on the wire.
    pub(super) chunk_or_bytes: u32,
    pub(super) len: u16,
    pub(super) all: bool,
}

impl ItemRec {
    /// Users that its body lists.
    pub(super) fn users(&self) -> usize {
        if self.all { 0 } else { usize::from(self.len) }
    }

    pub(super) fn slots(&self) -> std::ops::Range<usize> {
        let first = to_usize(self.first);
        first..first + usize::from(self.len)
    }
}

/// Whom a row means that gives this address.
pub(super) fn whom<'t>(cells: RowRef<'t>, addressed: Option<Addressed<'t>>) -> Wanted<'t> {
    let account = match addressed {
        Some(Addressed::One(account)) => Some(account),
        _ => None,
    };
    let or = |cell: &'t str, known: fn(&'t Account) -> &'t str| match account {
        Some(account) if cell.is_empty() => known(account),
        _ => cell,
    };
    Wanted {
        kind: cells.kind().unwrap_or_default(),
        name: or(cells.get(Field::UserName), |account| &account.name),
        id: or(cells.get(Field::UserId), |account| &account.id),
        domain: cells.get(Field::Domain),
    }
}

/// See the module. Desktops are numbered as they are first seen.
#[derive(Debug)]
pub(super) struct Context<'t> {
    pub(super) input: &'t Input,
    pub(super) look: Option<&'t Snapshot>,
    pub(super) protect: Protected,
    /// Whom rows mean that give an address.
    addressed: HashMap<u32, Addressed<'t>>,
    /// For each desktop, what its id is: its number in the input's table, or, with [`FOUND`] set, its place in `found`.
    desks: Vec<u32>,
    /// Ids that the input does not hold: found by name or by user.
    found: Vec<&'t str>,
    /// As seen; empty without a look.
    live: Vec<Option<&'t LiveDesktop>>,
}

const FOUND: u32 = 1 << 31;

/// Finds a desktop's number: by the number of its id in the input's table, or by the id.
#[derive(Default)]
pub(super) struct Numbers<'t> {
    /// By the id's number; [`NONE`] where the desktop was not seen yet.
    given: Vec<u32>,
    /// The numbers of the input's ids; made for the first one that was found by name or by user.
    ids: HashMap<&'t str, u32>,
    /// Desktops of [`Context::found`].
    found: HashMap<&'t str, u32>,
    /// By the id in lower case, where ids of the list differ by case alone, and nobody looked.
    folded: Option<HashMap<String, u32>>,
}

impl Numbers<'_> {
    /// The number of the desktop that a row gives the id of, if it was seen before.
    ///
    /// * `id`: its number in the input's table.
    pub(super) fn known(&self, id: u32) -> Option<u32> {
        self.given.get(to_usize(id)).copied().filter(|&desk| desk != NONE)
    }
}

impl<'t> Context<'t> {
    pub(super) fn new(input: &'t Input, look: Option<&'t Snapshot>, protect: &Protected) -> Self {
        let addressed = addressed(input, look.and_then(|look| look.users.as_ref()));
        let protect = protect.clone();
        Self { input, look, protect, addressed, desks: Vec::new(), found: Vec::new(), live: Vec::new() }
    }

    /// Numbers every desktop that the input gives the id of.
    pub(super) fn number_all(&mut self) {
        self.desks = (1..place(self.input.table.desktops())).collect();
    }

    /// The number of the desktop that a row gives the id of; a new one if it was not seen before.
    ///
    /// * `id`: its number in the input's table.
    pub(super) fn number(&mut self, numbers: &mut Numbers<'t>, id: u32) -> u32 {
        if let Some(known) = numbers.known(id) {
            return known;
        }
        if numbers.given.is_empty() {
            numbers.given = vec![NONE; self.input.table.desktops()];
            numbers.folded = (self.look.is_none() && self.has_ids_in_two_cases()).then(HashMap::new);
        }
        let text = self.input.table.desktop(id);
        let known = numbers.folded.as_ref().and_then(|known| known.get(&text.to_ascii_lowercase()).copied());
        let desk = match (self.look.and_then(|look| look.spelled.get(text)), known) {
            (Some(spelled), _) => self.number_found(numbers, spelled.as_str()),
            (None, Some(known)) => known,
            (None, None) => self.add(id, text),
        };
        if let Some(folded) = &mut numbers.folded {
            folded.entry(text.to_ascii_lowercase()).or_insert(desk);
        }
        numbers.given[to_usize(id)] = desk;
        desk
    }

    /// Whether two ids of the input differ by case alone: where nobody looked, they are taken for one desktop, of which two
    /// requests must never be open together (P6).
    pub(super) fn has_ids_in_two_cases(&self) -> bool {
        let table = &self.input.table;
        let ids = || (1..place(table.desktops())).map(|id| table.desktop(id));
        if !ids().any(|id| id.bytes().any(|byte| byte.is_ascii_uppercase())) {
            return false;
        }
        let folded = |id: &str| {
            let mut hash = DefaultHasher::new();
            id.bytes().for_each(|byte| hash.write_u8(byte.to_ascii_lowercase()));
            hash.finish()
        };
        // By the million, so by their hashes: two that meet by chance cost some time, and nothing else.
        let mut hashes: Vec<u64> = ids().map(folded).collect();
        hashes.sort_unstable();
        hashes.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// The number of a desktop that the service found; a new one if it was not seen before.
    pub(super) fn number_found(&mut self, numbers: &mut Numbers<'t>, id: &'t str) -> u32 {
        let table = &self.input.table;
        if numbers.ids.is_empty() {
            numbers.ids = (0..place(table.desktops())).map(|number| (table.desktop(number), number)).collect();
        }
        if let Some(&given) = numbers.ids.get(id) {
            return self.number(numbers, given);
        }
        if let Some(&known) = numbers.found.get(id) {
            return known;
        }
        self.found.push(id);
        let desk = self.add(place(self.found.len() - 1) | FOUND, id);
        numbers.found.insert(id, desk);
        desk
    }

    fn add(&mut self, what: u32, id: &str) -> u32 {
        self.desks.push(what);
        if let Some(look) = self.look {
            self.live.push(look.desktops.get(id).and_then(Option::as_ref));
        }
        place(self.desks.len() - 1)
    }

    pub(super) fn desks(&self) -> usize {
        self.desks.len()
    }

    pub(super) fn row(&self, row: u32) -> RowRef<'t> {
        self.input.table.row(to_usize(row))
    }

    pub(super) fn id(&self, desk: u32) -> &'t str {
        match self.desks.get(to_usize(desk)) {
            Some(&given) if given & FOUND == 0 => self.input.table.desktop(given),
            Some(&found) => self.found.get(to_usize(found & !FOUND)).copied().unwrap_or_default(),
            None => "",
        }
    }

    /// The desktop as seen; `None` without a look, and for one that the service does not know.
    pub(super) fn live(&self, desk: u32) -> Option<&'t LiveDesktop> {
        self.live.get(to_usize(desk)).copied().flatten()
    }

    pub(super) fn bound(&self, desk: u32) -> &'t [Bound] {
        self.live(desk).and_then(|live| live.bound.as_deref()).unwrap_or_default()
    }

    /// The desktops of this name.
    pub(super) fn named(&self, name: &str) -> &'t [DesktopId] {
        self.look.and_then(|look| look.by_name.get(&*fold(name))).map_or(&[], Vec::as_slice)
    }

    /// The desktops that the user of a row without one holds.
    pub(super) fn held(&self, row: u32) -> &'t [DesktopId] {
        let Some(look) = self.look else { return &[] };
        let wanted = self.wanted(row);
        let key = UserKey {
            kind: wanted.kind,
            name: wanted.name.to_owned(),
            id: wanted.id.to_owned(),
            domain: wanted.domain.to_owned(),
        };
        look.by_user.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Whom the row's address means; `None` where it gives none, or nobody was asked.
    pub(super) fn addressed(&self, row: u32) -> Option<Addressed<'t>> {
        self.addressed.get(&row).copied()
    }

    /// Whom the row means: by its own cells, and what they lack by its address.
    pub(super) fn wanted(&self, row: u32) -> Wanted<'t> {
        whom(self.row(row), self.addressed(row))
    }

    /// The live binding of a slot, if it was seen.
    pub(super) fn slot_bound(&self, desk: u32, slot: &SlotRec) -> Option<&'t Bound> {
        self.bound(desk).get(to_usize(slot.bound))
    }

    /// A slot as it goes on the wire: as the service spells it where it was seen, else as the row gives it.
    pub(super) fn binding(&self, desk: u32, slot: &SlotRec) -> Binding<'t> {
        let row = (slot.row != NONE).then(|| self.row(slot.row));
        let mut cells = row.map(RowRef::cells).unwrap_or_default();
        if row.is_some() && self.addressed.contains_key(&slot.row) {
            let Wanted { name, id, .. } = self.wanted(slot.row);
            [cells[Field::UserName.index()], cells[Field::UserId.index()]] = [name, id];
        }
        let cell = |field: Field| Some(cells[field.index()]).filter(|text| !text.is_empty());
        match self.slot_bound(desk, slot) {
            Some(one) => Binding {
                kind: one.kind,
                user_name: &one.user_name,
                user_id: one.user_id.as_deref().or_else(|| cell(Field::UserId)),
                sent_group: cell(Field::UserGroup),
                domain: one.domain.as_deref().or_else(|| cell(Field::Domain)),
                is_plain: false,
            },
            None => match row.and_then(RowRef::kind).unwrap_or_default() {
                Kind::All => Binding {
                    kind: Kind::All,
                    user_name: "",
                    user_id: None,
                    sent_group: None,
                    domain: None,
                    is_plain: true,
                },
                kind => Binding {
                    kind,
                    user_name: cell(Field::UserName).unwrap_or_default(),
                    user_id: cell(Field::UserId),
                    sent_group: cell(Field::UserGroup),
                    domain: cell(Field::Domain),
                    is_plain: row.is_some_and(RowRef::is_plain) && !self.addressed.contains_key(&slot.row),
                },
            },
        }
    }

    /// Whether a slot's row gives the desktop's id, and tells that it stands in JSON as it is.
    pub(super) fn id_is_plain(&self, desk: u32, slot: &SlotRec) -> bool {
        let row = (slot.row != NONE).then(|| self.row(slot.row));
        row.is_some_and(|row| row.is_plain() && self.desks.get(to_usize(desk)) == Some(&row.desktop()))
    }

    /// Bytes of a slot on the wire, without a look at the text of a plain row.
    pub(super) fn user_len(&self, desk: u32, slot: &SlotRec) -> usize {
        if slot.bound == NONE && slot.row != NONE {
            let cells = self.row(slot.row);
            let is_plain = cells.is_plain() && !self.addressed.contains_key(&slot.row);
            if let (true, Some(kind @ (Kind::User | Kind::Group))) = (is_plain, cells.kind()) {
                let [name, optional @ ..] =
                    cells.lens([Field::UserName, Field::UserId, Field::UserGroup, Field::Domain]);
                return plain_user_len(kind, name, optional);
            }
        }
        user_len(&self.binding(desk, slot))
    }
}
