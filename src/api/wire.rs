//! The bodies of the Workspace API, as they stand on the wire.
//!
//! Requests are exact; answers are read leniently: unknown fields are ignored, a missing or null one is its
//! default, limits of the definitions are not enforced.

use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

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

/// A flag that only informs: one of a shape that nobody knows must not spoil the page that it stands in.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Bool(flag) => flag,
        serde_json::Value::String(text) => text.eq_ignore_ascii_case("true"),
        _ => false,
    })
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

/// One desktop of a read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct RawDesktop {
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
    #[serde(default)]
    attach_user_infos: Option<Vec<RawBound>>,
}

impl RawDesktop {
    /// `None` where the entry has no usable id.
    pub(crate) fn into_live(self) -> Option<LiveDesktop> {
        let id = DesktopId::parse(&self.desktop_id)?;
        let some = |text: String| (!text.is_empty()).then_some(text);
        let says_somebody = self.attach_state == "ATTACHED" || !self.user_name.is_empty();
        let bound = match self.attach_user_infos {
            // The list says nobody, and the rest of the answer says somebody: one of the two is not true.
            Some(list) if list.is_empty() && says_somebody => None,
            // A kind of binding that is not known makes the whole list one that tells nothing.
            Some(list) => list
                .into_iter()
                .map(|raw| {
                    let kind = match raw.kind.to_ascii_uppercase().as_str() {
                        "USER" | "" => Kind::User,
                        "GROUP" | "USER_GROUP" => Kind::Group,
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
    pub desktops: Option<Vec<RawDesktop>>,
    #[serde(default, deserialize_with = "lenient")]
    pub total_count: u64,
}

/// The answer of `GET …/desktops/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct DesktopAnswer {
    /// The definition has an object here, and its own example a list of one.
    #[serde(default, deserialize_with = "one_or_list_of_one")]
    pub desktop: Option<RawDesktop>,
}

fn one_or_list_of_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RawDesktop>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrList {
        List(Box<[RawDesktop; 1]>),
        One(Box<RawDesktop>),
    }
    Ok(Option::<OneOrList>::deserialize(deserializer)?.map(|desktop| match desktop {
        OneOrList::List(list) => {
            let [desktop] = *list;
            desktop
        }
        OneOrList::One(desktop) => *desktop,
    }))
}

/// The answer of `GET …/workspace-jobs/{id}`, and one entry of it or of `GET …/workspace-sub-jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct JobAnswer {
    #[serde(default, deserialize_with = "lenient")]
    pub status: String,
    #[serde(default, deserialize_with = "lenient")]
    pub job_error_code: String,
    #[serde(default, deserialize_with = "lenient")]
    pub fail_reason: String,
    #[serde(default, deserialize_with = "lenient")]
    pub sub_jobs_total: u64,
    #[serde(default, deserialize_with = "lenient")]
    pub sub_jobs: Vec<SubJob>,
}

/// One sub job: the only asynchronous result that names a desktop.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct SubJob {
    #[serde(default, deserialize_with = "lenient")]
    pub status: String,
    #[serde(default, deserialize_with = "lenient")]
    pub error_code: String,
    #[serde(default, deserialize_with = "lenient")]
    pub fail_reason: String,
    #[serde(default, deserialize_with = "lenient")]
    pub message: String,
    #[serde(default, deserialize_with = "lenient")]
    pub entities: SubJobEntities,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct SubJobEntities {
    #[serde(default, deserialize_with = "lenient")]
    pub desktop_id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub user_name: String,
}

/// The answer of `GET …/workspace-sub-jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct SubJobsAnswer {
    #[serde(default, deserialize_with = "lenient")]
    pub jobs: Vec<SubJob>,
    #[serde(default, deserialize_with = "lenient")]
    pub total_count: u64,
}

/// The answer of `GET …/users`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct UsersAnswer {
    #[serde(default)]
    pub users: Option<Vec<RawUser>>,
    #[serde(default, deserialize_with = "lenient")]
    pub total_count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct RawUser {
    #[serde(default, deserialize_with = "lenient")]
    pub id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub user_name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub domain: String,
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
            let live = serde_json::from_str::<RawDesktop>(&text).unwrap().into_live().unwrap();
            assert_eq!((live.frozen, live.in_maintenance, live.is_stuck()), (is_set, is_set, is_set), "{shape}");
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
        assert!(list.desktops.unwrap().into_iter().next().unwrap().into_live().is_some());
        let one: DesktopAnswer = read_leniently(&example("ShowDesktopDetail"));
        assert!(one.desktop.unwrap().into_live().is_some());
        let sub_jobs: SubJobsAnswer = read_leniently(&example("ListItaSubJobs"));
        assert_eq!(sub_jobs.jobs[0].entities.user_name, "user-test-01");
        read_leniently::<JobAnswer>(&example("ShowJob"));
        let users: UsersAnswer = read_leniently(&example("ListUsers"));
        assert_eq!(users.users.unwrap()[1].user_name, "api-test2");
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
