//! What programs read is what `schema` says.

use std::collections::BTreeSet;

use batch_detach::testing::sim::Scenario;
use serde_json::Value;

use super::service::seat;
use super::stage::Stage;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Each value is one of the schema, and has no key at its top that the schema does not name.
fn holds(stage: &Stage, name: &str, values: &[Value]) {
    let schema = json(&stage.run(&["schema", name]).expect(0).stdout);
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("output.json", schema.clone()).unwrap();
    let index = compiler.compile("output.json", &mut schemas).unwrap();
    let choices = schema["anyOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
    for value in values {
        if let Err(error) = schemas.validate(value, index) {
            panic!("{name}: {error}: {value}");
        }
        let keys: BTreeSet<&String> = value.as_object().unwrap().keys().collect();
        let names = |choice: &Value| choice["properties"].as_object().map(|all| all.keys().cloned().collect());
        let known = |choice: &Value| {
            names(choice).is_some_and(|all: BTreeSet<String>| keys.iter().all(|key| all.contains(*key)))
        };
        assert!(name == "log" || choices.iter().any(known), "{name}: a key that the schema does not name: {keys:?}");
    }
    assert!(
        !values.is_empty() && schemas.validate(&Value::from(7), index).is_err(),
        "{name}: a schema that takes everything"
    );
}

#[test]
fn every_schema_is_that_of_the_real_outputs() {
    let stage = Stage::new([seat("d-01", "anna.k"), seat("d-02", "bob")], Scenario::default());
    let stage = stage.set("UNKNOWN_USERS", "gone");
    stage.leavers([("d-01", "anna.k"), ("d-02", "bobby")]);
    let plan = json(&stage.run(&["plan", "leavers.csv", "--format=json"]).stdout);
    let words = ["run", "leavers.csv", "--yes", "--on-invalid=skip", "--format=json", "--log-format=json"];
    let ended = stage.run(&words);
    let log: Vec<Value> = ended.stderr.lines().map(json).collect();
    holds(&stage, "summary", &[json(&ended.stdout)]);
    holds(&stage, "log", &log);
    assert_eq!(log.last().unwrap()["event"], "exit");
    let journal = "leavers.results.csv.journal";
    holds(&stage, "status", &[json(&stage.run(&["status", journal, "--format=json"]).expect(0).stdout)]);
    let undo = json(&stage.run(&["undo", journal, "--dry-run", "--format=json"]).expect(0).stdout);
    holds(&stage, "plan", &[plan, undo]);
}
