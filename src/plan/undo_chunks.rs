//! What an undo sends: bindings to put back, or to take away again, divided into chunks by the rules of every plan.

use super::bodies::{
    EMPTY_ATTACH_BODY, EMPTY_BODY, attach_desktop_len, attach_user_len, binding, desktop_len, user_len,
};
use super::context::{ItemRec, place};
use super::policy::Bounds;
use super::split::{Chunk, pack};
use crate::journal::{Item, ItemId, SlotNo};
use crate::model::Class;
use crate::text::bytes::to_usize;

/// Bindings to put back (or, by an undo of an undo, to take away again), in chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachments {
    /// In the order of chunks, numbered from 1.
    pub items: Vec<Item>,
    pub chunks: Vec<Chunk>,
    /// For each desktop given, for each of its slots, what it is sent as; `None` where it is too long for a request even
    /// alone.
    pub places: Vec<Vec<Option<(ItemId, SlotNo)>>>,
}

/// Divides desktops, each given once with all that is to be changed on it, into items and chunks.
///
/// * `class`: [`Class::BatchAttach`] or [`Class::BatchDetach`], whose bodies carry them.
///
/// The rules are those of a plan: bounds, rounds, pools apart, the canary first. Ids and chunk numbers that the items
/// come with do not count. No slot may be of [`Kind::All`](crate::model::Kind::All).
pub(crate) fn attachments(class: Class, desktops: &[Item], bounds: &Bounds, canary: Option<u32>) -> Attachments {
    let attaches = class == Class::BatchAttach;
    // The packer counts the frame of a detach body: what an attach body's is longer by, is taken off its room.
    let longer = if attaches { EMPTY_ATTACH_BODY - EMPTY_BODY } else { 0 };
    let bounds = Bounds { max_bytes: bounds.max_bytes.saturating_sub(longer), ..*bounds };
    let most = bounds.max_users_per_desktop.min(bounds.max_users).clamp(1, 500);

    let mut slices: Vec<ItemRec> = Vec::new();
    // All slots that are sent, a desktop's together: its place, and the slot's there.
    let mut slots: Vec<(usize, usize)> = Vec::new();
    for (at, desktop) in desktops.iter().enumerate() {
        let id = desktop.desktop.as_str();
        let frame = if attaches { attach_desktop_len(id) } else { desktop_len(id, false) };
        let mut open: Option<ItemRec> = None;
        for (slot_at, slot) in desktop.slots.iter().enumerate() {
            let user = if attaches { attach_user_len(slot) } else { user_len(&binding(slot)) };
            if EMPTY_BODY + frame + user > bounds.max_bytes {
                continue;
            }
            let full = |item: &ItemRec| {
                usize::from(item.len) >= most
                    || EMPTY_BODY + to_usize(item.chunk_or_bytes) + 1 + user > bounds.max_bytes
            };
            slices.extend(open.take_if(|item| full(item)));
            let first = place(slots.len());
            let item = open.get_or_insert(ItemRec {
                desk: place(at),
                first,
                chunk_or_bytes: place(frame),
                len: 0,
                all: false,
            });
            item.chunk_or_bytes += place(user) + u32::from(item.len > 0);
            item.len += 1;
            slots.push((at, slot_at));
        }
        slices.extend(open);
    }
    let is_pooled = |desk| desktops.get(to_usize(desk)).is_some_and(|desktop| desktop.pooled);
    let mut chunks = pack(&mut slices, &bounds, canary, is_pooled);
    for chunk in &mut chunks {
        chunk.bytes += longer;
    }

    let mut places: Vec<_> = desktops.iter().map(|desktop| vec![None; desktop.slots.len()]).collect();
    let items = slices.iter().zip(1u32..).map(|(slice, id)| {
        let desktop = &desktops[to_usize(slice.desk)];
        let carried = slots[slice.slots()].iter().zip(0u16..).map(|(&(at, slot), number)| {
            places[at][slot] = Some((id, number));
            desktop.slots[slot].clone()
        });
        let slots = carried.collect();
        Item { id, chunk: slice.chunk_or_bytes + 1, all: false, slots, ..desktop.clone() }
    });
    Attachments { items: items.collect(), chunks, places }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{attach_body, detach_body};
    use super::*;
    use crate::journal::Slot;
    use crate::testing::build;

    fn desktop(number: usize, users: &[String], pooled: bool) -> Item {
        let slots = users
            .iter()
            .map(|user| Slot { user_group: Some("users".to_owned()), ..build::slot(&format!("{user}#id-{user}")) });
        Item { pooled, all: true, slots: slots.collect(), ..build::item(0, &format!("d{number}"), &[]) }
    }

    proptest! {
        #[test]
        fn p06_what_is_put_back_is_partitioned_within_all_bounds(
            world in prop::collection::vec((prop::collection::vec("\\PC{1,30}", 0..5), any::<bool>()), 0..9),
            max_desktops in 1usize..4, max_users in 1usize..5, max_users_per_desktop in 1usize..4,
            max_bytes in 230usize..600, attaches: bool, canary in prop::option::of(0u32..3),
        ) {
            let desktops: Vec<Item> =
                world.iter().enumerate().map(|(at, (users, pooled))| desktop(at, users, *pooled)).collect();
            let bounds = Bounds { max_desktops, max_users, max_users_per_desktop, max_bytes };
            let class = if attaches { Class::BatchAttach } else { Class::BatchDetach };
            let made = attachments(class, &desktops, &bounds, canary);
            let mut sent = 0;
            for (desktop, places) in desktops.iter().zip(&made.places) {
                for (slot, place) in desktop.slots.iter().zip(places) {
                    if let &Some((id, number)) = place {
                        let item = &made.items[usize::try_from(id).unwrap() - 1];
                        prop_assert_eq!((item.id, &item.desktop), (id, &desktop.desktop));
                        prop_assert_eq!(&item.slots[usize::from(number)], slot);
                        sent += 1;
                    }
                }
            }
            prop_assert_eq!(sent, made.items.iter().map(|item| item.slots.len()).sum::<usize>());
            let mut body = Vec::new();
            for chunk in &made.chunks {
                let of: Vec<&Item> = made.items.iter().filter(|item| item.chunk == chunk.number).collect();
                let numbers: Vec<Vec<SlotNo>> =
                    of.iter().map(|item| (0..).zip(&item.slots).map(|(number, _)| number).collect()).collect();
                let carried: Vec<(&Item, &[SlotNo])> =
                    of.iter().copied().zip(numbers.iter().map(Vec::as_slice)).collect();
                if attaches { attach_body(&carried, &mut body) } else { detach_body(&carried, &mut body) }
                prop_assert_eq!((chunk.desktops, chunk.bytes), (of.len(), body.len()));
                prop_assert!(of.len() <= max_desktops && chunk.users <= max_users && body.len() <= max_bytes);
                prop_assert!(of.iter().all(|item| item.pooled == of[0].pooled && !item.all));
                prop_assert!(of.iter().all(|item| item.slots.len() <= max_users_per_desktop));
            }
            prop_assert!(made.items.is_sorted_by_key(|item| item.chunk));
        }
    }
}
