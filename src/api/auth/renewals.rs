//! When refused credentials are asked for anew, and when a refusal is the last (P11).

/// Which credentials are in use. They are replaced at a 401 by one asker for everybody, and once: only where something
/// succeeded with the new ones may they be replaced again, since an account is locked by a series of refusals.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    generation: u32,
    is_under_way: bool,
    renewed_since_success: bool,
}

/// What a 401 leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It was asked with credentials that are being replaced, or have been.
    Outdated,
    /// Whoever hears this gets new ones, and tells [`Renewals::renewed`].
    Renew,
    /// They were renewed, and nothing succeeded since.
    Again,
}

impl Renewals {
    /// Which credentials a request that begins now goes out with, counted by renewals.
    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether somebody was told to get new ones, and has not got them yet.
    pub(crate) const fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// A 401 to a request of this generation.
    pub(crate) fn refused(&mut self, generation: u32) -> Refused {
        if generation != self.generation || self.is_under_way {
            return Refused::Outdated;
        }
        if self.renewed_since_success {
            return Refused::Again;
        }
        self.is_under_way = true;
        Refused::Renew
    }

    /// New credentials are there, and not yet proved.
    pub(crate) fn renewed(&mut self) {
        self.generation += 1;
        self.is_under_way = false;
        self.renewed_since_success = true;
    }

    /// The credentials of this generation were good for an answer.
    pub(crate) fn proved(&mut self, generation: u32) {
        if generation == self.generation {
            self.renewed_since_success = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p11_a_second_401_after_a_renewal_is_the_last_unless_the_new_credentials_were_proved() {
        for (proved, expected) in [(None, Refused::Again), (Some(0), Refused::Again), (Some(1), Refused::Renew)] {
            let mut renewals = Renewals::default();
            assert_eq!(renewals.refused(0), Refused::Renew);
            assert_eq!(renewals.refused(0), Refused::Outdated, "one renewal for everybody");
            renewals.renewed();
            assert_eq!(renewals.refused(0), Refused::Outdated, "it was asked with the old ones");
            if let Some(generation) = proved {
                renewals.proved(generation);
            }
            assert_eq!(renewals.refused(renewals.generation()), expected, "proved: {proved:?}");
        }
    }
}
