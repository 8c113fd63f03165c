//! What the writer has to know of each item that a record names: of which chunk it is, and how many rows each of its
//! slots stands for. The plan never changes, so it is read once for an intent and its outcomes.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::codec;
use super::load;
use super::record::{ItemId, SlotNo};
use super::replay::no_item;
use super::schema::Fault;

/// Slots that are kept at most, some more for the chunk at hand: 8 MB and less. Enough for all that is in work at a time;
/// with more, the memory of a run would grow for hours.
const KEPT: usize = 1 << 17;

/// One item's part of the plan, as far as counting goes.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) chunk: u32,
    /// Rows of each slot.
    pub(super) rows: Box<[u32]>,
    /// Whether any settlement of it is on record.
    pub(super) settled: bool,
}

/// The shapes of the items lately in work.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    items: HashMap<ItemId, Shape>,
    slots: usize,
}

impl Shapes {
    /// The shape of an item that the plan holds.
    ///
    /// # Errors
    /// It holds none of that number, or not so many slots as `slots` names.
    pub(super) fn get(&mut self, connection: &Connection, item: ItemId, slots: &[SlotNo]) -> Result<&mut Shape, Fault> {
        if !self.items.contains_key(&item) {
            self.fetch(connection, item)?;
        }
        let shape = self.items.get_mut(&item).ok_or_else(|| no_item(item))?;
        match slots.iter().find(|slot| usize::from(**slot) >= shape.rows.len()) {
            Some(slot) => Err(Fault::Bad(format!("item {item} has no slot {slot}"))),
            None => Ok(shape),
        }
    }

    /// Whether the item is known to be of that chunk: so are all of a chunk of which [`Shapes::get`] gave one.
    pub(super) fn is_of(&self, item: ItemId, chunk: u32) -> bool {
        self.items.get(&item).is_some_and(|shape| shape.chunk == chunk)
    }

    /// Reads the whole chunk of an item: its neighbours are named next, nearly always.
    fn fetch(&mut self, connection: &Connection, item: ItemId) -> Result<(), Fault> {
        if self.slots >= KEPT {
            *self = Self::default();
        }
        let range = load::range_of_item(connection, item)?.ok_or_else(|| no_item(item))?;
        let bounds = params![range.first, range.last];
        let mut found = connection.prepare_cached("SELECT id, rows FROM item WHERE id BETWEEN ?1 AND ?2")?;
        let mut rows = found.query(bounds)?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let rows = codec::read_rows(id, row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
            self.slots += rows.len();
            self.items.insert(id, Shape { chunk: range.chunk, rows, settled: false });
        }
        load::each_outcome(connection, range.chunk, |carries, _| {
            for (item, _) in carries {
                if let Some(shape) = self.items.get_mut(&item) {
                    shape.settled = true;
                }
            }
            Ok(())
        })
    }
}
