//! Reads a list whole, or says that it can't be done.

use std::future::Future;

use futures::stream::{self, StreamExt as _};

use super::evidence::{Listed, Pages, Whole};
use super::preflight::{Preflight, count};
use super::reads::Page;

/// A list that contradicts itself is read anew so often.
const AGAIN: u32 = 5;

impl Preflight {
    /// All entries of a list; `None` where it contradicts itself each time it is read.
    ///
    /// * `what`: the list, for the log.
    /// * `page`: reads the page that begins with the entry of this number.
    ///
    /// # Errors
    /// The first one of `page`.
    pub(super) async fn whole<T: Listed, E, F: Future<Output = Result<Page<T>, E>>>(
        &self,
        what: &str,
        page: impl Fn(u64) -> F,
    ) -> Result<Option<Whole<T>>, E> {
        for again in 0..=AGAIN {
            match self.once(&page).await? {
                Ok(whole) => return Ok(Some(whole)),
                Err(why) if again < AGAIN => tracing::info!(why, "{what} is read anew"),
                Err(why) => tracing::warn!(why, "{what} can't be trusted; nothing is concluded from it"),
            }
        }
        Ok(None)
    }

    /// Reads the list once, from the first entry to the end. The pages that the total promises are read several at a
    /// time, and no further than they agree: a total may be of any size.
    async fn once<T: Listed, E, F: Future<Output = Result<Page<T>, E>>>(
        &self,
        page: impl Fn(u64) -> F,
    ) -> Result<Result<Whole<T>, &'static str>, E> {
        let first = page(0).await?;
        let step = count(first.received).saturating_sub(1);
        let last = first.total.unwrap_or_default().saturating_sub(1);
        let mut pages = Pages::default();
        if let Err(why) = pages.add(first) {
            return Ok(Err(why));
        }
        if step > 0 {
            let promised = (1..).map(|n: u64| n.saturating_mul(step)).take_while(|offset| *offset < last);
            let offsets = promised.chain((last > 0).then_some(last));
            let mut reads = std::pin::pin!(stream::iter(offsets).map(&page).buffered(self.concurrency));
            while let Some(page) = reads.next().await {
                match pages.add(page?) {
                    Ok(false) => {}
                    Ok(true) => break,
                    Err(why) => return Ok(Err(why)),
                }
            }
        }
        // Where no total is told, or it is too low: one after another.
        while let Some(offset) = pages.next_offset() {
            if let Err(why) = pages.add(page(offset).await?) {
                return Ok(Err(why));
            }
        }
        Ok(pages.into_whole())
    }
}
