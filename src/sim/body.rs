//! The bodies of the two writes, read as strictly as their definitions ask.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::op::{Op, Refused};
use super::scenario::Matching;
use crate::model::{Bound, DesktopId, Kind};

/// Desktops in a request at most. Source: definition of `BatchDetachInstances`.
const MAX_DESKTOPS: usize = 100;
/// Users of one desktop at most. Source: the same.
const MAX_USERS: usize = 500;

/// The body of a write, well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    Detach(Vec<DetachItem>),
    Attach(Vec<AttachItem>),
}

#[derive(Deserialize)]
struct Body<T> {
    desktops: Vec<T>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct DetachItem {
    pub(super) desktop_id: String,
    #[serde(default)]
    pub(super) is_detach_all_users: bool,
    #[serde(default)]
    pub(super) detach_user_infos: Vec<UserInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct AttachItem {
    pub(super) desktop_id: String,
    #[serde(default = "yes")]
    pub(super) is_clear_data: bool,
    #[serde(default)]
    attach_user_infos: Vec<UserInfo>,
    // The shape for a desktop of one user.
    user_name: Option<String>,
    user_id: Option<String>,
    user_group: Option<String>,
    domain: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct UserInfo {
    user_name: String,
    user_id: Option<String>,
    user_group: Option<String>,
    #[serde(default, rename = "type")]
    kind: UserKind,
    domain: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum UserKind {
    #[default]
    User,
    Group,
}

const fn yes() -> bool {
    true
}

impl UserInfo {
    fn check(&self, at: &str) -> Result<(), String> {
        fits(&format!("{at}.user_name"), &self.user_name, 64)?;
        for (name, value) in [("user_id", &self.user_id), ("user_group", &self.user_group)] {
            if let Some(value) = value {
                fits(&format!("{at}.{name}"), value, 255)?;
            }
        }
        Ok(())
    }

    const fn kind(&self) -> Kind {
        match self.kind {
            UserKind::User => Kind::User,
            UserKind::Group => Kind::Group,
        }
    }

    /// Whether this means `bound`: by id where both have one, else by name without case, and domain if given.
    pub(super) fn means(&self, bound: &Bound, matching: Matching) -> bool {
        if self.kind() != bound.kind {
            return false;
        }
        if matching == Matching::Name {
            return same(&self.user_name, &bound.user_name);
        }
        if let (Some(ours), Some(its)) = (&self.user_id, &bound.user_id) {
            return ours == its;
        }
        let same_domain = match (&self.domain, &bound.domain) {
            (Some(ours), Some(its)) if !ours.is_empty() => same(ours, its),
            _ => true,
        };
        same_domain && same(&self.user_name, &bound.user_name)
    }

    pub(super) fn into_bound(self) -> Bound {
        Bound {
            kind: self.kind(),
            user_name: self.user_name,
            user_id: self.user_id,
            user_group: self.user_group,
            domain: self.domain,
        }
    }
}

fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!(a.is_ascii() && b.is_ascii()) && a.to_lowercase() == b.to_lowercase())
}

fn fits(name: &str, value: &str, max: usize) -> Result<(), String> {
    if value.is_empty() || value.chars().count() > max {
        return Err(format!("{name} must have 1 to {max} characters"));
    }
    Ok(())
}

impl Write {
    /// Reads a body as strictly as the definition asks.
    pub(super) fn parse(op: Op, body: &[u8]) -> Result<Self, Refused> {
        let refused = |problem: String| Refused::new(400, "WKS.0001", problem);
        let unread = |error: serde_json::Error| refused(format!("The request message is invalid: {error}"));
        let write = if op == Op::BatchAttach {
            Self::Attach(serde_json::from_slice::<Body<AttachItem>>(body).map_err(unread)?.desktops)
        } else {
            Self::Detach(serde_json::from_slice::<Body<DetachItem>>(body).map_err(unread)?.desktops)
        };
        write.check().map(|()| write).map_err(refused)
    }

    fn check(&self) -> Result<(), String> {
        let count = self.ids().count();
        if !(1..=MAX_DESKTOPS).contains(&count) {
            return Err(format!("desktops must have 1 to {MAX_DESKTOPS} items, not {count}"));
        }
        let mut seen = BTreeSet::new();
        for id in self.ids() {
            fits("desktop_id", id, DesktopId::MAX_CHARS)?;
            if !seen.insert(id) {
                return Err(format!("desktop {id} is in the request twice"));
            }
        }
        let users = |id: &str, infos: &[UserInfo]| {
            if infos.len() > MAX_USERS {
                return Err(format!("desktop {id} has {} users; {MAX_USERS} are allowed", infos.len()));
            }
            infos.iter().enumerate().try_for_each(|(n, info)| info.check(&format!("desktop {id}: user {n}")))
        };
        match self {
            Self::Detach(items) => items.iter().try_for_each(|item| {
                if !item.is_detach_all_users && item.detach_user_infos.is_empty() {
                    return Err(format!("desktop {}: no users to detach", item.desktop_id));
                }
                users(&item.desktop_id, &item.detach_user_infos)
            }),
            Self::Attach(items) => items.iter().try_for_each(|item| {
                let infos = item.users();
                if infos.is_empty() || infos.iter().any(|info| info.user_group.is_none()) {
                    return Err(format!("desktop {}: user_name and user_group are required", item.desktop_id));
                }
                users(&item.desktop_id, &infos)
            }),
        }
    }

    /// Every id in the body, of desktops and of people.
    pub(super) fn ids_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let (detach, attach): (&mut [DetachItem], &mut [AttachItem]) = match self {
            Self::Detach(items) => (items, &mut []),
            Self::Attach(items) => (&mut [], items),
        };
        let detach = detach.iter_mut().flat_map(|item| {
            let people = item.detach_user_infos.iter_mut().filter_map(|info| info.user_id.as_mut());
            people.chain([&mut item.desktop_id])
        });
        let attach = attach.iter_mut().flat_map(|item| {
            let people = item.attach_user_infos.iter_mut().filter_map(|info| info.user_id.as_mut());
            people.chain(item.user_id.as_mut()).chain([&mut item.desktop_id])
        });
        detach.chain(attach)
    }

    /// The desktops that the body names.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        let (detach, attach): (&[DetachItem], &[AttachItem]) = match self {
            Self::Detach(items) => (items, &[]),
            Self::Attach(items) => (&[], items),
        };
        detach.iter().map(|item| item.desktop_id.as_str()).chain(attach.iter().map(|item| item.desktop_id.as_str()))
    }
}

impl AttachItem {
    pub(super) fn users(&self) -> Vec<UserInfo> {
        match &self.user_name {
            Some(user_name) if self.attach_user_infos.is_empty() => vec![UserInfo {
                user_name: user_name.clone(),
                user_id: self.user_id.clone(),
                user_group: self.user_group.clone(),
                kind: UserKind::User,
                domain: self.domain.clone(),
            }],
            _ => self.attach_user_infos.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Executed;
    use super::super::testing::{app, body, names, send, world};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn p05_a_body_that_the_definition_does_not_allow_is_refused_whole() {
        let app = app(world(1, 1), "");
        let infos = |count: usize| vec![json!({"user_name": "u"}); count];
        let desktop = |all: Value, infos: Value| json!({"desktop_id": "d-0", "is_detach_all_users": all, "detach_user_infos": infos});
        let one = json!([{"user_name": "u-0"}]);
        let wrong = [
            json!({}),
            json!({"desktops": []}),
            json!({"desktops": vec![desktop(json!(true), json!([])); 101]}),
            json!({"desktops": [desktop(json!("false"), one.clone())]}),
            json!({"desktops": [desktop(Value::Null, one.clone())]}),
            json!({"desktops": [desktop(json!(false), json!([]))]}),
            json!({"desktops": [{"desktop_id": "d-0"}]}),
            json!({"desktops": [desktop(json!(false), json!(infos(501)))]}),
            json!({"desktops": [desktop(json!(false), json!([{"user_id": "x"}]))]}),
            json!({"desktops": [desktop(json!(false), json!([{"user_name": ""}]))]}),
            json!({"desktops": [desktop(json!(false), json!([{"user_name": "u", "type": "ROBOT"}]))]}),
            json!({"desktops": [desktop(json!(false), one.clone()), desktop(json!(false), one)]}),
        ];
        for body in &wrong {
            let (status, answer) = send(&app, body).await;
            assert_eq!((status, &answer["error_code"]), (400, &json!("WKS.0001")), "{body}");
        }
        assert_eq!(names(&app, "d-0"), ["u-0"]);
        assert_eq!(app.log().len(), wrong.len());
        assert!(app.log().iter().all(|entry| entry.executed == Executed::None && entry.status == Some(400)));
    }

    #[test]
    fn a_full_body_is_read() {
        let ids: Vec<String> = (0..100).map(|n| format!("d-{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!(Write::parse(Op::BatchDetach, body(&ids).to_string().as_bytes()).unwrap().ids().count(), 100);
    }
}
