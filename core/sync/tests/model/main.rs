//! An exhaustive model of enrolment, revocation, epochs and erasure: three devices and a server, every order of events.
//!
//! **What is real.** Every control entry in it is made, signed and encoded, and judged by `hearth_protocol`: the log by
//! `control::Account`, branches by `control::wins`, items and erasures by `accepts_item`, `accepts_erasure` and `is_void`, an
//! epoch's wraps by `check_wraps`, certificates by `certificate::assemble` and `verify` ([`ledger`]). An entry is made once,
//! however many states it occurs in, so this costs little.
//!
//! **What is written down again** ([`rules`]): what a device and the server decide around that, since `Device` and `Relay` have
//! keys, clocks and random numbers in their states, and two states would never be the same. [`conformance`] lets both go the
//! same ways and compares where they come to rest.
//!
//! Two rules are what ought to be, and not what `Device` and `Relay` do yet, where a restored server has let the control log
//! fork: `helps_itself` (who can't open the running epoch, and is granted it by nobody, begins the next one) and `newest_last`
//! (which of a device's agreement keys is the newest doesn't go by the numbers of epochs). What happens without them is in
//! `broken`.
//!
//! **What is left out**, so that there is less to go through: there is one document; the gate (the model lets data pass
//! with it closed, so what holds here holds without it); recovery by the phrase; moving; several logs of one device; quotas.
//! Messages from a device are one entry under way, which may get lost or come late; what comes from the server comes in
//! order, as far as it may have come. A crash is the loss of what is under way: what is on disk stays.
//!
//! Each run has a small budget of what users do and what goes wrong, and goes through *all* orders of it. What must hold
//! always, and what must hold once nothing happens by itself any more, is in [`properties`]; [`explore`] also shows that what
//! happens by itself always comes to an end. `stateright` isn't used: it misses circles and joining paths in what must hold
//! at the end, and brings a web server along.
#![allow(unreachable_pub, dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

mod conformance;
mod explore;
mod ledger;
mod properties;
mod rules;
mod state;
#[path = "../world/mod.rs"]
mod world;

use explore::{Broken, Limits, Report, explore, wander};
use rules::{Model, Rules, Scope, Step};
use state::Budget;

const NOTHING: Budget = Budget {
    enrols: 0,
    revokes: 0,
    rotations: 0,
    orders: 0,
    edits: 0,
    losses: 0,
    backups: 0,
    restores: 0,
    rogue: 0,
};

/// Two devices; a third may be let in.
const TWO: Scope = Scope {
    budget: NOTHING,
    three: false,
    local: false,
    certify_all: false,
};

const THREE: Scope = Scope { three: true, ..TWO };

const WHOLE: Limits = Limits {
    states: usize::MAX,
    depth: usize::MAX,
};

fn go(rules: Rules, scope: Scope, limits: Limits) -> Result<Report, Broken<Step>> {
    explore(&mut Model::new(rules, scope), limits)
}

/// All of it holds, and all of it was seen.
fn holds(scope: Scope) {
    match go(Rules::REAL, scope, WHOLE) {
        Ok(report) => {
            println!("{report:?}");
            assert!(report.whole && report.rests > 1);
        }
        Err(broken) => panic!("{broken:?}"),
    }
}

/// As far as it was looked at.
fn holds_so_far(scope: Scope, states: usize) {
    let limits = Limits { states, ..WHOLE };
    match go(Rules::REAL, scope, limits) {
        Ok(report) => println!("{report:?}"),
        Err(broken) => panic!("{broken:?}"),
    }
}

/// Of ways drawn from seeds.
fn ways(scope: Scope, seeds: std::ops::Range<u64>) {
    let mut model = Model::new(Rules::REAL, scope);
    match wander(&mut model, seeds, false) {
        Ok(report) => println!("{report:?}"),
        Err(broken) => panic!("{broken:?}"),
    }
}

/// A broken rule shows as this.
fn breaks(rules: Rules, scope: Scope, rule: &str) {
    breaks_after(&[], rules, scope, rule);
}

/// A broken rule shows as this, soon after something has happened.
fn breaks_after(script: &[Step], rules: Rules, scope: Scope, rule: &str) {
    let mut model = Model::new(rules, scope);
    model.script = script.to_vec();
    let limits = Limits {
        states: 20_000,
        ..WHOLE
    };
    match explore(&mut model, limits) {
        Ok(report) => panic!("nothing shows: {report:?}"),
        Err(broken) => {
            println!("{broken:?}");
            assert_eq!(broken.rule, rule);
        }
    }
}

/// A budget of these.
macro_rules! budget {
    ($($what:ident: $count:expr),+) => { Budget { $($what: $count,)+ ..NOTHING } };
}

mod always {
    use super::*;

    #[test]
    fn crossed_revocations() {
        holds(Scope {
            budget: budget!(revokes: 2, losses: 1),
            ..TWO
        });
    }

    #[test]
    fn a_revocation_among_three() {
        holds(Scope {
            budget: budget!(revokes: 1),
            ..THREE
        });
    }

    #[test]
    fn letting_in_beside_an_edit() {
        holds(Scope {
            budget: budget!(enrols: 1, edits: 1),
            ..TWO
        });
    }

    #[test]
    fn writing_beside_a_revocation() {
        holds(Scope {
            budget: budget!(edits: 2, revokes: 1, losses: 1),
            ..TWO
        });
    }

    #[test]
    fn who_is_shut_out_writes_on() {
        holds(Scope {
            budget: budget!(revokes: 1, rogue: 1),
            local: true,
            ..TWO
        });
    }

    #[test]
    fn an_erasure_with_every_certificate() {
        holds(Scope {
            budget: budget!(orders: 1),
            certify_all: true,
            ..TWO
        });
    }

    #[test]
    fn a_restored_server_with_revocations() {
        holds(Scope {
            budget: budget!(revokes: 2, restores: 1, backups: 1),
            ..TWO
        });
    }

    #[test]
    fn a_restored_server_with_an_epoch() {
        holds(Scope {
            budget: budget!(rotations: 1, restores: 1, backups: 1),
            ..TWO
        });
    }

    /// B and C knew a longer branch, of which B knew only the first entry; A made another one, B's won, and A joined it. Then
    /// C comes.
    #[test]
    fn a_branch_that_has_brought_another_one_in() {
        let script = [
            Step::WantRotate(1),
            Step::SignEpoch(1),
            Step::Judge(1),
            Step::Learn(1),
            Step::Learn(2),
            Step::WantRotate(2),
            Step::SignEpoch(2),
            Step::Judge(2),
            Step::Learn(2),
            Step::Restore,
            Step::WantRotate(0),
            Step::SignEpoch(0),
            Step::Judge(0),
            Step::Learn(0),
        ];
        let scope = Scope {
            budget: budget!(rotations: 3, restores: 1),
            ..THREE
        };
        let mut model = Model::new(Rules::REAL, scope);
        model.script = script.to_vec();
        let report = wander(&mut model, 0..40, true).unwrap_or_else(|broken| panic!("{broken:?}"));
        println!("{report:?}");
    }

    #[test]
    fn ways_with_everything_in_them() {
        let budget = budget!(
            enrols: 1, revokes: 2, rotations: 1, orders: 1, edits: 2, losses: 1, backups: 1, restores: 1
        );
        let scope = Scope {
            budget,
            local: true,
            ..TWO
        };
        ways(scope, 0..150);
    }
}

/// The same with more going on: minutes.
mod deeper {
    use super::*;

    #[test]
    fn big_crossed_revocations_among_three() {
        holds(Scope {
            budget: budget!(revokes: 2),
            ..THREE
        });
    }

    #[test]
    fn big_writing_beside_revocations_and_epochs() {
        holds(Scope {
            budget: budget!(edits: 1, revokes: 1, rotations: 1),
            ..TWO
        });
    }

    #[test]
    fn big_who_is_shut_out_writes_on_beside_an_edit() {
        holds(Scope {
            budget: budget!(edits: 1, revokes: 1, rogue: 1),
            local: true,
            ..TWO
        });
    }

    #[test]
    fn big_letting_in_and_shutting_out() {
        holds(Scope {
            budget: budget!(enrols: 1, revokes: 1),
            ..TWO
        });
    }

    #[test]
    fn big_an_erasure_beside_a_revocation() {
        holds(Scope {
            budget: budget!(orders: 1, revokes: 1),
            ..TWO
        });
    }

    #[test]
    fn big_an_erasure_beside_an_edit() {
        let budget = budget!(orders: 1, edits: 1);
        holds_so_far(Scope { budget, ..TWO }, 1_000_000);
    }

    #[test]
    fn big_a_restored_server_with_epochs() {
        let budget = budget!(rotations: 2, restores: 1);
        holds_so_far(Scope { budget, ..TWO }, 1_000_000);
    }

    #[test]
    fn big_everything_at_once_so_far() {
        let budget =
            budget!(enrols: 1, revokes: 2, orders: 1, edits: 1, restores: 1, backups: 1, losses: 1, rogue: 1);
        let scope = Scope {
            budget,
            local: true,
            ..TWO
        };
        holds_so_far(scope, 1_000_000);
    }
}

/// What is asked is not empty: every rule that is broken shows.
mod broken {
    use super::*;

    #[test]
    fn a_server_that_takes_any_entry() {
        let rules = Rules {
            swaps: false,
            ..Rules::REAL
        };
        let budget = budget!(rotations: 2);
        breaks(
            rules,
            Scope { budget, ..TWO },
            "a device has what isn't in the server's log",
        );
    }

    #[test]
    fn a_revocation_without_a_new_epoch() {
        let rules = Rules {
            rotates: false,
            ..Rules::REAL
        };
        let budget = budget!(revokes: 1, edits: 1);
        breaks(
            rules,
            Scope { budget, ..TWO },
            "who was shut out can read what was written after it",
        );
    }

    #[test]
    fn an_erasure_confirmed_before_it_is_done() {
        let rules = Rules {
            erases_first: false,
            ..Rules::REAL
        };
        let budget = budget!(orders: 1);
        breaks(
            rules,
            Scope { budget, ..TWO },
            "an erased document can be read on a device that confirmed it",
        );
    }

    #[test]
    fn a_cut_that_nobody_looks_at() {
        let rules = Rules {
            cuts: false,
            ..Rules::REAL
        };
        let budget = budget!(edits: 1, revokes: 1);
        breaks(
            rules,
            Scope { budget, ..TWO },
            "a write behind a revocation's cut was accepted",
        );
    }

    #[test]
    fn an_epoch_confirmed_with_the_old_key_in_hand() {
        let rules = Rules {
            destroys_first: false,
            ..Rules::REAL
        };
        let budget = budget!(rotations: 1);
        breaks(
            rules,
            Scope { budget, ..TWO },
            "a device has an old epoch's key after it said that it has a new one",
        );
    }

    #[test]
    fn a_handle_that_is_forgotten() {
        let rules = Rules {
            refuses_erased: false,
            ..Rules::REAL
        };
        let budget = budget!(orders: 1, edits: 1);
        breaks(
            rules,
            Scope { budget, ..TWO },
            "the server has a body of what was erased",
        );
    }

    /// C has carried out what A ordered, and B, who has not heard of it, shuts A out.
    #[test]
    fn an_erasure_that_falls_with_its_author() {
        let script = [
            Step::Order(0),
            Step::Carry(0),
            Step::SendErase(0),
            Step::TakeErase(2),
            Step::Carry(2),
            Step::WantRevoke(1, 0),
            Step::SignRevoke(1, 0),
            Step::Judge(1),
            Step::Learn(1),
            Step::Learn(2),
        ];
        let rules = Rules {
            reissues: false,
            ..Rules::REAL
        };
        let budget = budget!(orders: 1, revokes: 1);
        let rule = "at rest, and what one member has erased another one has";
        breaks_after(&script, rules, Scope { budget, ..THREE }, rule);
    }

    /// A has left, B has taken on the epoch that came then, and the server forgets that epoch.
    #[test]
    fn an_epoch_that_nobody_can_open_or_end() {
        let script = [
            Step::WantRevoke(0, 0),
            Step::SignRevoke(0, 0),
            Step::Judge(0),
            Step::Learn(0),
            Step::Learn(1),
            Step::SignEpoch(1),
            Step::Judge(1),
            Step::Learn(1),
            Step::TakeOn(1),
            Step::Restore,
        ];
        let rules = Rules {
            helps_itself: false,
            ..Rules::REAL
        };
        let budget = budget!(revokes: 2, restores: 1);
        let rule = "at rest, and a new epoch is still wanted";
        breaks_after(&script, rules, Scope { budget, ..THREE }, rule);
    }

    /// A has taken on an epoch of a branch that lost, and then one of the same number.
    #[test]
    fn agreement_keys_by_the_numbers_of_epochs() {
        let script = [
            Step::WantRotate(0),
            Step::SignEpoch(0),
            Step::Judge(0),
            Step::Learn(0),
            Step::Restore,
            Step::TakeOn(0),
            Step::WantRotate(1),
            Step::SignEpoch(1),
            Step::Judge(1),
            Step::Settle(0),
        ];
        let rules = Rules {
            newest_last: false,
            ..Rules::REAL
        };
        let budget = budget!(rotations: 2, restores: 1);
        breaks_after(
            &script,
            rules,
            Scope { budget, ..TWO },
            "it runs in circles by itself",
        );
    }
}
