//! Facts that change over time: is the current value right in the end, and was anything thrown out that still holds?
//!
//! Timelines are made from a seed and from pools of phrases (`benches/data/supersession`). The rules were written with
//! three of them; the two blind ones are there to be scored only. `--file` scores any timelines of the same form, one JSON object a line.

mod timeline;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use hearth_core::memory::compare::{
    Action, Candidate, JUDGE_ADAPTER, Judgement, Statement, WORTH_JUDGING, decide,
};
use hearth_inference::embedding::{EmbedOptions, PairClassifier, TextEmbedder};
use serde_json::{Value, json};

use self::timeline::{Pool, Timeline};
use crate::machine::RunOn;
use crate::report;
use crate::share::Share;

const EMBEDDER: &str = "all-MiniLM-L6-v2";
/// Timelines that are made of each pool.
const TIMELINES: usize = 360;
/// How many of the nearest memories a new fact is compared with.
const NEAREST: usize = 20;

#[derive(Args)]
pub(crate) struct SupersessionArgs {
    #[command(flatten)]
    common: crate::CommonArgs,
    /// Timelines of each pool
    #[arg(long, default_value_t = TIMELINES)]
    timelines: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Score these timelines (JSON lines) instead of generated ones
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Measure the rules without the classifier of pairs
    #[arg(long)]
    rules: bool,
    /// Only this pool
    #[arg(long)]
    pool: Option<String>,
    /// Print what went wrong, at most so many timelines of each pool
    #[arg(long, default_value_t = 0)]
    failures: usize,
    /// Write the generated timelines to this file and stop
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
}

impl SupersessionArgs {
    pub(crate) fn all(common: crate::CommonArgs) -> Self {
        Self {
            common,
            timelines: TIMELINES,
            seed: 1,
            file: None,
            rules: false,
            pool: None,
            failures: 0,
            dump: None,
        }
    }
}

pub(crate) fn run(args: &SupersessionArgs) -> Result<()> {
    let sets = sets(args)?;
    if let Some(path) = &args.dump {
        let mut out = String::new();
        for timeline in sets.iter().flat_map(|(_, timelines)| timelines) {
            writeln!(out, "{}", serde_json::to_string(timeline)?)?;
        }
        return std::fs::write(path, out).context("writing the timelines");
    }
    let folder = args.common.models.join(EMBEDDER.to_lowercase());
    let embedder = TextEmbedder::load(&folder, EmbedOptions::default())
        .with_context(|| format!("loading {}", folder.display()))?;
    let judge = embedder.pair_classifier(JUDGE_ADAPTER)?;
    let mut models = Models {
        embedder,
        judge: (!args.rules).then_some(judge),
        vectors: HashMap::new(),
        judgements: HashMap::new(),
    };
    let mut table = String::from(
        "| timelines | count | current value right | false supersession | wrongly merged | paraphrases known | asked where due |\n|---|---|---|---|---|---|---|\n",
    );
    let mut answers = serde_json::Map::new();
    for (name, timelines) in &sets {
        let mut score = Score::default();
        let mut shown = 0;
        for timeline in timelines {
            let problems = play(timeline, &mut models, &mut score)?;
            if !problems.is_empty() && shown < args.failures {
                shown += 1;
                println!("{}\n{problems}", timeline.id);
            }
        }
        table.push_str(&score.row(name));
        answers.insert(name.clone(), score.json());
    }
    println!("{table}");
    let run = RunOn::now();
    if let Some(path) = &args.common.write {
        let body = format!(
            "{table}\nSeed {}; intervals are Wilson's, 95 %. Targets: current value ≥ 97 %, false supersession ≤ 1 %.",
            args.seed
        );
        report::write_section(path, "supersession", &body, &run)?;
    }
    if args.common.json {
        println!("{}", json!({ "hearth": answers, "run": run.json() }));
    }
    Ok(())
}

fn sets(args: &SupersessionArgs) -> Result<Vec<(String, Vec<Timeline>)>> {
    if let Some(path) = &args.file {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let timelines: Result<Vec<Timeline>> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).context("a line of timelines"))
            .collect();
        return Ok(vec![("file".into(), timelines?)]);
    }
    let pools = [
        (
            "rules written with it",
            "tune",
            include_str!("../data/supersession/tune.toml"),
        ),
        (
            "rules extended with it",
            "second",
            include_str!("../data/supersession/second.toml"),
        ),
        (
            "rules mended with it",
            "held",
            include_str!("../data/supersession/held.toml"),
        ),
        (
            "blind, as people say it",
            "blind-1",
            include_str!("../data/supersession/blind-1.toml"),
        ),
        (
            "blind, as a note-taker writes it",
            "blind-2",
            include_str!("../data/supersession/blind-2.toml"),
        ),
    ];
    let known = trained_on()?;
    let mut sets = Vec::new();
    for (name, short, text) in pools {
        if args.pool.as_ref().is_some_and(|wanted| wanted != short) {
            continue;
        }
        let timelines = |pool: Pool, short: &str| pool.timelines(args.timelines, args.seed, short);
        sets.push((name.to_owned(), timelines(Pool::parse(text)?, short)));
        if short.starts_with("blind") {
            let unseen = Pool::parse(text)?.without(&known);
            let name = format!("{name}: only phrases that no training pool has word for word");
            sets.push((name, timelines(unseen, &format!("{short}-unseen"))));
        }
    }
    Ok(sets)
}

/// Phrases that the classifier was trained with.
fn trained_on() -> Result<HashSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("judge/pools");
    let mut known = HashSet::new();
    let mut take = |text: &str| -> Result<()> {
        known.extend(Pool::parse(text)?.phrases());
        Ok(())
    };
    for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            take(&text).with_context(|| path.display().to_string())?;
        }
    }
    take(include_str!("../data/supersession/tune.toml"))?;
    take(include_str!("../data/supersession/second.toml"))?;
    Ok(known)
}

struct Models {
    embedder: TextEmbedder,
    /// None when the rules are to be measured alone.
    judge: Option<PairClassifier>,
    vectors: HashMap<String, Vec<f32>>,
    judgements: HashMap<(String, String), Judgement>,
}

impl Models {
    fn vector(&mut self, text: &str) -> Result<Vec<f32>> {
        if let Some(vector) = self.vectors.get(text) {
            return Ok(vector.clone());
        }
        let vector = self.embedder.embed(&[text])?.swap_remove(0);
        self.vectors.insert(text.to_owned(), vector.clone());
        Ok(vector)
    }

    /// Asks the classifier about each candidate that is worth it, as the engine does.
    fn judge(&mut self, candidates: &mut [Candidate<'_, usize>], later: &str) -> Result<()> {
        let Some(judge) = &self.judge else {
            return Ok(());
        };
        let new: Vec<(&str, &str)> = candidates
            .iter()
            .filter(|candidate| candidate.cosine >= WORTH_JUDGING)
            .map(|candidate| (candidate.statement.text, later))
            .filter(|(old, later)| {
                !self
                    .judgements
                    .contains_key(&((*old).to_owned(), (*later).to_owned()))
            })
            .collect();
        for (pair, classes) in new.iter().zip(self.embedder.classify_pairs(judge, &new)?) {
            if let Some(judgement) = Judgement::from_classes(&classes) {
                self.judgements
                    .insert((pair.0.to_owned(), pair.1.to_owned()), judgement);
            }
        }
        for candidate in candidates {
            let pair = (candidate.statement.text.to_owned(), later.to_owned());
            candidate.judged = self.judgements.get(&pair).copied();
        }
        Ok(())
    }
}

/// What became of a fact in the simulated store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Active,
    Superseded,
    Review,
    /// Its sources went to another memory.
    Merged(usize),
}

/// Counts over timelines.
#[derive(Debug, Default)]
struct Score {
    timelines: Share,
    lasting: Share,
    merged: Share,
    paraphrases: Share,
    asked: Share,
}

impl Score {
    fn row(&self, name: &str) -> String {
        format!(
            "| {name} | {} | {} | {} | {} | {} | {} |\n",
            self.timelines.of,
            self.timelines.text(),
            self.lasting.text(),
            self.merged.text(),
            self.paraphrases.text(),
            self.asked.text()
        )
    }

    fn json(&self) -> Value {
        json!({
            "current_value_right": self.timelines.json(),
            "false_supersession": self.lasting.json(),
            "wrongly_merged": self.merged.json(),
            "paraphrases_known": self.paraphrases.json(),
            "asked_where_due": self.asked.json(),
        })
    }
}

/// Puts a timeline's facts in one after the other and compares what is left with what should be.
fn play(timeline: &Timeline, models: &mut Models, score: &mut Score) -> Result<String> {
    let facts = &timeline.facts;
    let mut fates: Vec<Fate> = Vec::new();
    let mut asked: Vec<Vec<usize>> = Vec::new();
    let mut reasons: HashMap<usize, usize> = HashMap::new();
    for (number, fact) in facts.iter().enumerate() {
        let vector = models.vector(&fact.text)?;
        let mut candidates = Vec::new();
        for (at, old) in facts[..number].iter().enumerate() {
            if matches!(fates[at], Fate::Active | Fate::Review) {
                let cosine = models
                    .vector(&old.text)?
                    .iter()
                    .zip(&vector)
                    .map(|(a, b)| a * b)
                    .sum();
                candidates.push(Candidate {
                    id: at,
                    statement: statement(old),
                    pinned: false,
                    in_review: fates[at] == Fate::Review,
                    cosine,
                    judged: None,
                });
            }
        }
        candidates.sort_by(|a, b| b.cosine.total_cmp(&a.cosine));
        candidates.truncate(NEAREST);
        models.judge(&mut candidates, &fact.text)?;
        let mut fate = Fate::Active;
        let mut asks = Vec::new();
        for action in decide(&statement(fact), &candidates) {
            match action {
                Action::Insert => {}
                Action::InsertForReview => fate = Fate::Review,
                Action::InsertSuperseded { .. } => fate = Fate::Superseded,
                Action::Reinforce(known) => fate = Fate::Merged(known),
                Action::Supersede { old, .. } => {
                    fates[old] = Fate::Superseded;
                    reasons.insert(old, number);
                }
                Action::Ask { old } => asks.push(old),
            }
        }
        fates.push(fate);
        asked.push(asks);
    }
    Ok(compare(timeline, &fates, &asked, &reasons, score))
}

fn statement(fact: &timeline::Fact) -> Statement<'_> {
    Statement {
        text: &fact.text,
        kind: fact.kind,
        confidence: fact.confidence,
        at_ms: fact.at_ms,
    }
}

fn compare(
    timeline: &Timeline,
    fates: &[Fate],
    asked: &[Vec<usize>],
    reasons: &HashMap<usize, usize>,
    score: &mut Score,
) -> String {
    let facts = &timeline.facts;
    let root = |mut at: usize| {
        while let Some(same) = facts[at].same_as {
            at = same;
        }
        at
    };
    let mut problems = String::new();
    let mut right = true;
    for (at, fact) in facts.iter().enumerate() {
        let replaced = facts.iter().any(|later| later.replaces.contains(&at));
        // A fact counts as held by the memory that took its sources, if that one says the same.
        let held = |at: usize| {
            fates[at] == Fate::Active
                || matches!(fates[at], Fate::Merged(into) if root(into) == root(at) && fates[into] == Fate::Active)
        };
        if replaced {
            if matches!(fates[at], Fate::Active | Fate::Review) {
                right = false;
                let by = facts
                    .iter()
                    .find(|later| later.replaces.contains(&at))
                    .map_or("", |later| later.text.as_str());
                let _ = writeln!(problems, "  still active: {:?} despite {by:?}", fact.text);
            }
        } else {
            let lost = fates[at] == Fate::Superseded;
            score.lasting.count(lost);
            if lost {
                let by = reasons.get(&at).map_or("", |by| facts[*by].text.as_str());
                let _ = writeln!(problems, "  falsely superseded: {:?} by {by:?}", fact.text);
            }
            let current = if fact.asks.is_empty() {
                facts
                    .iter()
                    .enumerate()
                    .any(|(other, _)| root(other) == root(at) && held(other))
            } else {
                fates[at] == Fate::Review
            };
            if fact.asked_for && !current {
                right = false;
                if !lost {
                    let _ = writeln!(problems, "  not current: {:?} ({:?})", fact.text, fates[at]);
                }
            }
        }
        if fact.same_as.is_none() {
            let merged = matches!(fates[at], Fate::Merged(into) if root(into) != at);
            score.merged.count(merged);
            if let Fate::Merged(into) = fates[at] {
                let _ = writeln!(problems, "  merged: {:?} into {:?}", fact.text, facts[into].text);
            }
        } else {
            let known = matches!(fates[at], Fate::Merged(into) if root(into) == root(at));
            score.paraphrases.count(known);
        }
        if !fact.asks.is_empty() {
            let all = fact
                .asks
                .iter()
                .all(|old| asked[at].contains(old) || matches!(fates[*old], Fate::Merged(_)));
            score.asked.count(all);
            if !all {
                right = false;
                let old: Vec<&str> = fact.asks.iter().map(|old| facts[*old].text.as_str()).collect();
                let _ = writeln!(problems, "  not asked: {:?} about {old:?}", fact.text);
            }
        }
    }
    score.timelines.count(right);
    problems
}
