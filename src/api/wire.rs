//! The bodies of the Workspace API, as they stand on the wire.
//!
//! Requests are exact; answers are read leniently: unknown fields are ignored, a missing or null one is its
//! default, limits of the definitions are not enforced.

use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

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

/// A `null` is as good as a missing field.
pub(in crate::api) fn lenient<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A value of which nobody can say what it will be. What holds others is passed over, however much it is.
#[derive(Debug, PartialEq)]
enum Scalar {
    Flag(bool),
    Number(u64),
    Text(String),
    /// Null, or what is none of these.
    Other,
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Scalar;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Flag(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar::Number(value))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }

            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(value.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// A flag that only informs: one of a shape that nobody knows must not spoil the desktop that it stands in.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Scalar::deserialize(deserializer)? {
        Scalar::Flag(flag) => flag,
        Scalar::Text(text) => text.eq_ignore_ascii_case("true"),
        Scalar::Number(_) | Scalar::Other => false,
    })
}

/// How many there are in all: a number, or its digits in a text. Anything else tells none, which is not the same as 0.
fn total<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match Scalar::deserialize(deserializer)? {
        Scalar::Number(total) => Some(total),
        Scalar::Text(digits) => digits.trim().parse().ok(),
        Scalar::Flag(_) | Scalar::Other => None,
    })
}

/// A list of an answer, its entries read one by one: one that can't be read costs itself, and no other.
///
/// What can't be used is counted and not kept, so that a long answer without meaning takes no memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T> {
    pub(crate) entries: Vec<T>,
    /// Entries that the answer held, usable or not: what an offset counts.
    pub(crate) received: usize,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), received: 0 }
    }
}

/// What may stand in a [`List`].
pub(crate) trait Entry: Sized {
    /// `None` where the entry can't be used.
    fn read(json: &str) -> Option<Self>;

    /// How many things it holds, itself included.
    fn weight(&self) -> usize {
        1
    }
}

/// Things in one list at most. A page has some hundred entries; many more would take many times an answer's bytes.
const MAX_LISTED: usize = 250_000;

impl<'de, T: Entry> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneByOne<T>(PhantomData<T>);

        impl<'de, T: Entry> Visitor<'de> for OneByOne<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T>, A::Error> {
                let (mut read, mut weight) = (List::default(), 0);
                while let Some(entry) = list.next_element::<Box<RawValue>>()? {
                    read.received += 1;
                    let entry = T::read(entry.get());
                    // What can't be used costs time all the same.
                    weight += entry.as_ref().map_or(1, T::weight);
                    if weight > MAX_LISTED {
                        return Err(A::Error::custom("the list is longer than any page can be"));
                    }
                    read.entries.extend(entry);
                }
                Ok(read)
            }
        }

        deserializer.deserialize_seq(OneByOne(PhantomData))
    }
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

/// A `T` that was a JSON object on the wire.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(OnlyMap(PhantomData))
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
mod tests {
    use proptest::prelude::*;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::documented::{DetachDesktop, DetachRequest, DetachUser};
    use super::*;

    fn definition(operation: &str) -> Value {
        let path = format!("{}/tests/data/openapi/{operation}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn flags_of_any_shape_leave_the_page_readable() {
        for (shape, is_set) in [("true", true), ("\"TRUE\"", true), ("false", false), ("null", false), ("[7]", false)] {
            let text = format!(r#"{{"desktop_id": "d", "is_freeze": {shape}, "in_maintenance_mode": {shape}}}"#);
            let live = LiveDesktop::read(&text).unwrap();
            assert_eq!((live.frozen, live.in_maintenance, live.is_stuck()), (is_set, is_set, is_set), "{shape}");
        }
    }

    fn listed(list: &str) -> List<LiveDesktop> {
        let answer: DesktopsAnswer = serde_json::from_str(&format!(r#"{{"desktops": {list}}}"#)).unwrap();
        answer.desktops.unwrap()
    }

    #[test]
    fn p02_an_odd_entry_costs_itself_and_not_its_page() {
        let user = r#"{"user_name": "ann"}"#;
        for odd in [
            r#""computer_name": 7"#.to_owned(),
            format!(r#""attach_user_infos": {user}"#),
            format!(r#""attach_user_infos": [{user}, null]"#),
            format!(r#""attach_user_infos": [{user}, {{}}]"#),
            r#""attach_user_infos": [{"user_name": 12345}]"#.to_owned(),
            r#""attach_user_infos": [{"user_name": "ann", "type": "ROBOT"}]"#.to_owned(),
            r#""status": "A", "status": "B""#.to_owned(),
        ] {
            let one = |id: &str, more: &str| format!(r#"{{"desktop_id": "{id}", {more}}}"#);
            let good = format!(r#""attach_user_infos": [{user}]"#);
            let list = listed(&format!("[{},{},{}]", one("a", &good), one("odd", &odd), one("b", &good)));
            let told: Vec<_> = list.entries.iter().map(|live| (live.id.as_str(), live.bound.is_some())).collect();
            assert_eq!(told, [("a", true), ("odd", false), ("b", true)], "{odd}");
            let shown: DesktopAnswer =
                serde_json::from_str(&format!(r#"{{"desktop": {}}}"#, one("odd", &odd))).unwrap();
            assert_eq!(shown.desktop.map(|live| live.bound), Some(None), "{odd}");
        }
        for nobody in ["null", "7", "{}", r#"{"desktop_id": 7}"#, r#"{"desktop_id": ".."}"#, "[]"] {
            let list = listed(&format!(r#"[{nobody},{{"desktop_id": "a"}}]"#));
            assert_eq!((list.entries.len(), list.received), (1, 2), "{nobody}");
        }
    }

    #[test]
    fn p02_an_empty_list_beside_a_state_that_says_somebody_tells_nothing() {
        for (state, is_told) in [
            ("ATTACHED", false),
            ("DEATTACH_FAIL_CAN_DEATTACH_AGAIN", false),
            ("UNATTACH", true),
            ("DEATTACHED", true),
            ("ATTACH_FAIL_CAN_ATTACH_AGAIN", true),
            ("", true),
        ] {
            let entry = format!(r#"{{"desktop_id": "d", "attach_state": "{state}", "attach_user_infos": []}}"#);
            assert_eq!(LiveDesktop::read(&entry).unwrap().bound.is_some(), is_told, "{state}");
        }
    }

    #[test]
    fn p18_entries_that_say_nothing_take_no_memory_and_a_list_has_its_bounds() {
        let empty = listed(&format!("[{}{{}}]", "{},".repeat(MAX_LISTED - 1)));
        assert_eq!((empty.entries.capacity(), empty.received), (0, MAX_LISTED));
        let bindings = format!(r#"[{}{{"user_id": "a"}}]"#, r#"{"user_id": "a"},"#.repeat(MAX_BOUND));
        let many = listed(&format!(r#"[{{"desktop_id": "d", "attach_user_infos": {bindings}}}]"#));
        assert_eq!(many.entries[0].bound, None, "more than any desktop has");
        for entry in [r#"{"desktop_id": "d"},"#, "{},"] {
            let all = format!(r#"{{"desktops": [{}{{"desktop_id": "e"}}]}}"#, entry.repeat(MAX_LISTED));
            assert!(serde_json::from_str::<DesktopsAnswer>(&all).is_err(), "{entry}");
        }
    }

    #[test]
    fn a_total_is_a_number_or_its_digits_and_anything_else_tells_none() {
        for (told, expected) in [
            ("7", Some(7)),
            ("0", Some(0)),
            ("\"7\"", Some(7)),
            ("\" 12 \"", Some(12)),
            ("\"many\"", None),
            ("null", None),
            ("-1", None),
            ("7.5", None),
            ("[{}]", None),
        ] {
            let answer: DesktopsAnswer = serde_json::from_str(&format!(r#"{{"total_count": {told}}}"#)).unwrap();
            assert_eq!(answer.total_count, expected, "{told}");
        }
    }

    /// Checks a request's body by the published definition, where fields that it does not know are wrong, too.
    fn checker(operation: &str, body: &str) -> jsonschema::Validator {
        let mut definitions = definition(operation)["definitions"].clone();
        for model in definitions.as_object_mut().unwrap().values_mut() {
            model["additionalProperties"] = json!(false);
            model["type"] = json!("object");
        }
        let schema = json!({ "$ref": format!("#/definitions/{body}"), "definitions": definitions });
        jsonschema::draft4::new(&schema).unwrap()
    }

    fn text(most: usize) -> impl Strategy<Value = String> {
        prop::collection::vec(any::<char>().prop_filter("no controls", |c| !c.is_control()), 1..=most)
            .prop_map(|chars| chars.into_iter().collect())
    }

    type Person = (Option<String>, String, bool, Option<String>, Option<String>);

    fn person() -> impl Strategy<Value = Person> {
        (prop::option::of(text(255)), text(64), any::<bool>(), prop::option::of(text(255)), prop::option::of(text(255)))
    }

    fn kind(is_group: bool) -> Kind {
        if is_group { Kind::Group } else { Kind::User }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn p05_every_detach_body_is_what_the_definition_allows(
            desktops in prop::collection::vec((text(255), prop::option::of(prop::collection::vec(person(), 1..6))), 1..6)
        ) {
            // Without people, everybody is meant.
            let desktops = desktops.iter().map(|(id, people)| DetachDesktop {
                desktop_id: id,
                is_detach_all_users: people.is_none(),
                detach_user_infos: people.iter().flatten().map(|(user_id, user_name, is_group, user_group, domain)| DetachUser {
                    user_id: user_id.as_deref(),
                    user_name,
                    kind: kind(*is_group),
                    user_group: user_group.as_deref(),
                    domain: domain.as_deref(),
                }).collect(),
            }).collect();
            let body = serde_json::to_value(DetachRequest { desktops }).unwrap();
            let problems: Vec<_> =
                checker("BatchDetachInstances", "BatchDetachInstancesReq").iter_errors(&body).map(|e| e.to_string()).collect();
            prop_assert!(problems.is_empty(), "{problems:?} in {body}");
            for desktop in body["desktops"].as_array().unwrap() {
                let people = desktop["detach_user_infos"].as_array().map_or(0, Vec::len);
                prop_assert_eq!(desktop["is_detach_all_users"].as_bool(), Some(people == 0));
            }
        }

        #[test]
        fn every_attach_body_is_what_the_definition_allows(
            desktops in prop::collection::vec((text(255), prop::collection::vec((person(), text(255)), 1..6)), 1..6)
        ) {
            let desktops = desktops.iter().map(|(id, people)| AttachDesktop {
                desktop_id: id,
                is_clear_data: false,
                attach_user_infos: people.iter().map(|((user_id, user_name, is_group, _, domain), user_group)| AttachUser {
                    user_id: user_id.as_deref(),
                    user_name,
                    user_group,
                    kind: kind(*is_group),
                    domain: domain.as_deref(),
                }).collect(),
            }).collect();
            let body = serde_json::to_value(AttachRequest { assign_model: AssignModel::FIXED, desktops }).unwrap();
            let problems: Vec<_> =
                checker("BatchAttachInstances", "BatchAttachInstancesReq").iter_errors(&body).map(|e| e.to_string()).collect();
            prop_assert!(problems.is_empty(), "{problems:?} in {body}");
        }

        #[test]
        fn p18_any_bytes_are_survived(bytes: Vec<u8>) {
            _ = serde_json::from_slice::<WriteAnswer>(&bytes);
            _ = serde_json::from_slice::<DesktopsAnswer>(&bytes);
            _ = serde_json::from_slice::<DesktopAnswer>(&bytes);
            _ = serde_json::from_slice::<JobAnswer>(&bytes);
        }
    }

    /// The example answer of an operation.
    fn example(operation: &str) -> Value {
        let definition = definition(operation);
        let path = definition["paths"].as_object().unwrap().values().next().unwrap();
        path.as_object().unwrap().values().next().unwrap()["responses"]["200"]["examples"]["application/json"].clone()
    }

    /// Every variant of `value` with one field missing, null, or beside one more.
    fn mangled(value: &Value) -> Vec<Value> {
        let inside =
            |at: &dyn Fn(Value) -> Value, value: &Value| mangled(value).into_iter().map(at).collect::<Vec<_>>();
        let mut all = Vec::new();
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let with = |new: Value| {
                        let mut fields = fields.clone();
                        fields.insert(name.clone(), new);
                        Value::Object(fields)
                    };
                    let mut without = fields.clone();
                    without.remove(name);
                    all.extend([Value::Object(without), with(Value::Null)]);
                    all.extend(inside(&with, field));
                }
                let mut more = fields.clone();
                more.insert("x_new".to_owned(), json!({ "a": [1] }));
                all.push(Value::Object(more));
            }
            Value::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    let with = |new: Value| {
                        let mut items = items.clone();
                        items[n] = new;
                        Value::Array(items)
                    };
                    all.extend(inside(&with, item));
                }
            }
            _ => {}
        }
        all
    }

    fn read_leniently<T: DeserializeOwned>(example: &Value) -> T {
        for variant in mangled(example) {
            if let Err(error) = serde_json::from_value::<T>(variant.clone()) {
                panic!("{error}: {variant}");
            }
        }
        serde_json::from_value(example.clone()).unwrap()
    }

    #[test]
    fn every_example_of_the_definitions_is_read_whole_and_mangled() {
        let write: WriteAnswer = read_leniently(&example("BatchDetachInstances"));
        assert_eq!((write.job_id.as_str(), write.failed_operation_list.len()), ("string", 0));
        assert!(!read_leniently::<WriteAnswer>(&example("BatchAttachInstances")).job_id.is_empty());
        let list: DesktopsAnswer = read_leniently(&example("ListDesktopsDetail"));
        assert_eq!(list.desktops.map(|list| (list.entries.len(), list.received)), Some((2, 2)));
        let one: DesktopAnswer = read_leniently(&example("ShowDesktopDetail"));
        assert!(one.desktop.is_some());
        let sub_jobs: SubJobsAnswer = read_leniently(&example("ListItaSubJobs"));
        assert_eq!(sub_jobs.jobs.unwrap().entries[0].entities.user_name, "user-test-01");
        read_leniently::<JobAnswer>(&example("ShowJob"));
        let users: UsersAnswer = read_leniently(&example("ListUsers"));
        assert_eq!(users.users.unwrap().entries[1].user_name, "api-test2");
    }

    #[test]
    fn a_fuller_answer_of_a_write_is_read_mangled_too() {
        let answer = json!({
            "failed_operation_list": [{ "desktop_id": "d", "desktop_name": "n", "error_code": "WKS.1", "error_msg": "m" }],
            "job_id": "j", "success_job_ids": ["a", "b"],
        });
        let read: WriteAnswer = read_leniently(&answer);
        assert_eq!((read.failed_operation_list[0].error_code.as_str(), read.success_job_ids.len()), ("WKS.1", 2));
    }

    #[test]
    fn p02_what_is_no_object_is_no_answer_of_a_write() {
        for body in
            ["[]", "[[],\"j\"]", "null", "\"ok\"", "true", "", "{\"job_id\":\"j\"", "{\"failed_operation_list\":{}}"]
        {
            assert!(serde_json::from_str::<WriteAnswer>(body).is_err(), "{body}");
        }
        assert_eq!(serde_json::from_str::<WriteAnswer>("{}").unwrap(), WriteAnswer::default());
    }
}
