use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::lenient::MAX_LISTED;
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
        let shown: DesktopAnswer = serde_json::from_str(&format!(r#"{{"desktop": {}}}"#, one("odd", &odd))).unwrap();
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

/// What is wrong with a request's body by the published definition, where fields that it does not know are wrong, too.
fn problem(operation: &str, body: &str, value: &Value) -> Option<String> {
    let mut definitions = definition(operation)["definitions"].clone();
    for model in definitions.as_object_mut().unwrap().values_mut() {
        model["additionalProperties"] = json!(false);
        model["type"] = json!("object");
    }
    let schema = json!({ "$ref": format!("#/definitions/{body}"), "definitions": definitions });
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.set_default_draft(boon::Draft::V4);
    compiler.add_resource("body.json", schema).unwrap();
    let index = compiler.compile("body.json", &mut schemas).unwrap();
    schemas.validate(value, index).err().map(|error| error.to_string())
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
        prop_assert_eq!(problem("BatchDetachInstances", "BatchDetachInstancesReq", &body), None, "{}", body);
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
        prop_assert_eq!(problem("BatchAttachInstances", "BatchAttachInstancesReq", &body), None, "{}", body);
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
    let inside = |at: &dyn Fn(Value) -> Value, value: &Value| mangled(value).into_iter().map(at).collect::<Vec<_>>();
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
