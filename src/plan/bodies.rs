//! The bodies of the write requests, byte for byte, and how long they get.

use crate::api::wire::{AssignModel, AttachDesktop, AttachRequest, AttachUser};
use crate::journal::{Item, Slot, SlotNo};
use crate::model::Kind;
use crate::text::bytes::holds;

/// One binding as it goes on the wire, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binding<'a> {
    pub(super) kind: Kind,
    pub(super) user_name: &'a str,
    pub(super) user_id: Option<&'a str>,
    /// As the row gives it; what undo needs is not sent.
    pub(super) sent_group: Option<&'a str>,
    pub(super) domain: Option<&'a str>,
    /// Whether it is known that all its texts stand in JSON as they are.
    pub(super) is_plain: bool,
}

/// Appends a batch-detach body, desktop by desktop, then [`DetachBody::end`].
///
/// By the million: so it makes by hand, and with no list in between, the bytes that `serde_json` makes of the
/// documented types ([`crate::api::wire::documented`]). The tests compare the two.
pub(super) struct DetachBody<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> DetachBody<'o> {
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Self {
        out.extend_from_slice(br#"{"desktops":["#);
        Self { out, first: true }
    }

    /// One desktop: everybody, or these users. P5: a desktop of an `ALL` row has no list, and no other desktop is ever
    /// without one, so one without users is left out.
    ///
    /// * `id_is_plain`: whether it is known that the id stands in JSON as it is.
    pub(super) fn desktop<'a>(
        &mut self,
        id: &str,
        id_is_plain: bool,
        all: bool,
        users: impl Iterator<Item = Binding<'a>>,
    ) {
        let mut users = users.peekable();
        if !all && users.peek().is_none() {
            return;
        }
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(br#"{"desktop_id":""#);
        self.text(id, id_is_plain);
        if all {
            return self.out.extend_from_slice(br#"","is_detach_all_users":true}"#);
        }
        self.out.extend_from_slice(br#"","is_detach_all_users":false,"detach_user_infos":["#);
        while let Some(user) = users.next() {
            self.user(&user);
            if users.peek().is_some() {
                self.out.push(b',');
            }
        }
        self.out.extend_from_slice(b"]}");
    }

    pub(super) fn end(self) {
        self.out.extend_from_slice(b"]}");
    }

    fn user(&mut self, one: &Binding<'_>) {
        if let Some(id) = one.user_id {
            self.out.extend_from_slice(br#"{"user_id":""#);
            self.text(id, one.is_plain);
            self.out.extend_from_slice(br#"","user_name":""#);
        } else {
            self.out.extend_from_slice(br#"{"user_name":""#);
        }
        self.text(one.user_name, one.is_plain);
        self.out.extend_from_slice(br#"","type":""#);
        self.out.extend_from_slice(one.kind.as_str().as_bytes());
        if let Some(group) = one.sent_group {
            self.out.extend_from_slice(br#"","user_group":""#);
            self.text(group, one.is_plain);
        }
        if let Some(domain) = one.domain {
            self.out.extend_from_slice(br#"","domain":""#);
            self.text(domain, one.is_plain);
        }
        self.out.extend_from_slice(br#""}"#);
    }

    /// A text without the quotes around it.
    #[inline]
    fn text(&mut self, text: &str, known_plain: bool) {
        if known_plain || is_plain(text) {
            self.out.extend_from_slice(text.as_bytes());
        } else {
            let quote = self.out.len();
            append_json(&text, self.out);
            self.out.remove(quote);
            self.out.pop();
        }
    }
}

fn append_json(value: &impl serde::Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("texts and booleans always become JSON, and memory is always written");
}

fn to_json(request: &impl serde::Serialize, out: &mut Vec<u8>) {
    out.clear();
    append_json(request, out);
}

/// The body of a batch-detach request for these slots of these items; `out` is emptied first.
///
/// For all slots of a chunk's items it is the same bytes as the plan's. An `ALL` item is sent as such where its slots
/// hold the one of [`Kind::All`]; otherwise those of its users that are named. Items without a slot are left out.
pub(crate) fn detach_body(items: &[(&Item, &[SlotNo])], out: &mut Vec<u8>) {
    out.clear();
    let mut body = DetachBody::begin(out);
    for (item, carried) in items {
        let slots = || carried.iter().filter_map(|&slot| item.slots.get(usize::from(slot)));
        let all = item.all && slots().any(|slot| slot.kind == Kind::All);
        body.desktop(item.desktop.as_str(), false, all, slots().map(binding));
    }
    body.end();
}

/// The body of a batch-attach request for these slots of these items; `out` is emptied first.
///
/// Each binding gets its own privilege group back; a slot without one is sent with an empty group, which the service
/// refuses, so an undo must not plan it.
pub(crate) fn attach_body(items: &[(&Item, &[SlotNo])], out: &mut Vec<u8>) {
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
        is_plain: false,
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
    let optional = [one.user_id, one.sent_group, one.domain].map(|text| text.map(json_len));
    framed(one.kind, json_len(one.user_name), optional)
}

/// Bytes of one user whose texts are plain and have this many bytes; 0: there is no such text.
pub(super) fn plain_user_len(kind: Kind, user_name: usize, [user_id, sent_group, domain]: [usize; 3]) -> usize {
    framed(kind, user_name + 2, [user_id, sent_group, domain].map(|len| (len > 0).then_some(len + 2)))
}

/// Bytes of one user whose texts take so many as JSON.
fn framed(kind: Kind, user_name: usize, [user_id, sent_group, domain]: [Option<usize>; 3]) -> usize {
    let optional = |head: &str, len: Option<usize>| len.map_or(0, |len| head.len() + len);
    r#"{"user_name":,"type":""}"#.len()
        + user_name
        + kind.as_str().len()
        + optional(r#""user_id":,"#, user_id)
        + optional(r#","user_group":"#, sent_group)
        + optional(r#","domain":"#, domain)
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
    let plain = text.len() + 2;
    if is_plain(text) {
        return plain;
    }
    let escapes = text.bytes().filter(|&byte| is_escaped(byte)).map(|byte| match byte {
        b'"' | b'\\' | 0x08 | 0x09 | 0x0A | 0x0C | 0x0D => 1,
        _ => 5,
    });
    plain + escapes.sum::<usize>()
}

/// Whether a byte of a JSON string has to be written otherwise.
#[inline]
const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether a text stands in a JSON string as it is. Told without a branch per byte: nearly every text does.
fn is_plain(text: &str) -> bool {
    !holds(text.as_bytes(), is_escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::wire::documented::{DetachDesktop, DetachRequest, DetachUser};
    use crate::testing::build;

    fn slot(kind: Kind, user_name: &str) -> Slot {
        let slot = build::slot(&format!("{user_name}#id-{user_name}"));
        Slot { kind, user_group: Some("users".to_owned()), ..slot }
    }

    fn item(desktop: &str, all: bool, slots: Vec<Slot>) -> Item {
        Item { all, slots, ..build::item(1, desktop, &[]) }
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

    /// The same by way of the wire's types.
    fn by_serde(desktops: &[(String, bool, Vec<Binding<'_>>)]) -> String {
        let mut request = DetachRequest { desktops: Vec::new() };
        for (id, all, users) in desktops.iter().filter(|(_, all, users)| *all || !users.is_empty()) {
            let mut desktop =
                DetachDesktop { desktop_id: id, is_detach_all_users: *all, detach_user_infos: Vec::new() };
            for &Binding { kind, user_name, user_id, sent_group, domain, .. } in users.iter().filter(|_| !all) {
                desktop.detach_user_infos.push(DetachUser { user_id, user_name, kind, user_group: sent_group, domain });
            }
            request.desktops.push(desktop);
        }
        serde_json::to_string(&request).unwrap()
    }

    proptest! {
        #[test]
        fn a_body_made_by_hand_is_the_one_that_serde_makes(
            desktops in prop::collection::vec(
                (any::<String>(), any::<bool>(), prop::collection::vec(any::<(u8, [Option<String>; 4])>(), 0..3)), 0..4,
            ), plain: bool,
        ) {
            let desktops: Vec<_> = desktops.iter().map(|(id, all, users)| {
                let user = |(kind, texts): &'_ (u8, [Option<String>; 4])| {
                    let [name, user_id, sent_group, domain] = texts.clone().map(|text| text.map(|text| &*text.leak()));
                    let kind = [Kind::User, Kind::Group, Kind::All][usize::from(kind % 3)];
                    let user_name = name.unwrap_or_default();
                    let texts = [Some(user_name), user_id, sent_group, domain];
                    let is_plain = kind == Kind::User && texts.into_iter().flatten().all(is_plain);
                    Binding { kind, user_name, user_id, sent_group, domain, is_plain }
                };
                (id.clone(), *all, users.iter().map(user).collect::<Vec<_>>())
            }).collect();
            let by_hand = text(|out| {
                out.clear();
                let mut body = DetachBody::begin(out);
                for (id, all, users) in &desktops {
                    body.desktop(id, plain && is_plain(id), *all, users.iter().copied());
                }
                body.end();
            });
            prop_assert_eq!(by_hand, by_serde(&desktops));
        }

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
                is_plain: false,
            };
            let mut out = Vec::new();
            let mut body = DetachBody::begin(&mut out);
            body.desktop(&id, false, all, std::iter::once(one));
            body.end();
            let users = if all { 0 } else { user_len(&one) };
            prop_assert_eq!(out.len(), EMPTY_BODY + desktop_len(&id, all) + users);
        }

        #[test]
        fn lengths_of_plain_texts_tell_the_length_of_their_user(texts in prop::array::uniform4("[a-z .]{0,3}"), group: bool) {
            let [user_name, user_id, sent_group, domain] = texts.each_ref().map(String::as_str);
            let kind = if group { Kind::Group } else { Kind::User };
            let [user_id, sent_group, domain] = [user_id, sent_group, domain].map(|text| Some(text).filter(|text| !text.is_empty()));
            let lens = [user_id, sent_group, domain].map(|text| text.map_or(0, str::len));
            let one = Binding { kind, user_name, user_id, sent_group, domain, is_plain: true };
            prop_assert_eq!(plain_user_len(kind, user_name.len(), lens), user_len(&one));
        }
    }
}
