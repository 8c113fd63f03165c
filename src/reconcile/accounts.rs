//! Reads who is known to the service: users, and user groups.

use std::collections::HashSet;

use futures::stream::{self, StreamExt as _};

use super::preflight::{Preflight, Refused, count};
use super::reads::{self, Page};
use crate::api::wire::RawUser;
use crate::error::Error;
use crate::model::{Class, Kind};
use crate::plan::{Account, Directory};

impl Preflight {
    /// All users, or all user groups, that the service knows; where it refuses to list them, what that means. The list
    /// has no order that would prove it whole, so it is read until a page brings nobody new: whoever it lacks is said to
    /// be unknown, and nothing is done about them.
    pub async fn directory(&self, kind: Kind) -> Result<Result<Directory, String>, Error> {
        let first = match self.accounts_from(kind, 0).await? {
            Ok(page) => page,
            Err(refused) => return Ok(Err(refused.explained)),
        };
        let (step, total) = (count(first.received), first.total.unwrap_or_default());
        let mut found = Accounts::default();
        let mut goes_on = found.add(first);
        if goes_on {
            // The pages that the total promises are read several at a time, as long as each is as long as the first.
            let promised = (1..).map(|n: u64| n.saturating_mul(step)).take_while(|offset| *offset < total);
            let reads =
                stream::iter(promised).map(|offset| self.accounts_from(kind, offset)).buffered(self.concurrency);
            let mut reads = std::pin::pin!(reads);
            while goes_on && let Some(page) = reads.next().await {
                let page = match page? {
                    Ok(page) => page,
                    Err(refused) => return Ok(Err(refused.explained)),
                };
                let is_full = count(page.received) == step;
                goes_on = found.add(page);
                if !is_full {
                    break;
                }
            }
        }
        while goes_on {
            goes_on = match self.accounts_from(kind, found.received).await? {
                Ok(page) => found.add(page),
                Err(refused) => return Ok(Err(refused.explained)),
            };
        }
        Ok(Ok(Directory::new(found.all)))
    }

    /// The page of users, or of user groups, that begins with the entry of this number.
    async fn accounts_from(&self, kind: Kind, offset: u64) -> Result<Result<Page<RawUser>, Refused>, Error> {
        let offset = offset.to_string();
        let query = |limit| [("limit", limit), ("offset", offset.as_str())];
        if kind == Kind::Group {
            let query = query("100");
            let call = || self.reader.list_user_groups(&query);
            self.patiently(Class::ListUserGroups, call, reads::user_groups, false).await
        } else {
            let query = query("1000");
            self.patiently(Class::ListUsers, || self.reader.list_users(&query), reads::users, false).await
        }
    }
}

/// Whom the pages have shown so far.
#[derive(Default)]
struct Accounts {
    all: Vec<Account>,
    /// Their ids, or names where they have none.
    keys: HashSet<String>,
    /// Entries of the pages, readable or not.
    received: u64,
}

impl Accounts {
    /// Whether the page brought somebody new.
    fn add(&mut self, page: Page<RawUser>) -> bool {
        self.received += count(page.received);
        let before = self.all.len();
        for RawUser { id, user_name: name, user_email: email, domain } in page.entries {
            let key = if id.is_empty() { name.clone() } else { id.clone() };
            if !name.is_empty() && self.keys.insert(key) {
                self.all.push(Account { id, name, email, domain });
            }
        }
        self.all.len() > before
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use bytes::Bytes;
    use futures::future::BoxFuture;
    use serde_json::{Value, json};
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::api::auth::Nobody;
    use crate::api::{Answer, Reader, Reply, Target, Transport};
    use crate::pace::{Ceiling, Gates, Waits};

    /// Lists users, each page 100 ms after it was asked for.
    struct Service {
        users: usize,
        /// What it says of how many there are.
        total: Value,
        /// The longest page, from this entry on.
        most: fn(usize) -> usize,
        reads: AtomicUsize,
    }

    impl Transport for Service {
        fn call(&self, request: http::Request<Bytes>, _: usize) -> BoxFuture<'_, Reply> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let uri = request.uri().to_string();
            let of = |name: &str| uri.split_once(name)?.1.split('&').next()?.parse::<usize>().ok();
            let (limit, offset) = (of("limit=").unwrap(), of("offset=").unwrap());
            let page = (offset..self.users).take(limit.min((self.most)(offset)));
            let users: Vec<_> =
                page.map(|n| json!({"id": format!("u{n}"), "user_name": format!("name {n}")})).collect();
            let body = Bytes::from(json!({"users": users, "total_count": self.total}).to_string());
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Reply::Answer(Answer { status: 200, body, ..Answer::default() })
            })
        }
    }

    /// How many were found, in how many reads, and how long it took.
    async fn found(users: usize, total: Value, most: fn(usize) -> usize) -> (usize, usize, Duration) {
        let service = Arc::new(Service { users, total, most, reads: AtomicUsize::new(0) });
        let (endpoint, project_id) = ("http://127.0.0.1".to_owned(), "p".to_owned());
        let target = Target { transport: service.clone(), auth: Arc::new(Nobody), endpoint, project_id };
        let gates = Gates::new(|_| Ceiling { period: Duration::from_millis(1) }, 8, 1, false);
        let look = Preflight::new(Reader::new(target), gates, 8, Waits::default(), 1, CancellationToken::new());
        let began = Instant::now();
        let directory = look.directory(Kind::User).await.unwrap().unwrap();
        let took = began.elapsed();
        let is_there = |n: &usize| directory.named(&format!("name {n}")).next().is_some();
        ((0..users).filter(is_there).count(), service.reads.load(Ordering::Relaxed), took)
    }

    #[tokio::test(start_paused = true)]
    async fn pages_of_users_are_read_together_and_none_more_than_one_by_one() {
        let (found, reads, took) = found(10_500, json!(10_500), |_| 1_000).await;
        assert_eq!((found, reads), (10_500, 12));
        assert!(took < Duration::from_millis(500), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn p18_everybody_is_found_whatever_the_total_claims_and_however_long_pages_are() {
        for total in [json!(null), json!(0), json!(1_500), json!(5_000), json!(u64::MAX), json!("many")] {
            for most in [|_| 1_000, |_| 300, |offset| if offset % 3_000 == 2_000 { 70 } else { 1_000 }] {
                let (found, reads, _) = found(5_000, total.clone(), most).await;
                assert_eq!(found, 5_000, "{total}");
                assert!(reads <= 32, "{total}: {reads}");
            }
        }
    }
}
