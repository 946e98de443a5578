//! Weights that make the evidence likely: a softmax over each question's candidates, with a penalty on large weights.

use anyhow::Result;
use hearth_core::memory::recall::{PoolSizes, Signals, candidates, signals};

use super::conversation::Indexed;

/// The candidates of a question, and which of them answer it.
pub(super) struct Example {
    signals: Vec<[f32; Signals::COUNT]>,
    answers: Vec<bool>,
    weight: f32,
}

/// The questions of a conversation whose answers are among the candidates. Each set counts `share`, however many
/// questions it has.
pub(super) fn examples(indexed: &Indexed, share: f32) -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    for (at, asked) in indexed.conversation.questions.iter().enumerate() {
        let query = indexed.query(at, 0);
        let found = candidates(
            &indexed.store,
            Some(indexed.vector(at)),
            &query,
            PoolSizes::default(),
        )?;
        let answers: Vec<bool> = found
            .rows
            .iter()
            .map(|row| super::place(indexed, row).is_some_and(|place| asked.evidence.contains(&place)))
            .collect();
        if !answers.contains(&true) {
            continue;
        }
        let signals = signals(&found.question, &found.frequencies, &found.candidates);
        examples.push(Example {
            signals: signals.into_iter().map(Signals::to_array).collect(),
            answers,
            weight: 0.0,
        });
    }
    let weight = share / examples.len().max(1) as f32;
    for example in &mut examples {
        example.weight = weight;
    }
    Ok(examples)
}

/// Weights for examples, by Adam (Kingma and Ba, 2015) with falling steps. The penalty is on weights times the signal's spread, so
/// that all signals are treated alike.
pub(super) fn fit(examples: &[&Example], penalty: f32) -> Signals {
    const STEPS: usize = 500;
    const RATE: f32 = 0.05;
    const FIRST: f32 = 0.9;
    const SECOND: f32 = 0.99;
    let spread = spread(examples);
    // The weights are fitted in units of the spread.
    let mut weights = [0f32; Signals::COUNT];
    let mut mean = [0f32; Signals::COUNT];
    let mut square = [0f32; Signals::COUNT];
    let mut scores = Vec::new();
    for step in 0..STEPS {
        let mut gradient: [f32; Signals::COUNT] = std::array::from_fn(|s| 2.0 * penalty * weights[s]);
        let plain: [f32; Signals::COUNT] = std::array::from_fn(|s| weights[s] / spread[s]);
        for example in examples {
            scores.clear();
            scores.extend(
                example
                    .signals
                    .iter()
                    .map(|signals| signals.iter().zip(&plain).map(|(a, b)| a * b).sum::<f32>()),
            );
            let best = scores.iter().copied().fold(f32::MIN, f32::max);
            let total: f32 = scores.iter().map(|score| (score - best).exp()).sum();
            let right = example.answers.iter().filter(|is| **is).count() as f32;
            for ((signals, answers), score) in example.signals.iter().zip(&example.answers).zip(&scores) {
                let wanted = if *answers { 1.0 / right } else { 0.0 };
                let error = example.weight * ((score - best).exp() / total - wanted);
                for s in 0..Signals::COUNT {
                    gradient[s] += error * signals[s] / spread[s];
                }
            }
        }
        let rate = RATE * (STEPS - step) as f32 / STEPS as f32;
        let begun = |decay: f32| decay.powi(step as i32 + 1);
        for s in 0..Signals::COUNT {
            mean[s] = FIRST * mean[s] + (1.0 - FIRST) * gradient[s];
            square[s] = SECOND * square[s] + (1.0 - SECOND) * gradient[s].powi(2);
            let (mean, square) = (mean[s] / (1.0 - begun(FIRST)), square[s] / (1.0 - begun(SECOND)));
            weights[s] -= rate * mean / (square.sqrt() + 1e-8);
        }
    }
    Signals::from_array(std::array::from_fn(|s| weights[s] / spread[s]))
}

/// The sum that half of the answers reach: where a turn is taken to be as likely wanted as not.
pub(super) fn center(examples: &[&Example], weights: &Signals) -> f32 {
    let mut sums: Vec<f32> = examples
        .iter()
        .flat_map(|example| example.signals.iter().zip(&example.answers))
        .filter(|(_, answers)| **answers)
        .map(|(signals, _)| Signals::from_array(*signals).dot(weights))
        .collect();
    sums.sort_unstable_by(f32::total_cmp);
    sums.get(sums.len() / 2).copied().unwrap_or(0.0)
}

/// The standard deviation of each signal.
fn spread(examples: &[&Example]) -> [f32; Signals::COUNT] {
    let all = || examples.iter().flat_map(|example| &example.signals);
    let count = all().count().max(1) as f32;
    std::array::from_fn(|s| {
        let mean = all().map(|signals| signals[s]).sum::<f32>() / count;
        let square = all().map(|signals| (signals[s] - mean).powi(2)).sum::<f32>() / count;
        square.sqrt() + 1e-3
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_answers_apart_gets_the_weight() {
        // The second signal marks the answer, the first is noise.
        let example = |noise: [f32; 3], answer: usize| Example {
            signals: (0..3)
                .map(|at| {
                    let mut signals = [0.0; Signals::COUNT];
                    signals[0] = noise[at];
                    signals[1] = if at == answer { 1.0 } else { 0.2 };
                    signals
                })
                .collect(),
            answers: (0..3).map(|at| at == answer).collect(),
            weight: 0.5,
        };
        let (one, two) = (example([0.1, 0.9, 0.5], 1), example([0.9, 0.1, 0.5], 1));
        let weights = fit(&[&one, &two], 0.01).to_array();
        assert!(
            weights[1] > 2.0 && weights[0].abs() < 0.1 && weights[2] == 0.0,
            "{weights:?}"
        );
    }
}
