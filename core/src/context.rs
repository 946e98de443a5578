//! What of a chat fits the model's window. Pure: the caller counts tokens.
//!
//! The system prompt and the last turn always survive. When the rest does not fit, the oldest turns go first, whole
//! turns only (a person's message with its replies). To keep the model's cache of the prompt's beginning useful, the
//! beginning must not move with every turn: once something has to go, so much goes that a quarter of the room is free
//! again, and the following turns keep the same beginning until that quarter is used up.

use crate::types::{ContextReport, MessageId, Role};

/// Fewest tokens worth beginning a reply for.
pub const MIN_REPLY_TOKENS: u32 = 64;
/// Longest reply when neither request nor settings say anything.
pub const DEFAULT_REPLY_TOKENS: u32 = 1024;

/// One message of the branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryMessage {
    /// Its identifier; none for the message that is about to be stored.
    pub id: Option<MessageId>,
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub text: String,
}

/// A person's message with what followed it; what goes and stays together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryTurn {
    /// Its messages, in order.
    pub messages: Vec<HistoryMessage>,
}

/// Cuts a branch into turns. System messages are not part of it, nor are messages without text.
pub fn turns(branch: impl IntoIterator<Item = HistoryMessage>) -> Vec<HistoryTurn> {
    let mut turns: Vec<HistoryTurn> = Vec::new();
    for message in branch {
        if message.role == Role::System || message.text.trim().is_empty() {
            continue;
        }
        match turns.last_mut() {
            Some(turn) if message.role != Role::User => turn.messages.push(message),
            _ => turns.push(HistoryTurn {
                messages: vec![message],
            }),
        }
    }
    turns
}

/// The room there is, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Prompt and reply together.
    pub window: u32,
    /// Kept free for the reply.
    pub reserve: u32,
}

impl Budget {
    /// Keeps room for a reply of `max_tokens`, or of a default length, but never more than half the window.
    pub fn new(window: u32, max_tokens: Option<u32>) -> Self {
        let reserve = match max_tokens {
            Some(tokens) => tokens.min(window / 2),
            None => DEFAULT_REPLY_TOKENS.min(window / 4),
        };
        Self {
            window,
            reserve: reserve.max(1),
        }
    }
}

/// Which turns the model sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The first turn that it sees; everything before is left out.
    pub first_kept: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens left for the reply at least. Less than the budget's reserve only when the last turn alone is so large.
    pub reserved: u32,
}

/// Why nothing fits.
#[derive(Debug, PartialEq, Eq)]
pub enum PlanError<E> {
    /// System prompt and last turn alone are too large.
    TooLarge {
        /// Tokens they need, with [`MIN_REPLY_TOKENS`] for the reply.
        needed: u32,
        /// Tokens there are.
        window: u32,
    },
    /// Counting failed.
    Count(E),
}

/// Chooses the first turn to keep of `turn_count` turns.
///
/// `previous` is the first turn that the reply before this one saw; pass 0 when there is none or when window, model
/// or system prompt have changed since. `prompt_tokens(k)` counts the whole prompt that begins with turn `k`; it is
/// called a logarithmic number of times.
pub fn plan<E>(
    turn_count: usize,
    budget: Budget,
    previous: usize,
    mut prompt_tokens: impl FnMut(usize) -> Result<u32, E>,
) -> Result<Plan, PlanError<E>> {
    let last = turn_count.saturating_sub(1);
    let limit = budget.window.saturating_sub(budget.reserve);
    let start = previous.min(last);
    let tokens = prompt_tokens(start).map_err(PlanError::Count)?;
    if tokens <= limit {
        return Ok(Plan {
            first_kept: start,
            prompt_tokens: tokens,
            reserved: budget.reserve,
        });
    }
    let alone = if start == last {
        tokens
    } else {
        prompt_tokens(last).map_err(PlanError::Count)?
    };
    if alone > limit {
        let needed = alone.saturating_add(MIN_REPLY_TOKENS.min(budget.reserve));
        return if needed <= budget.window {
            Ok(Plan {
                first_kept: last,
                prompt_tokens: alone,
                reserved: budget.window - alone,
            })
        } else {
            Err(PlanError::TooLarge {
                needed,
                window: budget.window,
            })
        };
    }
    // The smallest beginning in (start, last] that leaves a quarter of the room free.
    let target = limit - limit / 4;
    let (mut too_many, mut fitting, mut fitting_tokens) = (start, last, alone);
    while fitting - too_many > 1 {
        let middle = too_many + (fitting - too_many) / 2;
        let tokens = prompt_tokens(middle).map_err(PlanError::Count)?;
        if tokens <= target {
            (fitting, fitting_tokens) = (middle, tokens);
        } else {
            too_many = middle;
        }
    }
    Ok(Plan {
        first_kept: fitting,
        prompt_tokens: fitting_tokens,
        reserved: budget.reserve,
    })
}

/// The report of a plan. `tokens_of` counts one message's text.
pub fn report(
    plan: Plan,
    window: u32,
    system_tokens: u32,
    turns: &[HistoryTurn],
    mut tokens_of: impl FnMut(&HistoryMessage) -> u32,
) -> ContextReport {
    let (left_out, kept) = turns.split_at(plan.first_kept.min(turns.len()));
    let left_out: Vec<&HistoryMessage> = left_out.iter().flat_map(|turn| &turn.messages).collect();
    ContextReport {
        window,
        reserved_for_reply: plan.reserved,
        system_tokens,
        kept_turns: kept.iter().map(|turn| turn.messages.len() as u32).sum(),
        left_out_turns: left_out.iter().filter_map(|message| message.id).collect(),
        left_out_tokens: left_out.iter().map(|message| tokens_of(message)).sum(),
        prompt_tokens: plan.prompt_tokens,
    }
}

/// The first turn that an earlier reply saw, found from its report; 0 when its circumstances were others.
pub fn previous_start(
    turns: &[HistoryTurn],
    earlier: &ContextReport,
    budget: Budget,
    system_tokens: u32,
) -> usize {
    let same = earlier.window == budget.window
        && earlier.reserved_for_reply == budget.reserve
        && earlier.system_tokens == system_tokens;
    let Some(last_left_out) = earlier.left_out_turns.last().filter(|_| same) else {
        return 0;
    };
    let holds = |turn: &HistoryTurn| {
        turn.messages
            .iter()
            .any(|message| message.id == Some(*last_left_out))
    };
    turns.iter().position(holds).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    const SYSTEM: u32 = 10;

    fn additive(sizes: &[u32]) -> impl FnMut(usize) -> Result<u32, Infallible> + '_ {
        |from| Ok(SYSTEM + sizes[from..].iter().sum::<u32>())
    }

    fn message(id: u128, role: Role, text: &str) -> HistoryMessage {
        HistoryMessage {
            id: Some(MessageId::from_u128(id)),
            role,
            text: text.into(),
        }
    }

    #[test]
    fn everything_is_kept_while_it_fits() {
        let plan = plan(
            3,
            Budget {
                window: 100,
                reserve: 20,
            },
            0,
            additive(&[20, 20, 30]),
        )
        .unwrap();
        assert_eq!(
            plan,
            Plan {
                first_kept: 0,
                prompt_tokens: 80,
                reserved: 20
            }
        );
    }

    #[test]
    fn the_oldest_turns_go_in_a_larger_step() {
        // 9 × 10 + 10 = 100 > 80: not one turn goes but as many as bring it to 60.
        let plan = plan(
            9,
            Budget {
                window: 100,
                reserve: 20,
            },
            0,
            additive(&[10; 9]),
        )
        .unwrap();
        assert_eq!(
            plan,
            Plan {
                first_kept: 4,
                prompt_tokens: 60,
                reserved: 20
            }
        );
    }

    #[test]
    fn a_large_last_turn_may_use_the_replys_room_but_not_all_of_it() {
        let budget = Budget {
            window: 1000,
            reserve: 200,
        };
        assert_eq!(
            plan(2, budget, 0, additive(&[500, 900])),
            Ok(Plan {
                first_kept: 1,
                prompt_tokens: 910,
                reserved: 90
            })
        );
        assert_eq!(
            plan(2, budget, 0, additive(&[5, 950])),
            Err(PlanError::TooLarge {
                needed: 1024,
                window: 1000
            })
        );
    }

    #[test]
    fn turns_begin_with_a_persons_message() {
        let cut = turns([
            message(1, Role::System, "be kind"),
            message(2, Role::User, "a"),
            message(3, Role::Assistant, "b"),
            message(4, Role::Assistant, " "),
            message(5, Role::User, "c"),
        ]);
        let ids: Vec<Vec<u128>> = cut
            .iter()
            .map(|turn| {
                turn.messages
                    .iter()
                    .filter_map(|m| m.id)
                    .map(MessageId::as_u128)
                    .collect()
            })
            .collect();
        assert_eq!(ids, [vec![2, 3], vec![5]]);
    }

    #[test]
    fn the_report_names_what_was_left_out_and_leads_back_to_the_same_beginning() {
        let turns =
            turns((0..6).map(|n| message(n, if n % 2 == 0 { Role::User } else { Role::Assistant }, "xx")));
        let plan = Plan {
            first_kept: 2,
            prompt_tokens: 50,
            reserved: 20,
        };
        let report = report(plan, 100, SYSTEM, &turns, |m| m.text.len() as u32);
        assert_eq!(
            report.left_out_turns,
            (0..4).map(MessageId::from_u128).collect::<Vec<_>>()
        );
        assert_eq!((report.left_out_tokens, report.kept_turns), (8, 2));
        let budget = Budget {
            window: 100,
            reserve: 20,
        };
        assert_eq!(previous_start(&turns, &report, budget, SYSTEM), 2);
        assert_eq!(
            previous_start(
                &turns,
                &report,
                Budget {
                    window: 200,
                    reserve: 20
                },
                SYSTEM
            ),
            0
        );
        assert_eq!(previous_start(&turns, &report, budget, SYSTEM + 1), 0);
    }

    proptest! {
        #[test]
        fn what_is_planned_fits_and_keeps_the_last_turn(
            sizes in proptest::collection::vec(1_u32..400, 1..60),
            window in 64_u32..4000,
            max_tokens in proptest::option::of(1_u32..2000),
            previous in 0_usize..80,
        ) {
            let budget = Budget::new(window, max_tokens);
            let mut calls = 0;
            let mut count = additive(&sizes);
            let result = plan(sizes.len(), budget, previous, |k| { calls += 1; count(k) });
            prop_assert!(calls <= 10, "{calls} counts");
            match result {
                Ok(plan) => {
                    prop_assert!(plan.first_kept < sizes.len());
                    prop_assert!(plan.prompt_tokens + plan.reserved <= window);
                    prop_assert_eq!(plan.prompt_tokens, count(plan.first_kept).unwrap());
                    prop_assert!(plan.first_kept >= previous.min(sizes.len() - 1));
                }
                Err(PlanError::TooLarge { needed, .. }) => {
                    prop_assert!(needed > window);
                    prop_assert!(count(sizes.len() - 1).unwrap() + MIN_REPLY_TOKENS >= needed);
                }
                Err(PlanError::Count(_)) => unreachable!(),
            }
        }

        #[test]
        fn the_beginning_moves_seldom(sizes in proptest::collection::vec(1_u32..40, 50..200)) {
            // A chat that grows turn by turn: between two moves at least a quarter of the room, less one turn, is used.
            let budget = Budget { window: 1000, reserve: 200 };
            let (mut start, mut since_move) = (0, u32::MAX);
            for n in 1..=sizes.len() {
                let plan = plan(n, budget, start, additive(&sizes[..n])).unwrap();
                since_move = since_move.saturating_add(sizes[n - 1]);
                if plan.first_kept != start {
                    prop_assert!(since_move > 200 - 40, "moved again after {since_move} tokens");
                    since_move = 0;
                    start = plan.first_kept;
                }
            }
        }
    }
}
