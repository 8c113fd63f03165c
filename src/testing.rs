//! What the tests of this repository reach inside for. No part of the library: it changes as the program does.

pub mod build;

pub mod api {
    pub use crate::api::{Answer, ErrorBody, Reader, Reply, Target, Transport, Writer};

    pub mod auth {
        pub use crate::api::auth::{Authenticator, Nobody, canonical};

        pub mod sign {
            pub use crate::api::auth::sign::{Key, Scheme, authorization, date, sign};
        }
    }

    pub mod explain {
        pub use crate::api::explain::action;
    }

    pub mod unreachable {
        pub use crate::api::unreachable::SENTENCES;
    }

    pub mod wire {
        pub use crate::api::wire::WriteAnswer;
    }
}

pub mod cli {
    pub mod args {
        pub use crate::cli::args::Cli;
    }
}

pub mod config {
    pub use crate::config::{DECLARED, Layer, Percent};

    pub mod sources {
        pub use crate::config::sources::from_toml;
    }
}

pub mod dispatch {
    pub use crate::dispatch::{Drive, Ended, Rules, StopReason, drive};

    pub mod verdict {
        pub use crate::dispatch::verdict::{Verdict, is_passing, judge};
    }
}

pub mod input {
    pub mod guard {
        pub use crate::input::guard::{guard, unguard};
    }
}

pub mod journal {
    pub use crate::journal::{
        AnswerKind, AnswerRecord, Attempt, AttemptId, Builder, Entry, Fate, Identity, Item, ItemId, Journal,
        JournalError, MemoryJournal, OpenItem, Progress, Recheck, Record, Resume, RowOutcome, RunLock, Settlement,
        Slot, SlotNo, Store, View,
    };
}

pub mod model {
    pub use crate::model::{
        Bound, Caller, Class, DesktopId, Kind, LiveDesktop, Outcome, PartLabel, Refusal, StillAccess, StillPerson,
        Typed,
    };
}

pub mod outcome {
    pub use crate::outcome::{Counts, Metrics, ResultsWriter};
}

pub mod pace {
    pub use crate::pace::{Ceiling, Gates, Heard, Waits, parse_limit_text, parse_retry_after};
}

pub mod plan {
    pub use crate::plan::{HashFacts, Questions, Snapshot, questions};
}

pub mod reconcile {
    pub use crate::reconcile::reads;

    pub mod preflight {
        pub use crate::reconcile::preflight::Preflight;
    }

    pub mod still {
        pub use crate::reconcile::still::{Doors, Look};
    }
}

pub mod sim {
    pub use crate::sim::{
        App, Auth, Blame, Change, Effect, Executed, Fate, FateOf, Fault, KeyRing, Limit, LogEntry, Login, Matching, Op,
        Outage, OutageKind, Physics, Refused, Scenario, Seat, SimTransport, Window, World, serve,
    };
}

pub mod text {
    pub use crate::text::escape_untrusted;
}

pub mod undo {
    use crate::Error;
    use crate::journal::{Entry, Item, MemoryJournal};
    use crate::plan::{Draft as _, Policy};
    use crate::reconcile::preflight::Preflight;
    use crate::reconcile::undo::{Changed, Only, UndoPlan, read_back};

    /// What takes a run back, as `undo` plans it: its records, its items, and how many chunks its canary has.
    ///
    /// # Errors
    /// Those of the reads.
    pub async fn plan(
        journal: &MemoryJournal,
        preflight: &Preflight,
        policy: &Policy,
    ) -> Result<(Vec<Entry>, Vec<Item>, usize), Error> {
        let changed = Changed::read(journal, "run.journal".to_owned(), &Only::default())?;
        let unsettled = read_back(&changed, preflight).await?;
        let seen = preflight.look(&changed.questions(false)).await?;
        let plan = UndoPlan::new(&changed, &seen, &unsettled, policy);
        let mut entries = Vec::new();
        plan.for_each_entry(&mut |entry| {
            entries.push(Entry {
                line: entry.line,
                cells: entry.cells.map(str::to_owned),
                extras: entry.extras.iter().map(|cell| (*cell).to_owned()).collect(),
                fate: entry.fate.clone().into_owned(),
            });
            Ok(())
        })?;
        let canary = plan.canary_chunks();
        Ok((entries, plan.items, canary))
    }
}
