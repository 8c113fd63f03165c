//! The bodies of the write requests, byte for byte, and how long they get.

use crate::api::wire::{
    AssignModel, AttachDesktop, AttachRequest, AttachUser, DetachDesktop, DetachRequest, DetachUser,
};
use crate::journal::{Item, Slot, SlotNo};
use crate::model::Kind;

/// One binding as it goes on the wire, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binding<'a> {
    pub(super) kind: Kind,
    pub(super) user_name: &'a str,
    pub(super) user_id: Option<&'a str>,
    /// As the row gives it; what undo needs is not sent.
    pub(super) sent_group: Option<&'a str>,
    pub(super) domain: Option<&'a str>,
}

impl<'a> From<Binding<'a>> for DetachUser<'a> {
    fn from(one: Binding<'a>) -> Self {
        let Binding { kind, user_name, user_id, sent_group, domain } = one;
        Self { user_id, user_name, kind, user_group: sent_group, domain }
    }
}

/// One desktop of a body: everybody, or these users.
pub(super) fn detach_desktop<'a>(
    desktop_id: &'a str,
    all: bool,
    users: impl Iterator<Item = DetachUser<'a>>,
) -> DetachDesktop<'a> {
    // P5: a desktop of an `ALL` row has no list, and no other desktop is ever without one.
    let detach_user_infos = if all { Vec::new() } else { users.collect() };
    DetachDesktop { desktop_id, is_detach_all_users: all, detach_user_infos }
}

/// Writes a body; `out` is emptied first.
pub(super) fn write_detach(desktops: Vec<DetachDesktop<'_>>, out: &mut Vec<u8>) {
    to_json(&DetachRequest { desktops }, out);
}

fn to_json(request: &impl serde::Serialize, out: &mut Vec<u8>) {
    out.clear();
    serde_json::to_writer(out, request).expect("texts and booleans always become JSON, and memory is always written");
}

/// The body of a batch-detach request for these slots of these items; `out` is emptied first.
///
/// For all slots of a chunk's items it is the same bytes as the plan's. An `ALL` item is sent as such where its slots
/// hold the one of [`Kind::All`]; otherwise those of its users that are named. Items without a slot are left out.
pub fn detach_body(items: &[(&Item, &[SlotNo])], out: &mut Vec<u8>) {
    let desktops = items.iter().filter_map(|(item, carried)| {
        let slots = || carried.iter().filter_map(|&slot| item.slots.get(usize::from(slot)));
        let all = item.all && slots().any(|slot| slot.kind == Kind::All);
        let desktop = detach_desktop(item.desktop.as_str(), all, slots().map(|slot| binding(slot).into()));
        // Never an empty list (P5).
        (all || !desktop.detach_user_infos.is_empty()).then_some(desktop)
    });
    write_detach(desktops.collect(), out);
}

/// The body of a batch-attach request for these slots of these items; `out` is emptied first.
///
/// Each binding gets its own privilege group back; a slot without one is sent with an empty group, which the service
/// refuses, so an undo must not plan it.
pub fn attach_body(items: &[(&Item, &[SlotNo])], out: &mut Vec<u8>) {
    let desktops = items.iter().filter_map(|(item, carried)| {
        let slots = carried.iter().filter_map(|&slot| item.slots.get(usize::from(slot)));
        let attach_user_infos: Vec<_> = slots
            .filter(|slot| slot.kind != Kind::All)
            .map(|slot| AttachUser {
                user_id: slot.user_id.as_deref(),
                user_name: &slot.user_name,
                user_group: slot.user_group.as_deref().unwrap_or_default(),
                kind: slot.kind,
                domain: slot.domain.as_deref(),
            })
            .collect();
        let desktop_id = item.desktop.as_str();
        (!attach_user_infos.is_empty()).then_some(AttachDesktop { desktop_id, is_clear_data: false, attach_user_infos })
    });
    to_json(&AttachRequest { assign_model: AssignModel::FIXED, desktops: desktops.collect() }, out);
}

pub(super) fn binding(slot: &Slot) -> Binding<'_> {
    Binding {
        kind: slot.kind,
        user_name: &slot.user_name,
        user_id: slot.user_id.as_deref(),
        sent_group: slot.sent_group.as_deref(),
        domain: slot.domain.as_deref(),
    }
}

/// Bytes of a body without desktops.
pub(super) const EMPTY_BODY: usize = r#"{"desktops":[]}"#.len();

/// Bytes of a desktop without its users, or of one that everybody is detached from.
pub(super) fn desktop_len(id: &str, all: bool) -> usize {
    let rest = if all {
        r#"{"desktop_id":,"is_detach_all_users":true}"#.len()
    } else {
        r#"{"desktop_id":,"is_detach_all_users":false,"detach_user_infos":[]}"#.len()
    };
    rest + json_len(id)
}

/// Bytes of one user.
pub(super) fn user_len(one: &Binding<'_>) -> usize {
    let optional = |head: &str, text: Option<&str>| text.map_or(0, |text| head.len() + json_len(text));
    r#"{"user_name":,"type":""}"#.len()
        + json_len(one.user_name)
        + one.kind.as_str().len()
        + optional(r#""user_id":,"#, one.user_id)
        + optional(r#","user_group":"#, one.sent_group)
        + optional(r#","domain":"#, one.domain)
}

/// Bytes of a batch-attach body without desktops.
pub(super) const EMPTY_ATTACH_BODY: usize =
    r#"{"assign_model":{"priority_strategy":"FIXED_RELATION","assign_dimension":"DESKTOP"},"desktops":[]}"#.len();

/// Bytes of a desktop of a batch-attach body without its users.
pub(super) fn attach_desktop_len(id: &str) -> usize {
    r#"{"desktop_id":,"is_clear_data":false,"attach_user_infos":[]}"#.len() + json_len(id)
}

/// Bytes of one user of a batch-attach body.
pub(super) fn attach_user_len(slot: &Slot) -> usize {
    let sent_group = Some(slot.user_group.as_deref().unwrap_or_default());
    user_len(&Binding { sent_group, ..binding(slot) })
}

/// Bytes of a text as a JSON string, its quotes included, as `serde_json` writes it.
fn json_len(text: &str) -> usize {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let plain = text.len() + 2;
    // Counted without a branch per byte: nearly every text has none.
    if text.bytes().map(|byte| usize::from(special(byte))).sum::<usize>() == 0 {
        return plain;
    }
    let escapes = text.bytes().filter(|&byte| special(byte)).map(|byte| match byte {
        b'"' | b'\\' | 0x08 | 0x09 | 0x0A | 0x0C | 0x0D => 1,
        _ => 5,
    });
    plain + escapes.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::DesktopId;

    fn slot(kind: Kind, user_name: &str) -> Slot {
        Slot {
            kind,
            user_name: user_name.to_owned(),
            user_id: Some(format!("id-{user_name}")),
            user_group: Some("users".to_owned()),
            sent_group: None,
            domain: None,
            rows: 1,
            seen: true,
        }
    }

    fn item(desktop: &str, all: bool, slots: Vec<Slot>) -> Item {
        let desktop = DesktopId::parse(desktop).unwrap();
        Item { id: 1, chunk: 1, desktop, desktop_name: String::new(), pooled: false, all, slots, seen: true }
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"old".to_vec();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn p05_a_detach_body_never_has_an_empty_list_and_all_only_where_it_is_meant() {
        let all = item("d1", true, vec![slot(Kind::All, ""), slot(Kind::User, "a")]);
        let some = item("d2", false, vec![slot(Kind::User, "b"), slot(Kind::Group, "c")]);
        assert_eq!(
            text(|out| detach_body(&[(&all, &[0, 1]), (&some, &[1]), (&some, &[])], out)),
            r#"{"desktops":[{"desktop_id":"d1","is_detach_all_users":true},{"desktop_id":"d2","is_detach_all_users":false,"detach_user_infos":[{"user_id":"id-c","user_name":"c","type":"GROUP"}]}]}"#
        );
        assert_eq!(
            text(|out| detach_body(&[(&all, &[1])], out)),
            r#"{"desktops":[{"desktop_id":"d1","is_detach_all_users":false,"detach_user_infos":[{"user_id":"id-a","user_name":"a","type":"USER"}]}]}"#
        );
    }

    #[test]
    fn an_attach_body_keeps_the_data_and_gives_each_group_back() {
        let all = item("d1", true, vec![slot(Kind::All, ""), slot(Kind::User, "a")]);
        assert_eq!(
            text(|out| attach_body(&[(&all, &[0, 1]), (&all, &[0])], out)),
            r#"{"assign_model":{"priority_strategy":"FIXED_RELATION","assign_dimension":"DESKTOP"},"desktops":[{"desktop_id":"d1","is_clear_data":false,"attach_user_infos":[{"user_id":"id-a","user_name":"a","user_group":"users","type":"USER"}]}]}"#
        );
    }

    proptest! {
        #[test]
        fn lengths_are_those_of_the_bytes(
            id in "\\PC{1,9}", name in any::<String>(), uid in any::<Option<String>>(), group in any::<Option<String>>(),
            domain in any::<Option<String>>(), all: bool,
        ) {
            let one = Binding {
                kind: if all { Kind::Group } else { Kind::User },
                user_name: &name,
                user_id: uid.as_deref(),
                sent_group: group.as_deref(),
                domain: domain.as_deref(),
            };
            let mut out = Vec::new();
            write_detach(vec![detach_desktop(&id, all, [one.into()].into_iter())], &mut out);
            let users = if all { 0 } else { user_len(&one) };
            prop_assert_eq!(out.len(), EMPTY_BODY + desktop_len(&id, all) + users);
        }
    }
}
