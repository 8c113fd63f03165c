//! Doubts: an outcome can be true and the question wrong.

/// Why a row that counts as done may not be what the operator meant. The codes and labels are a public interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Doubt {
    /// Nobody of this name is bound, but somebody of a similar one.
    NearName,
    /// Somebody of this name is bound, in another domain than the row's.
    OtherDomain,
    /// The service does not know this user or group at all.
    UnknownUser,
    /// Nobody of this name is bound, and blanks or invisible characters were taken off its cell.
    TrimmedCell,
    /// Nobody of this name is bound, and it holds characters that names seldom do.
    UnusualName,
    /// Somebody else of this name, who was bound beside the one that is detached, is not bound any more either.
    NamesakeGone,
    /// Somebody else of this name was bound beside the one that is detached, and nobody looked whether he still is.
    NamesakeUnread,
    /// Not of a row that is there: the last list had at least twice as many, and nobody knows whether this one is whole.
    ShorterList,
}

impl Doubt {
    pub(crate) const ALL: [Self; 8] = [
        Self::NearName,
        Self::OtherDomain,
        Self::UnknownUser,
        Self::TrimmedCell,
        Self::UnusualName,
        Self::NamesakeGone,
        Self::NamesakeUnread,
        Self::ShorterList,
    ];

    /// As the row's `error_code` says it.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NearName => "DOUBT_NEAR_NAME",
            Self::OtherDomain => "DOUBT_OTHER_DOMAIN",
            Self::UnknownUser => "DOUBT_UNKNOWN_USER",
            Self::TrimmedCell => "DOUBT_TRIMMED_CELL",
            Self::UnusualName => "DOUBT_UNUSUAL_NAME",
            Self::NamesakeGone => "DOUBT_NAMESAKE_GONE",
            Self::NamesakeUnread => "DOUBT_NAMESAKE_UNREAD",
            Self::ShorterList => "DOUBT_SHORTER_LIST",
        }
    }

    /// As metrics and JSON call it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::NearName => "near_name",
            Self::OtherDomain => "other_domain",
            Self::UnknownUser => "unknown_user",
            Self::TrimmedCell => "trimmed_cell",
            Self::UnusualName => "unusual_name",
            Self::NamesakeGone => "namesake_gone",
            Self::NamesakeUnread => "namesake_unread",
            Self::ShorterList => "shorter_list",
        }
    }

    pub(crate) fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|doubt| doubt.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_doubt_is_known_by_its_code() {
        for doubt in Doubt::ALL {
            assert_eq!(Doubt::of_code(doubt.code()), Some(doubt));
        }
        assert_eq!(Doubt::of_code("WKS.00000403"), None);
    }
}
