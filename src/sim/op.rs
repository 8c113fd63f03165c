//! What the service can be asked for, and how it refuses.

use serde::Deserialize;

/// The operations of the simulator. Each that the client calls has the name of its class there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    BatchDetach,
    BatchAttach,
    /// `GET …/desktops/detail`.
    ListDesktops,
    /// `GET …/desktops`: the same in fewer fields.
    ListDesktopsShort,
    ShowDesktop,
    ShowJob,
    ListSubJobs,
    ListUsers,
    #[serde(rename = "list-user-groups")]
    ListGroups,
    ListGroupUsers,
    ListPools,
    ListPoolUsers,
    ListWorkspaces,
    /// `POST /v3/auth/tokens`.
    IssueToken,
    /// `POST /v3.0/OS-CREDENTIAL/securitytokens`: temporary keys of an agency.
    IssueKey,
    /// `GET /v3/projects` and `GET /v3/auth/projects`.
    ListProjects,
    /// A path that the service does not have.
    Elsewhere,
}

impl Op {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BatchDetach => "batch-detach",
            Self::BatchAttach => "batch-attach",
            Self::ListDesktops => "list-desktops",
            Self::ListDesktopsShort => "list-desktops-short",
            Self::ShowDesktop => "show-desktop",
            Self::ShowJob => "show-job",
            Self::ListSubJobs => "list-sub-jobs",
            Self::ListUsers => "list-users",
            Self::ListGroups => "list-user-groups",
            Self::ListGroupUsers => "list-group-users",
            Self::ListPools => "list-pools",
            Self::ListPoolUsers => "list-pool-users",
            Self::ListWorkspaces => "list-workspaces",
            Self::IssueToken => "issue-token",
            Self::IssueKey => "issue-key",
            Self::ListProjects => "list-projects",
            Self::Elsewhere => "elsewhere",
        }
    }

    /// Whether a request of this kind can change bindings.
    pub const fn is_write(self) -> bool {
        matches!(self, Self::BatchDetach | Self::BatchAttach)
    }
}

/// A refusal, or any answer at all, that stands in for the service's own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Refused {
    pub status: u16,
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub message: String,
    /// The header as it stands, sense or nonsense.
    #[serde(default)]
    pub retry_after: Option<String>,
    /// `Location`, of a redirect. (Boxed: it keeps the type small enough for an error.)
    #[serde(default)]
    pub location: Option<Box<str>>,
    /// The whole body; `None` makes the usual `{error_code, error_msg}`.
    #[serde(default)]
    pub body: Option<String>,
}

impl Refused {
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), ..Self::default() }
    }
}
