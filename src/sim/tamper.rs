//! Answers that are not what they should be.

use bytes::Bytes;
use serde_json::{Value, json};

use super::op::Op;
use super::scenario::Effect;

/// The list that an answer of `op` is about.
const fn list_of(op: Op) -> &'static str {
    match op {
        Op::BatchDetach | Op::BatchAttach => "failed_operation_list",
        Op::ListSubJobs => "jobs",
        Op::ShowJob => "sub_jobs",
        Op::ListUsers | Op::ListGroupUsers => "users",
        Op::ListGroups => "user_groups",
        Op::ListPools => "desktop_pools",
        Op::ListPoolUsers => "objects",
        Op::ListProjects => "projects",
        _ => "desktops",
    }
}

/// Does to a good answer what `effect` says; other effects leave it alone.
pub(super) fn tamper(op: Op, effect: &Effect, answer: &mut Value) {
    let list = list_of(op);
    match effect {
        Effect::NullList => answer[list] = Value::Null,
        Effect::ForeignId => {
            let stranger = match op {
                Op::BatchDetach | Op::BatchAttach => {
                    json!({"desktop_id": "somebody-elses", "error_code": "WKS.0202", "error_msg": "The resource not found."})
                }
                _ => json!({"desktop_id": "somebody-elses", "computer_name": "STRANGER", "attach_user_infos": []}),
            };
            match answer[list].as_array_mut() {
                Some(items) => items.push(stranger),
                None => answer[list] = json!([stranger]),
            }
        }
        Effect::NoBindings => {
            let one = answer.get_mut("desktop").into_iter();
            let strip = |desktop: &mut Value| {
                for field in ["attach_user_infos", "user_list", "user_name", "user_group", "attach_state"] {
                    desktop[field] = Value::Null;
                }
            };
            one.for_each(strip);
            answer.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(strip);
        }
        Effect::RepeatedEntry => {
            if let Some([first, .., last]) = answer[list].as_array_mut().map(Vec::as_mut_slice) {
                last.clone_from(first);
            }
        }
        Effect::ReversedPage => {
            if let Some(items) = answer[list].as_array_mut() {
                items.reverse();
            }
        }
        Effect::ClaimedTotal(by) => {
            if let Some(total) = answer["total_count"].as_i64() {
                answer["total_count"] = total.saturating_add(*by).max(0).into();
            }
        }
        Effect::UntoldBindings => {
            let one = answer.get_mut("desktop").into_iter();
            let strip = |desktop: &mut Value| {
                for field in ["attach_user_infos", "user_list"] {
                    desktop[field] = json!([]);
                }
                for field in ["user_name", "user_group"] {
                    desktop[field] = "".into();
                }
            };
            one.for_each(strip);
            answer.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(strip);
        }
        Effect::JobWord(word) => {
            let over = |status: &mut Value| {
                if matches!(status.as_str(), Some("SUCCESS" | "COMPLETE")) {
                    *status = word.as_str().into();
                }
            };
            answer.get_mut("status").into_iter().for_each(over);
            let subs = answer.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
            subs.filter_map(|sub| sub.get_mut("status")).for_each(over);
        }
        Effect::ShortPage => {
            if let Some(items) = answer[list].as_array_mut() {
                items.truncate(items.len() / 2);
            }
        }
        _ => {}
    }
}

/// The first half of a body.
pub(super) fn cut(body: &Bytes) -> Bytes {
    body.slice(..body.len() / 2)
}

pub(super) const HTML: &str =
    "<html><head><title>Gateway</title></head><body><h1>Something happened</h1></body></html>";
