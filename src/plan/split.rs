//! From slices to chunks, in rounds, so that two parts of one desktop never share a chunk and keep their order.

use super::bodies::EMPTY_BODY;
use super::context::{ItemRec, place};
use super::policy::Bounds;
use crate::text::bytes::to_usize;

/// What one batch-detach request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// From 1, in the order in which chunks are sent.
    pub number: u32,
    pub desktops: usize,
    /// Users and groups that the body lists; an `ALL` lists none.
    pub users: usize,
    /// Of the JSON body.
    pub bytes: usize,
    /// Whether it belongs to the canary, so that all others wait for it.
    pub canary: bool,
    /// The place of its first item.
    pub(super) first: usize,
}

/// Packs slices into chunks. `items` come in the order of desktops, a desktop's slices together, and leave in the
/// order of chunks.
///
/// Round 0 holds the first slice of every desktop, round 1 the second of those that have one, and so on; within a
/// round desktops of pools fill chunks of their own. Chunks are numbered by round, then by their first desktop. The
/// first `canary` desktops go through all their rounds before any other.
pub(super) fn pack(
    items: &mut [ItemRec],
    bounds: &Bounds,
    canary: Option<u32>,
    is_pooled: impl Fn(u32) -> bool,
) -> Vec<Chunk> {
    let border = canary_border(items, canary);
    let mut chunks = Vec::new();
    for (from, to) in [(0, border), (border, items.len())] {
        let (first, later) = rounds(&items[from..to]);
        let mut start = 0;
        let canary = canary.is_some() && from < border;
        round(&mut items[from..to], first, bounds, canary, &is_pooled, &mut chunks);
        while start < later.len() {
            let this = later[start].0;
            let end = start + later[start..].partition_point(|&(round, _)| round == this);
            let members = later[start..end].iter().map(|&(_, at)| at);
            round(&mut items[from..to], members, bounds, canary, &is_pooled, &mut chunks);
            start = end;
        }
    }
    items.sort_unstable_by_key(|item| (item.chunk_or_bytes, item.desk));
    let mut first = 0;
    for (chunk, number) in chunks.iter_mut().zip(1u32..) {
        (chunk.number, chunk.first) = (number, first);
        first += chunk.desktops;
    }
    chunks
}

/// The place of the first slice that is not the canary's.
fn canary_border(items: &[ItemRec], canary: Option<u32>) -> usize {
    let Some(canary) = canary else { return 0 };
    let mut desks = 0;
    let mut last = None;
    items
        .iter()
        .position(|item| {
            if last != Some(item.desk) {
                (last, desks) = (Some(item.desk), desks + 1);
            }
            desks > canary
        })
        .unwrap_or(items.len())
}

/// The places of all first slices, and `(round, place)` of the later ones, sorted.
fn rounds(items: &[ItemRec]) -> (impl Iterator<Item = usize> + use<>, Vec<(u32, usize)>) {
    let mut later = Vec::new();
    let mut starts = vec![0u64; items.len().div_ceil(64)];
    let (mut last, mut round) = (None, 0);
    for (at, item) in items.iter().enumerate() {
        if last == Some(item.desk) {
            round += 1;
            later.push((round, at));
        } else {
            (last, round) = (Some(item.desk), 0);
            starts[at / 64] |= 1 << (at % 64);
        }
    }
    later.sort_unstable();
    let len = items.len();
    ((0..len).filter(move |at| starts[at / 64] & (1 << (at % 64)) != 0), later)
}

/// Packs one round: next-fit, in the order of desktops, ordinary and pooled desktops apart.
fn round(
    items: &mut [ItemRec],
    members: impl Iterator<Item = usize>,
    bounds: &Bounds,
    canary: bool,
    is_pooled: &impl Fn(u32) -> bool,
    chunks: &mut Vec<Chunk>,
) {
    // A chunk is numbered when it is opened: that is the order of first desktops.
    let mut open: [Option<usize>; 2] = [None, None];
    for at in members {
        let item = &mut items[at];
        let (users, bytes) = (item.users(), to_usize(item.chunk_or_bytes));
        let open = &mut open[usize::from(is_pooled(item.desk))];
        let fits = |chunk: &Chunk| {
            chunk.desktops < bounds.max_desktops
                && chunk.users + users <= bounds.max_users
                && chunk.bytes + 1 + bytes <= bounds.max_bytes
        };
        let chunk = open.filter(|&open| fits(&chunks[open])).unwrap_or_else(|| {
            let (desktops, number, first) = (0, 0, 0);
            chunks.push(Chunk { number, desktops, users: 0, bytes: EMPTY_BODY, canary, first });
            *open.insert(chunks.len() - 1)
        });
        let this = &mut chunks[chunk];
        this.bytes += usize::from(this.desktops > 0) + bytes;
        this.desktops += 1;
        this.users += users;
        item.chunk_or_bytes = place(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(desk: u32, len: u16) -> ItemRec {
        ItemRec { desk, first: 0, chunk_or_bytes: 10, len, all: false }
    }

    fn packed(slices: &[(u32, u16)], bounds: Bounds, canary: Option<u32>, pooled: &[u32]) -> Vec<Vec<(u32, u16)>> {
        let mut items: Vec<_> = slices.iter().map(|&(desk, len)| slice(desk, len)).collect();
        let chunks = pack(&mut items, &bounds, canary, |desk| pooled.contains(&desk));
        let of = |chunk: &Chunk| &items[chunk.first..chunk.first + chunk.desktops];
        chunks.iter().map(|chunk| of(chunk).iter().map(|item| (item.desk, item.len)).collect()).collect()
    }

    #[test]
    fn p06_parts_of_one_desktop_sit_in_later_chunks_in_their_order() {
        let slices = [(0, 3), (0, 3), (0, 1), (1, 2), (2, 3), (2, 2)];
        assert_eq!(
            packed(&slices, Bounds::default(), None, &[]),
            [vec![(0, 3), (1, 2), (2, 3)], vec![(0, 3), (2, 2)], vec![(0, 1)]]
        );
    }

    #[test]
    fn pool_desktops_fill_chunks_of_their_own_numbered_by_their_first_desktop() {
        let bounds = Bounds { max_desktops: 2, ..Bounds::default() };
        assert_eq!(
            packed(&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)], bounds, None, &[1, 4]),
            [vec![(0, 1), (2, 1)], vec![(1, 1), (4, 1)], vec![(3, 1)]]
        );
    }

    #[test]
    fn the_canary_goes_through_all_its_rounds_first() {
        assert_eq!(
            packed(&[(0, 3), (0, 1), (1, 2), (2, 3)], Bounds::default(), Some(2), &[]),
            [vec![(0, 3), (1, 2)], vec![(0, 1)], vec![(2, 3)]]
        );
    }

    #[test]
    fn a_chunk_is_closed_by_users_and_by_bytes() {
        let users = Bounds { max_users: 4, ..Bounds::default() };
        assert_eq!(packed(&[(0, 3), (1, 2), (2, 2)], users, None, &[]), [vec![(0, 3)], vec![(1, 2), (2, 2)]]);
        let bytes = Bounds { max_bytes: EMPTY_BODY + 21, ..Bounds::default() };
        assert_eq!(packed(&[(0, 1), (1, 1), (2, 1)], bytes, None, &[]), [vec![(0, 1), (1, 1)], vec![(2, 1)]]);
    }
}
