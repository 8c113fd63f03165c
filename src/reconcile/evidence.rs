//! What was seen, as values that can be made in one way only: from the reads that prove it.

use std::collections::HashSet;

use super::reads::Page;
use crate::model::{DesktopId, LiveDesktop};

/// The whole list of desktops, proved complete: whoever is bound to none of them is bound nowhere.
///
/// It was read in a fixed order from the first entry to the end, and each page began with the last entry of the one
/// before it, so that nothing slipped out between two pages. The end is a page that brings nothing but the entry it
/// begins with, never a total or a short page. No id came twice, every entry could be read, and the totals that were
/// told agree with each other and with the count of ids.
#[derive(Debug)]
pub(crate) struct Census {
    desktops: Vec<LiveDesktop>,
}

impl Census {
    pub(crate) fn into_desktops(self) -> Vec<LiveDesktop> {
        self.desktops
    }
}

/// The pages of a list, until they prove a census or contradict themselves.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    desktops: Vec<LiveDesktop>,
    ids: HashSet<DesktopId>,
    total: Option<u64>,
    ended: bool,
    begun: bool,
}

impl Pages {
    /// Takes in the next page. Whether the list has ended with it.
    ///
    /// # Errors
    /// How the list contradicts itself: it has to be read anew.
    pub(crate) fn add(&mut self, page: Page) -> Result<bool, &'static str> {
        let Page { desktops, received, total } = page;
        if desktops.len() != received {
            return Err("an entry of the list has no usable id");
        }
        // An answer without a total tells none, which contradicts nothing.
        if let Some(total) = total
            && self.total.replace(total).is_some_and(|before| before != total)
        {
            return Err("the pages of the list tell different totals");
        }
        let mut rest = desktops.into_iter();
        if self.begun {
            let first = rest.next().ok_or("a page of the list is empty before its end")?;
            if self.desktops.last().is_none_or(|last| last.id != first.id) {
                return Err("a page of the list does not begin with the last entry of the page before");
            }
        }
        let before = self.desktops.len();
        for desktop in rest {
            if !self.ids.insert(desktop.id.clone()) {
                return Err("a desktop stands in the list twice");
            }
            self.desktops.push(desktop);
        }
        self.ended = self.desktops.len() == before;
        self.begun = true;
        Ok(self.ended)
    }

    /// Where the next page begins: with the last entry so far. `None` once the list has ended.
    pub(crate) fn next_offset(&self) -> Option<u64> {
        (!self.ended).then(|| (self.desktops.len() as u64).saturating_sub(1))
    }

    /// # Errors
    /// Why the pages prove no census.
    pub(crate) fn into_census(self) -> Result<Census, &'static str> {
        if !self.ended {
            return Err("the list was not read to its end");
        }
        if self.total.is_some_and(|total| total != self.desktops.len() as u64) {
            return Err("the list tells another total than the desktops it holds");
        }
        Ok(Census { desktops: self.desktops })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ids: &[&str], total: Option<u64>) -> Page {
        let live = |id: &&str| LiveDesktop {
            id: DesktopId::parse(id).unwrap(),
            name: String::new(),
            status: String::new(),
            task_status: String::new(),
            attach_state: String::new(),
            desktop_type: String::new(),
            pool_id: None,
            login_status: String::new(),
            frozen: false,
            in_maintenance: false,
            bound: None,
        };
        Page { desktops: ids.iter().map(live).collect(), received: ids.len(), total }
    }

    fn census(pages: &[(&[&str], Option<u64>)]) -> Result<usize, &'static str> {
        let mut all = Pages::default();
        for (ids, total) in pages {
            if all.add(page(ids, *total))? {
                break;
            }
        }
        all.into_census().map(|census| census.into_desktops().len())
    }

    #[test]
    fn p02_only_pages_that_overlap_up_to_the_end_are_a_census() {
        assert_eq!(census(&[(&["a", "b", "c"], Some(4)), (&["c", "d"], Some(4)), (&["d"], Some(4))]), Ok(4));
        assert_eq!(census(&[(&["a", "b"], None), (&["b"], None)]), Ok(2), "no total is no contradiction");
        assert_eq!(census(&[(&[], None)]), Ok(0));
        let broken: [&[(&[&str], Option<u64>)]; 8] = [
            &[(&["a", "b", "c"], Some(4)), (&["d", "e"], Some(4))], // one was deleted between the pages
            &[(&["a", "b", "c"], Some(4)), (&["a", "b", "c"], Some(4))], // the offset is ignored
            &[(&["a", "b"], Some(3)), (&["b", "a"], Some(3))],      // an id twice
            &[(&["a", "b"], Some(3)), (&["b", "c"], Some(4)), (&["c"], Some(4))], // the total moved
            &[(&["a", "b"], Some(3)), (&["b"], Some(3))],           // fewer than told
            &[(&["a", "b"], Some(3)), (&[], Some(3))],              // an empty page is no end
            &[(&["a"], Some(0)), (&["a"], Some(0))],                // none in all, and one is there
            &[(&["a", "b"], Some(2))],                              // nor is a short one, or the total
        ];
        for pages in broken {
            assert!(census(pages).is_err(), "{pages:?}");
        }
        let mut unreadable = page(&["a"], Some(2));
        unreadable.received = 2;
        assert!(Pages::default().add(unreadable).is_err());
    }
}
