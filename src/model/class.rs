//! The operations of the API that this program uses.

use serde::{Deserialize, Serialize};

/// Operations with a limit of their own at the API, each with a gate of its own here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    BatchDetach,
    BatchAttach,
    ListDesktops,
    ShowDesktop,
    ShowJob,
    ListSubJobs,
    ListUsers,
    ListUserGroups,
    ListGroupUsers,
    ListPools,
    ListPoolUsers,
}

impl Class {
    pub const ALL: [Self; 11] = [
        Self::BatchDetach,
        Self::BatchAttach,
        Self::ListDesktops,
        Self::ShowDesktop,
        Self::ShowJob,
        Self::ListSubJobs,
        Self::ListUsers,
        Self::ListUserGroups,
        Self::ListGroupUsers,
        Self::ListPools,
        Self::ListPoolUsers,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BatchDetach => "batch-detach",
            Self::BatchAttach => "batch-attach",
            Self::ListDesktops => "list-desktops",
            Self::ShowDesktop => "show-desktop",
            Self::ShowJob => "show-job",
            Self::ListSubJobs => "list-sub-jobs",
            Self::ListUsers => "list-users",
            Self::ListUserGroups => "list-user-groups",
            Self::ListGroupUsers => "list-group-users",
            Self::ListPools => "list-pools",
            Self::ListPoolUsers => "list-pool-users",
        }
    }

    /// Whether a request of this class is about the bindings of a list's rows.
    pub const fn is_of_bindings(self) -> bool {
        !matches!(self, Self::ListGroupUsers | Self::ListPools | Self::ListPoolUsers)
    }

    /// Whether a request of this class can change bindings.
    pub const fn is_write(self) -> bool {
        matches!(self, Self::BatchDetach | Self::BatchAttach)
    }
}
