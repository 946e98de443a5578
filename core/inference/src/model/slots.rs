//! Which key-value cache a request gets: the law of prefix reuse.

/// What one of the decoder's slots holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Cache {
    /// The tokens whose keys and values are cached.
    pub(super) tokens: Vec<u32>,
    /// The conversation they belong to, if it was named.
    pub(super) session: Option<u64>,
    /// When it was last used, on a counter.
    pub(super) used: u64,
    /// Whether a running request owns it.
    pub(super) busy: bool,
}

/// A slot, and how much of it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) slot: usize,
    pub(super) reused: usize,
}

/// How many tokens two sequences share from their start.
fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The best free slot for `prompt`; `None` when all are busy.
///
/// A slot of the same session, or one of which at least half stays, is continued, the longest common prefix
/// first. Otherwise the request starts in an empty slot, or in the one unused for longest: a shared
/// system prompt alone is no reason to destroy another conversation's cache. The last token of the prompt is
/// always computed, since its logits are wanted.
pub(super) fn choose(caches: &[Cache], prompt: &[u32], session: Option<u64>) -> Option<Choice> {
    let free = || {
        caches
            .iter()
            .enumerate()
            .filter(|(_, cache)| !cache.busy)
            .map(|(slot, cache)| (slot, cache, common_prefix(&cache.tokens, prompt)))
    };
    let same = |cache: &Cache| session.is_some() && cache.session == session;
    let continued = free()
        .filter(|(_, cache, shared)| *shared > 0 && (same(cache) || shared * 2 >= cache.tokens.len()))
        .max_by_key(|(_, cache, shared)| (*shared, same(cache), cache.used));
    let least_used =
        || free().min_by_key(|(_, cache, _)| (!cache.tokens.is_empty(), !same(cache), cache.used));
    let (slot, _, shared) = continued.or_else(least_used)?;
    Some(Choice {
        slot,
        reused: shared.min(prompt.len().saturating_sub(1)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(tokens: &[u32], session: u64, used: u64) -> Cache {
        Cache {
            tokens: tokens.to_vec(),
            session: Some(session),
            used,
            busy: false,
        }
    }

    #[track_caller]
    fn check(caches: &[Cache], prompt: &[u32], session: Option<u64>, slot: usize, reused: usize) {
        assert_eq!(choose(caches, prompt, session), Some(Choice { slot, reused }));
    }

    #[test]
    fn the_next_turn_continues_its_conversation() {
        let caches = [
            cache(&[1, 2, 9, 9], 7, 2),
            cache(&[1, 2, 3, 4], 8, 1),
            Cache::default(),
        ];
        check(&caches, &[1, 2, 3, 4, 5], Some(8), 1, 4);
        check(&caches, &[1, 2, 3, 4, 5], None, 1, 4);
    }

    #[test]
    fn the_same_prompt_again_computes_its_last_token() {
        check(&[cache(&[1, 2, 3, 4, 5], 7, 1)], &[1, 2, 3], Some(7), 0, 2);
    }

    #[test]
    fn an_edit_far_back_stays_in_its_slot() {
        let caches = [cache(&[1, 2, 3, 4, 5, 6, 7], 7, 1), Cache::default()];
        check(&caches, &[1, 2, 8, 8], Some(7), 0, 2);
    }

    #[test]
    fn a_new_conversation_spares_the_warm_ones() {
        let caches = [cache(&[1, 2, 3, 4, 5, 6], 7, 1), Cache::default()];
        check(&caches, &[1, 2, 9], Some(8), 1, 0);
        let caches = [cache(&[1, 2, 3, 4, 5, 6], 7, 2), cache(&[1, 2, 4, 4, 4, 4], 8, 1)];
        check(&caches, &[1, 2, 9], Some(9), 1, 2);
    }

    #[test]
    fn busy_slots_are_left_alone() {
        let mut caches = [cache(&[1, 2], 7, 1), Cache::default()];
        caches[0].busy = true;
        check(&caches, &[1, 2, 3], Some(7), 1, 0);
        caches[1].busy = true;
        assert_eq!(choose(&caches, &[1, 2, 3], Some(7)), None);
    }
}
