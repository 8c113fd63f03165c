//! The bodies of the Workspace API, as they stand on the wire.
//!
//! Requests are exact; answers are read leniently: unknown fields are ignored, a missing or null one is its
//! default, limits of the definitions are not enforced.

use serde::{Deserialize, Deserializer, Serialize};

use crate::model::{Bound, DesktopId, Kind, LiveDesktop};

/// One user or group in `detach_user_infos`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DetachUser<'a> {
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
pub struct DetachDesktop<'a> {
    pub desktop_id: &'a str,
    pub is_detach_all_users: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detach_user_infos: Vec<DetachUser<'a>>,
}

/// `POST /v2/{project_id}/desktops/batch-detach`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DetachRequest<'a> {
    pub desktops: Vec<DetachDesktop<'a>>,
}

/// One user or group in `attach_user_infos`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AttachUser<'a> {
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
pub struct AttachDesktop<'a> {
    pub desktop_id: &'a str,
    pub is_clear_data: bool,
    pub attach_user_infos: Vec<AttachUser<'a>>,
}

/// How batch-attach maps users to desktops: always as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AssignModel {
    pub priority_strategy: &'static str,
    pub assign_dimension: &'static str,
}

impl AssignModel {
    pub const FIXED: Self = Self { priority_strategy: "FIXED_RELATION", assign_dimension: "DESKTOP" };
}

/// `POST /v2/{project_id}/desktops/batch-attach`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttachRequest<'a> {
    pub assign_model: AssignModel,
    pub desktops: Vec<AttachDesktop<'a>>,
}

/// A `null` is as good as a missing field.
pub(in crate::api) fn lenient<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The answer of batch-detach and batch-attach.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct WriteAnswer {
    #[serde(default, deserialize_with = "lenient")]
    pub failed_operation_list: Vec<FailedOperation>,
    #[serde(default, deserialize_with = "lenient")]
    pub job_id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub success_job_ids: Vec<String>,
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
pub struct RawDesktop {
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
    #[serde(default, deserialize_with = "lenient")]
    user_name: String,
    #[serde(default, deserialize_with = "lenient")]
    user_group: String,
    #[serde(default)]
    attach_user_infos: Option<Vec<RawBound>>,
}

impl RawDesktop {
    /// `None` where the entry has no usable id.
    pub fn into_live(self) -> Option<LiveDesktop> {
        let id = DesktopId::parse(&self.desktop_id)?;
        let some = |text: String| (!text.is_empty()).then_some(text);
        let bound = match self.attach_user_infos {
            Some(list) => Some(
                list.into_iter()
                    .map(|raw| Bound {
                        kind: if raw.kind.eq_ignore_ascii_case("GROUP") { Kind::Group } else { Kind::User },
                        user_name: raw.user_name,
                        user_id: some(raw.user_id),
                        user_group: some(raw.user_group),
                        domain: some(raw.domain),
                    })
                    .collect(),
            ),
            // The older shape of the answer has one `user_name` and no list. It tells who is bound only where the
            // state says nobody, or where the desktop can't hold a second user (RELIABILITY.md section 2).
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
            bound,
        })
    }
}

/// The answer of `GET …/desktops/detail`. A missing list is not an empty one: see [`DesktopsAnswer::desktops`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct DesktopsAnswer {
    /// `None` where the answer held no list: it says nothing about any desktop.
    #[serde(default)]
    pub desktops: Option<Vec<RawDesktop>>,
    #[serde(default, deserialize_with = "lenient")]
    pub total_count: u64,
}

/// The answer of `GET …/desktops/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct DesktopAnswer {
    #[serde(default)]
    pub desktop: Option<RawDesktop>,
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
pub struct SubJobsAnswer {
    #[serde(default, deserialize_with = "lenient")]
    pub jobs: Vec<SubJob>,
    #[serde(default, deserialize_with = "lenient")]
    pub total_count: u64,
}

/// The answer of `GET …/users`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct UsersAnswer {
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
