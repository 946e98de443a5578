//! Drawing the next token from logits.
//!
//! The order and the defaults are those of llama.cpp: repetition penalty, top-k, top-p, min-p,
//! temperature, then a draw from what is left. So top-p and min-p look at the distribution before
//! temperature changes it. Temperature 0 takes the likeliest token. Its other samplers (DRY,
//! XTC, typical, top-n-sigma) are off by default there and absent here.

use std::collections::VecDeque;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toktrie::SimpleVob;

/// How tokens are drawn. The defaults are llama.cpp's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingOptions {
    /// Flattens (> 1) or sharpens (< 1) the distribution; 0 is greedy. 0 to 100, default 0.8.
    pub temperature: f32,
    /// Keep this many of the likeliest tokens; 0 keeps all. Default 40.
    pub top_k: usize,
    /// Keep the likeliest tokens that together reach this probability; 1 keeps all. Default 0.95.
    pub top_p: f32,
    /// Drop tokens less likely than this share of the likeliest; 0 drops none. Default 0.05.
    pub min_p: f32,
    /// Divide (or multiply, when negative) logits of recent tokens by this; 1 is off. Above 0, at
    /// most 100, default 1.
    pub repetition_penalty: f32,
    /// How many recent tokens, prompt included, the penalty looks at. Default 64.
    pub repetition_window: usize,
    /// Same seed, same model, same prompt, same answer; `None` takes a random one.
    pub seed: Option<u64>,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repetition_penalty: 1.0,
            repetition_window: 64,
            seed: None,
        }
    }
}

impl SamplingOptions {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }

    /// Checks every range.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let check = |option, value: f32, fine: bool, allowed| {
            if fine {
                Ok(())
            } else {
                Err(SamplingError {
                    option,
                    allowed,
                    value: value.to_string(),
                })
            }
        };
        let Self {
            temperature,
            top_p,
            min_p,
            repetition_penalty,
            ..
        } = *self;
        check(
            "temperature",
            temperature,
            (0.0..=100.0).contains(&temperature),
            "from 0 to 100",
        )?;
        check("top_p", top_p, (0.0..=1.0).contains(&top_p), "from 0 to 1")?;
        check("min_p", min_p, (0.0..=1.0).contains(&min_p), "from 0 to 1")?;
        let fine = repetition_penalty > 0.0 && repetition_penalty <= 100.0;
        check(
            "repetition_penalty",
            repetition_penalty,
            fine,
            "above 0 and at most 100",
        )
    }
}

/// An option outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option} must be {allowed}, not {value}")]
pub struct SamplingError {
    /// The option's name.
    pub option: &'static str,
    /// The range in words.
    pub allowed: &'static str,
    /// What was given.
    pub value: String,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    token: u32,
    logit: f32,
}

/// Draws tokens for one answer.
#[derive(Debug)]
pub struct Sampler {
    options: SamplingOptions,
    rng: ChaCha8Rng,
    recent: VecDeque<u32>,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler under checked options.
    pub fn new(options: SamplingOptions) -> Result<Self, SamplingError> {
        options.validate()?;
        let seed = options.seed.unwrap_or_else(rand::random);
        Ok(Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            options,
            recent: VecDeque::new(),
            candidates: Vec::new(),
        })
    }

    /// Tells the repetition penalty about a token of the prompt or the answer.
    pub fn accept(&mut self, token: u32) {
        if self.penalises() {
            if self.recent.len() == self.options.repetition_window {
                self.recent.pop_front();
            }
            self.recent.push_back(token);
        }
    }

    /// Applies the repetition penalty to `logits` (index = token). Once per position.
    pub fn penalise(&self, logits: &mut [f32]) {
        let penalty = self.options.repetition_penalty;
        for (at, &token) in self.recent.iter().enumerate() {
            if self.recent.iter().take(at).any(|&earlier| earlier == token) {
                continue;
            }
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit > 0.0 {
                    *logit / penalty
                } else {
                    *logit * penalty
                };
            }
        }
    }

    /// Draws a token from penalised logits, among those in `mask` if there is one. Logits that
    /// are not finite never win; `None` when nothing is left.
    pub fn draw(&mut self, logits: &[f32], mask: Option<&SimpleVob>) -> Option<u32> {
        let SamplingOptions {
            temperature, top_k, ..
        } = self.options;
        if temperature == 0.0 || top_k == 1 {
            return match mask {
                None => likeliest(logits),
                Some(mask) => likeliest_in(logits, mask),
            };
        }
        self.collect(logits, mask);
        self.narrow();
        self.pick(temperature)
    }

    fn penalises(&self) -> bool {
        (self.options.repetition_penalty - 1.0).abs() > f32::EPSILON && self.options.repetition_window > 0
    }

    /// Fills `candidates` with the top-k tokens, or all when top-k is off.
    fn collect(&mut self, logits: &[f32], mask: Option<&SimpleVob>) {
        let candidates = &mut self.candidates;
        candidates.clear();
        if let Some(mask) = mask {
            mask.iter_set_entries(|index| {
                if let Some(&logit) = logits.get(index)
                    && logit.is_finite()
                {
                    candidates.push(Candidate {
                        token: index as u32,
                        logit,
                    });
                }
            });
            keep_top(candidates, self.options.top_k);
        } else if self.options.top_k == 0 {
            candidates.extend(
                logits
                    .iter()
                    .enumerate()
                    .filter(|(_, logit)| logit.is_finite())
                    .map(|(index, &logit)| Candidate {
                        token: index as u32,
                        logit,
                    }),
            );
        } else {
            collect_top(candidates, logits, self.options.top_k);
        }
    }

    /// Top-p, then min-p, on the distribution of the collected candidates.
    fn narrow(&mut self) {
        let SamplingOptions { top_p, min_p, .. } = self.options;
        let candidates = &mut self.candidates;
        let Some(max) = candidates.iter().map(|c| c.logit).reduce(f32::max) else {
            return;
        };
        if top_p < 1.0 {
            let total: f64 = candidates.iter().map(|c| f64::from((c.logit - max).exp())).sum();
            // All tokens below this probability together weigh less than 1 - top_p, so the cut
            // comes before them: they need no sorting.
            let least = f64::from(1.0 - top_p) / candidates.len() as f64 * total;
            let least = (least.ln() as f32 + max).min(max);
            candidates.retain(|c| c.logit >= least);
            sort(candidates);
            let mut sum = 0.0;
            let kept = candidates.iter().position(|c| {
                sum += f64::from((c.logit - max).exp());
                sum >= f64::from(top_p) * total
            });
            candidates.truncate(kept.map_or(candidates.len(), |last| last + 1));
        }
        if min_p > 0.0 {
            let least = max + min_p.ln();
            candidates.retain(|c| c.logit >= least);
        }
    }

    /// Draws from what is left, at this temperature.
    fn pick(&mut self, temperature: f32) -> Option<u32> {
        let max = self.candidates.iter().map(|c| c.logit).reduce(f32::max)?;
        let weight = |c: &Candidate| f64::from((c.logit - max) / temperature).exp();
        let total: f64 = self.candidates.iter().map(weight).sum();
        let mut rest = self.rng.random::<f64>() * total;
        for candidate in &self.candidates {
            rest -= weight(candidate);
            if rest < 0.0 {
                return Some(candidate.token);
            }
        }
        self.candidates.last().map(|c| c.token)
    }
}

/// Likeliest first; equal ones by token, so that the order never depends on the way there.
fn sort(candidates: &mut [Candidate]) {
    candidates.sort_unstable_by(|a, b| b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token)));
}

/// Cuts to the `k` likeliest, sorted; 0 leaves all.
fn keep_top(candidates: &mut Vec<Candidate>, k: usize) {
    if k == 0 {
        return;
    }
    if candidates.len() > k {
        candidates.select_nth_unstable_by(k - 1, |a, b| {
            b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
        });
        candidates.truncate(k);
    }
    sort(candidates);
}

const LANES: usize = 16;

/// The largest number of a block, NaN ignored; written so that it becomes vector code.
fn block_max(block: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = block.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    let max = |a: f32, b: f32| if b > a { b } else { a };
    let wide = lanes.into_iter().fold(f32::NEG_INFINITY, max);
    rest.iter().copied().fold(wide, max)
}

/// Like collecting all and keeping the top `k`, but looks closely only at blocks that can matter.
fn collect_top(candidates: &mut Vec<Candidate>, logits: &[f32], k: usize) {
    const BLOCK: usize = 8 * LANES;
    let room = 4 * k + BLOCK;
    let mut least = f32::NEG_INFINITY;
    for (number, block) in logits.chunks(BLOCK).enumerate() {
        if block_max(block) <= least {
            continue;
        }
        for (offset, &logit) in block.iter().enumerate() {
            if logit > least && logit.is_finite() {
                let token = (number * BLOCK + offset) as u32;
                candidates.push(Candidate { token, logit });
            }
        }
        if candidates.len() >= room {
            keep_top(candidates, k);
            // Equal logits that come later have a larger token and would lose the tie.
            least = candidates[k - 1].logit;
        }
    }
    keep_top(candidates, k);
}

/// The token with the largest finite logit, the first of equals.
pub fn likeliest(logits: &[f32]) -> Option<u32> {
    let max = block_max(logits);
    if max.is_finite() {
        return logits
            .iter()
            .position(|&logit| logit >= max)
            .map(|index| index as u32);
    }
    let finite = logits.iter().enumerate().filter(|(_, logit)| logit.is_finite());
    finite
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(i, _)| i as u32)
}

fn likeliest_in(logits: &[f32], mask: &SimpleVob) -> Option<u32> {
    let mut best: Option<Candidate> = None;
    mask.iter_set_entries(|index| {
        if let Some(&logit) = logits.get(index)
            && logit.is_finite()
            && best.is_none_or(|b| logit > b.logit)
        {
            best = Some(Candidate {
                token: index as u32,
                logit,
            });
        }
    });
    best.map(|b| b.token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampler(change: impl FnOnce(&mut SamplingOptions)) -> Sampler {
        let mut options = SamplingOptions {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: Some(7),
            ..SamplingOptions::default()
        };
        change(&mut options);
        Sampler::new(options).unwrap()
    }

    /// Logits of these probabilities.
    fn logits(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    fn shares(sampler: &mut Sampler, logits: &[f32], mask: Option<&SimpleVob>) -> Vec<f32> {
        let mut counts = vec![0u16; logits.len()];
        for _ in 0..20_000 {
            counts[sampler.draw(logits, mask).unwrap() as usize] += 1;
        }
        counts.into_iter().map(|c| f32::from(c) / 20_000.0).collect()
    }

    #[track_caller]
    fn check(sampler: &mut Sampler, from: &[f32], expected: &[f32]) {
        let got = shares(sampler, &logits(from), None);
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 0.015, "{got:?} is not {expected:?}");
        }
    }

    const FOUR: [f32; 4] = [0.1, 0.5, 0.15, 0.25];

    #[test]
    fn each_option_narrows_as_documented() {
        check(&mut sampler(|_| ()), &FOUR, &FOUR);
        check(&mut sampler(|o| o.top_k = 2), &FOUR, &[0.0, 0.667, 0.0, 0.333]);
        check(&mut sampler(|o| o.top_p = 0.7), &FOUR, &[0.0, 0.667, 0.0, 0.333]);
        check(&mut sampler(|o| o.top_p = 0.0), &FOUR, &[0.0, 1.0, 0.0, 0.0]);
        check(&mut sampler(|o| o.min_p = 0.4), &FOUR, &[0.0, 0.667, 0.0, 0.333]);
        check(
            &mut sampler(|o| o.temperature = 0.5),
            &FOUR,
            &[0.029, 0.725, 0.065, 0.181],
        );
        check(
            &mut sampler(|o| o.temperature = 0.0),
            &FOUR,
            &[0.0, 1.0, 0.0, 0.0],
        );
        check(&mut sampler(|o| o.top_k = 1), &FOUR, &[0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn top_p_looks_before_temperature_does() {
        // At temperature 100 all four are near equal, yet top-p 0.5 keeps the likeliest only.
        let mut sampler = sampler(|o| (o.top_p, o.temperature) = (0.5, 100.0));
        check(&mut sampler, &FOUR, &[0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let logits = logits(&FOUR);
        let draw = |seed| {
            let mut sampler = sampler(|o| o.seed = Some(seed));
            (0..50).map(|_| sampler.draw(&logits, None)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn repetition_is_penalised_once_per_token_within_the_window() {
        let mut sampler = sampler(|o| (o.repetition_penalty, o.repetition_window) = (2.0, 3));
        for token in [0, 1, 2, 1] {
            sampler.accept(token);
        }
        let mut logits = [4.0, 4.0, -4.0, 4.0];
        sampler.penalise(&mut logits);
        assert_eq!(logits.map(|logit| logit as i32), [4, 2, -8, 4]);
    }

    #[test]
    fn a_mask_is_obeyed() {
        let mut mask = SimpleVob::alloc(4);
        mask.set(0, true);
        mask.set(2, true);
        let got = shares(&mut sampler(|_| ()), &logits(&FOUR), Some(&mask));
        assert!(
            (got[0] - 0.4).abs() < 0.015 && (got[2] - 0.6).abs() < 0.015,
            "{got:?}"
        );
        let greedy = sampler(|o| o.temperature = 0.0).draw(&logits(&FOUR), Some(&mask));
        assert_eq!(greedy, Some(2));
        assert_eq!(sampler(|_| ()).draw(&[1.0; 4], Some(&SimpleVob::alloc(4))), None);
    }

    #[test]
    fn numbers_that_are_none_never_win() {
        let changes: [fn(&mut SamplingOptions); 3] = [|_| (), |o| o.temperature = 0.0, |o| o.top_k = 3];
        for change in changes {
            let odd = [f32::NAN, f32::INFINITY, -1.0, f32::NEG_INFINITY];
            assert_eq!(sampler(change).draw(&odd, None), Some(2));
            assert_eq!(sampler(change).draw(&[f32::NAN; 40], None), None);
            assert_eq!(sampler(change).draw(&[], None), None);
        }
    }

    #[test]
    fn options_out_of_range_are_named() {
        let options = SamplingOptions {
            top_p: 1.5,
            ..SamplingOptions::default()
        };
        let error = options.validate().unwrap_err().to_string();
        assert_eq!(error, "top_p must be from 0 to 1, not 1.5");
        for temperature in [-0.1, f32::NAN, f32::INFINITY] {
            assert!(
                SamplingOptions {
                    temperature,
                    ..SamplingOptions::default()
                }
                .validate()
                .is_err()
            );
        }
    }

    proptest! {
        #[test]
        fn the_quick_top_k_is_the_plain_one(
            logits in prop::collection::vec(
                prop_oneof![-9.0f32..9.0, Just(1.0f32), Just(f32::NAN), Just(f32::INFINITY)], 0..900
            ),
            k in 1usize..60,
        ) {
            let mut quick = Vec::new();
            collect_top(&mut quick, &logits, k);
            let mut plain: Vec<(u32, f32)> = logits.iter().copied().enumerate()
                .filter(|(_, l)| l.is_finite()).map(|(i, l)| (i as u32, l)).collect();
            plain.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            plain.truncate(k);
            let quick: Vec<(u32, f32)> = quick.iter().map(|c| (c.token, c.logit)).collect();
            prop_assert_eq!(&quick, &plain);
            prop_assert_eq!(likeliest(&logits), plain.first().map(|p| p.0));
        }
    }
}
