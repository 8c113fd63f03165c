//! The columns that mean something to a run.

/// A column of the input that means something to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    DesktopId,
    DesktopName,
    UserName,
    UserId,
    UserGroup,
    Type,
    Domain,
    /// Names the user instead of a name, or beside it; in the results it travels with the other columns.
    UserEmail,
}

impl Field {
    /// The fields that the results have columns of their own for, in their order.
    pub const ALL: [Self; 7] =
        [Self::DesktopId, Self::DesktopName, Self::UserName, Self::UserId, Self::UserGroup, Self::Type, Self::Domain];

    /// Every field.
    pub const READ: [Self; 8] = [
        Self::DesktopId,
        Self::DesktopName,
        Self::UserName,
        Self::UserId,
        Self::UserGroup,
        Self::Type,
        Self::Domain,
        Self::UserEmail,
    ];

    /// The header in the results, and the word in `--column FIELD=HEADER`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DesktopId => "desktop_id",
            Self::DesktopName => "desktop_name",
            Self::UserName => "user_name",
            Self::UserId => "user_id",
            Self::UserGroup => "user_group",
            Self::Type => "type",
            Self::Domain => "domain",
            Self::UserEmail => "user_email",
        }
    }

    /// Reads what [`Field::as_str`] writes.
    pub fn parse(word: &str) -> Option<Self> {
        Self::READ.into_iter().find(|field| field.as_str() == word)
    }

    /// The field's place in [`Field::READ`].
    #[inline]
    pub const fn index(self) -> usize {
        match self {
            Self::DesktopId => 0,
            Self::DesktopName => 1,
            Self::UserName => 2,
            Self::UserId => 3,
            Self::UserGroup => 4,
            Self::Type => 5,
            Self::Domain => 6,
            Self::UserEmail => 7,
        }
    }

    /// Headers that mean this field, normalised.
    pub(super) const fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::DesktopId => &["desktopid", "desktop", "桌面id"],
            Self::DesktopName => &["desktopname", "computername", "桌面名称", "计算机名"],
            Self::UserName => &["username", "user", "用户名", "账号", "登录名"],
            Self::UserId => &["userid", "用户id"],
            Self::UserGroup => &["usergroup", "用户组"],
            Self::Type => &["type", "类型"],
            Self::Domain => &["domain", "域"],
            Self::UserEmail => &["useremail", "email", "mail", "邮箱"],
        }
    }

    pub(super) fn of_header(normal: &str) -> Option<Self> {
        Self::READ.into_iter().find(|field| field.aliases().contains(&normal))
    }
}
