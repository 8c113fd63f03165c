//! The bodies of the Workspace API, as they stand on the wire.
//!
//! Requests are exact; answers are read leniently: unknown fields are ignored, a missing or null one is its
//! default, limits of the definitions are not enforced.

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::lenient::{Entry, List, Object, flag, lenient, total};
use crate::model::{Bound, DesktopId, Kind, LiveDesktop};

/// The body of batch-detach as it is documented. The program writes it by hand; the tests compare the two.
#[cfg(test)]
pub(crate) mod documented {
    use serde::Serialize;

    use crate::model::Kind;

    /// One user or group in `detach_user_infos`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
    pub(crate) struct DetachUser<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub user_id: Option<&'a str>,
        pub user_name: &'a str,
        #[serde(rename = "type")]
        pub kind: Kind,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub user_group: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub domain: Option<&'a str>,
    }

    /// One desktop of a batch-detach request.
    ///
    /// `is_detach_all_users` is always present, and `detach_user_infos` is absent only where it is `true` (P5).
    #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
    pub(crate) struct DetachDesktop<'a> {
        pub desktop_id: &'a str,
        pub is_detach_all_users: bool,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub detach_user_infos: Vec<DetachUser<'a>>,
    }

    /// `POST /v2/{project_id}/desktops/batch-detach`.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
    pub(crate) struct DetachRequest<'a> {
        pub desktops: Vec<DetachDesktop<'a>>,
    }
}

/// One user or group in `attach_user_infos`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct AttachUser<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<&'a str>,
    pub user_name: &'a str,
    pub user_group: &'a str,
    #[serde(rename = "type")]
    pub kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<&'a str>,
}

/// One desktop of a batch-attach request. `is_clear_data` is always `false`: an undo keeps the user's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AttachDesktop<'a> {
    pub desktop_id: &'a str,
    pub is_clear_data: bool,
    pub attach_user_infos: Vec<AttachUser<'a>>,
}

/// How batch-attach maps users to desktops: always as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct AssignModel {
    pub priority_strategy: &'static str,
    pub assign_dimension: &'static str,
}

impl AssignModel {
    pub(crate) const FIXED: Self = Self { priority_strategy: "FIXED_RELATION", assign_dimension: "DESKTOP" };
}

/// `POST /v2/{project_id}/desktops/batch-attach`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AttachRequest<'a> {
    pub assign_model: AssignModel,
    pub desktops: Vec<AttachDesktop<'a>>,
}

/// The answer of batch-detach and batch-attach. Only a JSON object is one: `[]` would pass for it by serde's derive, and
/// then for a write without failures (P2).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Object<WriteFields>")]
pub struct WriteAnswer {
    pub failed_operation_list: Vec<FailedOperation>,
    pub job_id: String,
    pub success_job_ids: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WriteFields {
    #[serde(deserialize_with = "lenient")]
    failed_operation_list: Vec<FailedOperation>,
    #[serde(deserialize_with = "lenient")]
    job_id: String,
    #[serde(deserialize_with = "lenient")]
    success_job_ids: Vec<String>,
}

impl From<Object<WriteFields>> for WriteAnswer {
    fn from(Object(fields): Object<WriteFields>) -> Self {
        let WriteFields { failed_operation_list, job_id, success_job_ids } = fields;
        Self { failed_operation_list, job_id, success_job_ids }
    }
}

/// One refused desktop in a 200.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct FailedOperation {
    #[serde(default, deserialize_with = "lenient")]
    pub desktop_id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub error_code: String,
    #[serde(default, deserialize_with = "lenient")]
    pub error_msg: String,
}

/// One user in `attach_user_infos` of a read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct RawBound {
    #[serde(default, deserialize_with = "lenient")]
    user_id: String,
    #[serde(default, deserialize_with = "lenient")]
    user_name: String,
    #[serde(default, deserialize_with = "lenient")]
    user_group: String,
    #[serde(default, rename = "type", deserialize_with = "lenient")]
    kind: String,
    #[serde(default, deserialize_with = "lenient")]
    domain: String,
}

/// Bindings of one desktop at most: with more of them its entry tells nothing.
const MAX_BOUND: usize = 10_000;

fn bindings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<RawBound>>, D::Error> {
    struct Few;

    impl<'de> Visitor<'de> for Few {
        type Value = Option<Vec<RawBound>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of bindings")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut bound = Vec::new();
            while let Some(one) = list.next_element()? {
                if bound.len() == MAX_BOUND {
                    return Err(A::Error::custom("more bindings than a desktop can have"));
                }
                bound.push(one);
            }
            Ok(Some(bound))
        }
    }

    deserializer.deserialize_any(Few)
}

/// One desktop of a read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct RawDesktop {
    #[serde(default, deserialize_with = "lenient")]
    desktop_id: String,
    #[serde(default, deserialize_with = "lenient")]
    computer_name: String,
    #[serde(default, deserialize_with = "lenient")]
    status: String,
    #[serde(default, deserialize_with = "lenient")]
    task_status: String,
    #[serde(default, deserialize_with = "lenient")]
    attach_state: String,
    #[serde(default, deserialize_with = "lenient")]
    desktop_type: String,
    #[serde(default, deserialize_with = "lenient")]
    pool_id: String,
    #[serde(default, deserialize_with = "lenient")]
    login_status: String,
    #[serde(default, deserialize_with = "flag")]
    is_freeze: bool,
    #[serde(default, deserialize_with = "flag")]
    in_maintenance_mode: bool,
    #[serde(default, deserialize_with = "lenient")]
    user_name: String,
    #[serde(default, deserialize_with = "lenient")]
    user_group: String,
    #[serde(default, deserialize_with = "bindings")]
    attach_user_infos: Option<Vec<RawBound>>,
}

impl Entry for LiveDesktop {
    fn read(json: &str) -> Option<Self> {
        /// What is left of an entry in which something is odd: it does not tell who is bound.
        #[derive(Deserialize)]
        struct Named {
            desktop_id: String,
        }

        let desktop = serde_json::from_str(json).or_else(|_| {
            let Named { desktop_id } = serde_json::from_str(json)?;
            Ok::<_, serde_json::Error>(RawDesktop { desktop_id, ..RawDesktop::default() })
        });
        desktop.ok()?.into_live()
    }

    fn weight(&self) -> usize {
        1 + self.bound.as_ref().map_or(0, Vec::len)
    }
}

impl RawDesktop {
    /// `None` where the entry has no usable id.
    fn into_live(self) -> Option<LiveDesktop> {
        let id = DesktopId::parse(&self.desktop_id)?;
        let some = |text: String| (!text.is_empty()).then_some(text);
        // A detach that failed left somebody there.
        let says_somebody = self.attach_state == "ATTACHED"
            || self.attach_state.starts_with("DEATTACH_FAIL")
            || !self.user_name.is_empty();
        let bound = match self.attach_user_infos {
            // The list says nobody, and the rest of the answer says somebody: one of the two is not true.
            Some(list) if list.is_empty() && says_somebody => None,
            // A kind of binding that is not known, or one that names nobody, makes the whole list one that tells nothing.
            Some(list) => list
                .into_iter()
                .map(|raw| {
                    if raw.user_name.is_empty() && raw.user_id.is_empty() {
                        return None;
                    }
                    let kind = match raw.kind.to_ascii_uppercase().as_str() {
                        "USER" | "" => Kind::User,
                        "GROUP" => Kind::Group,
                        "USER_GROUP" => Kind::UserGroup,
                        _ => return None,
                    };
                    Some(Bound {
                        kind,
                        user_name: raw.user_name,
                        user_id: some(raw.user_id),
                        user_group: some(raw.user_group),
                        domain: some(raw.domain),
                    })
                })
                .collect(),
            // The older shape of the answer has one `user_name` and no list. It tells who is bound only where the
            // state says nobody, or where the desktop can't hold a second user.
            None if matches!(self.attach_state.as_str(), "UNATTACH" | "DEATTACHED") && self.user_name.is_empty() => {
                Some(Vec::new())
            }
            None if !self.user_name.is_empty() && self.desktop_type != "SHARED" && !self.desktop_type.is_empty() => {
                Some(vec![Bound {
                    kind: Kind::User,
                    user_name: self.user_name,
                    user_id: None,
                    user_group: some(self.user_group),
                    domain: None,
                }])
            }
            None => None,
        };
        Some(LiveDesktop {
            id,
            name: self.computer_name,
            status: self.status,
            task_status: self.task_status,
            attach_state: self.attach_state,
            desktop_type: self.desktop_type,
            pool_id: some(self.pool_id),
            login_status: self.login_status,
            frozen: self.is_freeze,
            in_maintenance: self.in_maintenance_mode,
            bound,
        })
    }
}

/// The answer of `GET …/desktops/detail`. A missing list is not an empty one: see [`DesktopsAnswer::desktops`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct DesktopsAnswer {
    /// `None` where the answer held no list: it says nothing about any desktop.
    #[serde(default)]
    pub desktops: Option<List<LiveDesktop>>,
    #[serde(default, deserialize_with = "total")]
    pub total_count: Option<u64>,
}

/// The answer of `GET …/desktops/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct DesktopAnswer {
    /// The definition has an object here, and its own example a list of one. `None` where it is neither.
    #[serde(default, deserialize_with = "one_or_list_of_one")]
    pub desktop: Option<LiveDesktop>,
}

fn one_or_list_of_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LiveDesktop>, D::Error> {
    let json = Box::<RawValue>::deserialize(deserializer)?;
    if !json.get().starts_with('[') {
        return Ok(Entry::read(json.get()));
    }
    let list: List<LiveDesktop> = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
    Ok(list.entries.into_iter().next().filter(|_| list.received == 1))
}

/// The answer of `GET …/workspace-jobs/{id}`, and one entry of it or of `GET …/workspace-sub-jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct JobAnswer {
    #[serde(default, deserialize_with = "lenient")]
    pub status: String,
    /// Empty while it runs.
    #[serde(default, deserialize_with = "lenient")]
    pub end_time: String,
    #[serde(default, deserialize_with = "lenient")]
    pub job_error_code: String,
    #[serde(default, deserialize_with = "lenient")]
    pub fail_reason: String,
    #[serde(default, deserialize_with = "total")]
    pub sub_jobs_total: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub sub_jobs: List<SubJob>,
}

/// One sub job: the only asynchronous result that names a desktop.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
pub struct SubJob {
    #[serde(default, deserialize_with = "lenient")]
    pub id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub status: String,
    /// Empty while it runs.
    #[serde(default, deserialize_with = "lenient")]
    pub end_time: String,
    #[serde(default, deserialize_with = "lenient")]
    pub error_code: String,
    #[serde(default, deserialize_with = "lenient")]
    pub fail_reason: String,
    #[serde(default, deserialize_with = "lenient")]
    pub message: String,
    #[serde(default, deserialize_with = "lenient")]
    pub entities: SubJobEntities,
}

/// One that can't be read has no word, and so is not at its end.
impl Entry for SubJob {
    fn read(json: &str) -> Option<Self> {
        Some(serde_json::from_str(json).unwrap_or_default())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
pub struct SubJobEntities {
    #[serde(default, deserialize_with = "lenient")]
    pub desktop_id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub user_name: String,
}

/// The answer of `GET …/workspace-sub-jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct SubJobsAnswer {
    /// `None` where the answer held no list.
    #[serde(default)]
    pub jobs: Option<List<SubJob>>,
    #[serde(default, deserialize_with = "total")]
    pub total_count: Option<u64>,
}

/// The answer of `GET …/users`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct UsersAnswer {
    #[serde(default)]
    pub users: Option<List<RawUser>>,
    #[serde(default, deserialize_with = "total")]
    pub total_count: Option<u64>,
}

/// The answer of `GET …/groups`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct UserGroupsAnswer {
    #[serde(default)]
    pub user_groups: Option<List<RawUser>>,
}

/// The answer of `GET …/desktop-pools`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct PoolsAnswer {
    #[serde(default)]
    pub desktop_pools: Option<List<RawUser>>,
    #[serde(default, deserialize_with = "total")]
    pub total_count: Option<u64>,
}

/// The answer of `GET …/desktop-pools/{id}/users`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct PoolUsersAnswer {
    #[serde(default)]
    pub objects: Option<List<Authorised>>,
    #[serde(default, deserialize_with = "total")]
    pub total_count: Option<u64>,
}

/// Somebody who may use a pool: a user or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorised(pub Bound);

impl Entry for Authorised {
    fn read(json: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(default, deserialize_with = "lenient")]
            object_id: String,
            #[serde(default, deserialize_with = "lenient")]
            object_name: String,
            #[serde(default, deserialize_with = "lenient")]
            object_type: String,
            #[serde(default, deserialize_with = "lenient")]
            domain: String,
        }

        let raw: Raw = serde_json::from_str(json).ok()?;
        let kind = match raw.object_type.to_ascii_uppercase().as_str() {
            "USER" => Kind::User,
            "GROUP" | "USER_GROUP" => Kind::Group,
            _ => return None, // whom it lets in is not known
        };
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        if raw.object_id.is_empty() && raw.object_name.is_empty() {
            return None;
        }
        let (user_id, domain) = (some(raw.object_id), some(raw.domain));
        Some(Self(Bound { kind, user_name: raw.object_name, user_id, user_group: None, domain }))
    }
}

/// A user, or a user group, in a list of all; a pool has an id and a name, too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct RawUser {
    #[serde(default, deserialize_with = "lenient")]
    pub id: String,
    #[serde(default, alias = "name", deserialize_with = "lenient")]
    pub user_name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub user_email: String,
    #[serde(default, deserialize_with = "lenient")]
    pub domain: String,
}

/// One without a name and an id is nobody.
impl Entry for RawUser {
    fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().filter(|user: &Self| !user.user_name.is_empty() || !user.id.is_empty())
    }
}

#[cfg(test)]
mod tests;
