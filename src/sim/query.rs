//! The query of a call.

use super::op::Refused;

/// A query, decoded, in the order it came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query(pub(super) Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    /// `default` where nothing, or 0, is asked for; never more than `most`.
    pub(super) fn number(&self, name: &str, default: usize, most: usize) -> Result<usize, Refused> {
        let Some(text) = self.one(name) else { return Ok(default) };
        let number: usize = text.parse().map_err(|_| invalid(format!("{name} is no number: {text}")))?;
        Ok(if number == 0 { default } else { number.min(most) })
    }

    /// One page of `items`, from `offset` on, and how many there are in all. Only those of the page are `shown`: a list of
    /// 100,000 is read in a hundred pages.
    pub(super) fn page<T, S>(
        &self,
        items: impl Iterator<Item = T>,
        limit: usize,
        most: usize,
        shown: impl Fn(T) -> S,
    ) -> Result<(Vec<S>, usize), Refused> {
        let (offset, limit) = (self.number("offset", 0, usize::MAX)?, self.number("limit", limit, most)?);
        let (mut page, mut total) = (Vec::new(), 0);
        for item in items {
            if total >= offset && page.len() < limit {
                page.push(shown(item));
            }
            total += 1;
        }
        Ok((page, total))
    }

    pub(super) fn offset(&self) -> usize {
        self.number("offset", 0, usize::MAX).unwrap_or(0)
    }

    /// The same, from one entry further on.
    pub(super) fn shifted(&self) -> Self {
        let offset = (self.offset() + 1).to_string();
        let pairs = self.0.iter().map(|(name, value)| (name.clone(), if name == "offset" { &offset } else { value }));
        Self(pairs.map(|(name, value)| (name, value.clone())).collect())
    }

    /// Without any filter: the page alone.
    pub(super) fn unfiltered(&self) -> Self {
        Self(self.0.iter().filter(|(name, _)| matches!(name.as_str(), "limit" | "offset")).cloned().collect())
    }
}

pub(super) fn invalid(problem: String) -> Refused {
    Refused::new(400, "WKS.0001", problem)
}
