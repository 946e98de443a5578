//! Recall over turns: which share of the turns that answer a question is found, beside BM25, vectors alone and fused
//! ranks. Nothing is judged by a model.

mod authored;
mod beam;
mod conversation;
mod fit;
mod locomo;
mod measure;
mod peers;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hearth_core::memory::recall::{PoolSizes, RecallWeights, Signals, TurnWeights, recall};
use hearth_inference::embedding::{EmbedOptions, TextEmbedder};
use hearth_store::{RecallRow, RowSource};
use serde_json::{Map, Value, json};

use crate::CommonArgs;
use crate::machine::RunOn;
use conversation::{Conversation, Embeddings, Indexed};
use measure::{Tally, ranked};

const MODEL: &str = "all-minilm-l6-v2";
/// Deep enough to order sessions.
const LIMIT: usize = 2000;
/// The penalty on large weights, chosen on the dialogues of this project.
const PENALTY: f32 = 0.1;
/// Seeds of the dealt conversations that the weights are fitted on, and of those they are measured on.
const FITTED: [u64; 3] = [1, 2, 3];
const MEASURED: u64 = 4;

/// Arguments of the bench.
#[derive(Args, Clone)]
pub(crate) struct RecallArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Conversations in LoCoMo's format: one JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) locomo: Option<PathBuf>,
    /// Chats in BEAM's format: a folder with a folder for each
    #[arg(long, value_name = "DIR")]
    pub(crate) beam: Option<PathBuf>,
    /// Fit the weights on the dialogues in `benches/data`, print and use them
    #[arg(long)]
    pub(crate) fit: bool,
    /// Also score each conversation with weights fitted on the others of its file
    #[arg(long)]
    pub(crate) leave_one_out: bool,
    /// Keep the embeddings in this folder, and use those that are there
    #[arg(long, value_name = "DIR")]
    pub(crate) keep_vectors: Option<PathBuf>,
}

impl RecallArgs {
    /// As part of every bench: over the dialogues of this project.
    pub(crate) fn all(common: CommonArgs) -> RecallArgs {
        RecallArgs {
            common,
            locomo: None,
            beam: None,
            fit: false,
            leave_one_out: false,
            keep_vectors: None,
        }
    }
}

/// A set of conversations, ready to be asked.
struct Set {
    name: &'static str,
    beam: bool,
    conversations: Vec<Indexed>,
}

/// Runs the bench and prints it.
pub(crate) fn run(args: &RecallArgs) -> Result<()> {
    let folder = args.common.models.join(MODEL);
    ensure!(
        folder.exists(),
        "{} is missing: `make models` pulls it",
        folder.display()
    );
    let embeddings = Embeddings {
        embedder: TextEmbedder::load(&folder, EmbedOptions::default())?,
        kept: args.keep_vectors.clone(),
    };
    let mut weights = RecallWeights::default();
    if args.fit {
        weights.turns = fit_authored(&embeddings)?;
        println!("Weights fitted on the dialogues of this project:\n");
        for (name, weight) in Signals::NAMES.iter().zip(weights.turns.signals.to_array()) {
            println!("    {name}: {weight:.2},");
        }
        println!("    center: {:.1}\n", weights.turns.center);
    }
    let mut sets = Vec::new();
    if let Some(file) = &args.locomo {
        sets.push(set("locomo", false, locomo::read(file)?, &embeddings)?);
    }
    if let Some(folder) = &args.beam {
        sets.push(set("beam", true, beam::read(folder)?, &embeddings)?);
    }
    if sets.is_empty() {
        let dealt = vec![authored::pairs(MEASURED)?, authored::assistant(MEASURED)?];
        sets.push(set("authored", false, dealt, &embeddings)?);
    }
    let run = RunOn::now();
    let mut result = Map::new();
    for set in &sets {
        let tallies = measure(set, &weights, args.leave_one_out)?;
        let text = table(set, &tallies)?;
        println!("{text}");
        if let Some(file) = &args.common.write {
            crate::report::write_section(file, &format!("recall-{}", set.name), &text, &run)?;
        }
        let by_name = tallies
            .iter()
            .map(|(name, tally)| ((*name).to_owned(), tally.json(set.beam)))
            .collect::<Map<String, Value>>();
        // One set is the answer itself; of several each is under its name.
        if sets.len() == 1 {
            result = by_name;
        } else {
            result.insert(set.name.to_owned(), Value::Object(by_name));
        }
    }
    if args.common.json {
        result.insert("bench".into(), json!("recall"));
        result.insert("run".into(), run.json());
        println!("{}", Value::Object(result));
    }
    Ok(())
}

fn set(name: &'static str, beam: bool, all: Vec<Conversation>, embeddings: &Embeddings) -> Result<Set> {
    Ok(Set {
        name,
        beam,
        conversations: all
            .into_iter()
            .map(|conversation| Indexed::new(conversation, embeddings))
            .collect::<Result<_>>()?,
    })
}

fn fit_authored(embeddings: &Embeddings) -> Result<TurnWeights> {
    let mut examples = Vec::new();
    for seed in FITTED {
        let (pairs, assistant) = (authored::pairs(seed)?, authored::assistant(seed)?);
        let share = 1.0 / FITTED.len() as f32;
        examples.extend(fit::examples(&Indexed::new(pairs, embeddings)?, share)?);
        examples.extend(fit::examples(&Indexed::new(assistant, embeddings)?, share / 2.0)?);
    }
    let examples: Vec<&fit::Example> = examples.iter().collect();
    let signals = fit::fit(&examples, PENALTY);
    Ok(TurnWeights {
        center: fit::center(&examples, &signals),
        signals,
    })
}

/// The turn of a row, by its place in the conversation.
fn place(indexed: &Indexed, row: &RecallRow) -> Option<usize> {
    match row.source {
        RowSource::Turn { message, .. } => indexed.place.get(&message).copied(),
        RowSource::Memory(_) => None,
    }
}

/// What each retriever did, ours first.
fn measure(set: &Set, weights: &RecallWeights, leave_one_out: bool) -> Result<Vec<(&'static str, Tally)>> {
    let mut ours = Tally::default();
    let mut others: Vec<(&'static str, Tally)> = peers::NAMES
        .iter()
        .map(|name| (*name, Tally::default()))
        .collect();
    let all: Vec<RecallWeights> = vec![weights.clone(); set.conversations.len()];
    score(set, &all, &mut ours)?;
    for indexed in &set.conversations {
        let peers = peers::Peers::new(indexed);
        for (at, asked) in indexed.conversation.questions.iter().enumerate() {
            for ((_, tally), scores) in others.iter_mut().zip(peers.scores(at)) {
                tally.add(&indexed.conversation, asked, &ranked(&scores));
            }
        }
    }
    let mut tallies = vec![("hearth", ours)];
    if leave_one_out && set.conversations.len() > 1 {
        let mut tally = Tally::default();
        score(set, &left_out(set, weights)?, &mut tally)?;
        tallies.push(("hearth_leave_one_out", tally));
    }
    tallies.extend(others);
    Ok(tallies)
}

/// Recalls for every question, each conversation with weights of its own.
fn score(set: &Set, weights: &[RecallWeights], tally: &mut Tally) -> Result<()> {
    for (indexed, weights) in set.conversations.iter().zip(weights) {
        for (at, asked) in indexed.conversation.questions.iter().enumerate() {
            let begin = Instant::now();
            let hits = recall(
                &indexed.store,
                Some(indexed.vector(at)),
                &indexed.query(at, LIMIT),
                weights,
            )?;
            tally.times_ms.push(begin.elapsed().as_secs_f64() * 1000.0);
            let found: Vec<usize> = hits.iter().filter_map(|hit| place(indexed, &hit.row)).collect();
            tally.add(&indexed.conversation, asked, &found);
        }
    }
    Ok(())
}

fn left_out(set: &Set, weights: &RecallWeights) -> Result<Vec<RecallWeights>> {
    let share = 1.0 / set.conversations.len() as f32;
    let examples: Vec<Vec<fit::Example>> = set
        .conversations
        .iter()
        .map(|indexed| fit::examples(indexed, share))
        .collect::<Result<_>>()?;
    let without = |out: usize| {
        let rest = examples.iter().enumerate().filter(|(at, _)| *at != out);
        let rest: Vec<&fit::Example> = rest.flat_map(|(_, examples)| examples).collect();
        let mut weights = weights.clone();
        weights.turns.signals = fit::fit(&rest, PENALTY / 10.0);
        weights
    };
    Ok((0..examples.len()).map(without).collect())
}

fn table(set: &Set, tallies: &[(&str, Tally)]) -> Result<String> {
    let mut text = String::new();
    let first = &tallies.first().context("nothing was measured")?.1;
    let conversations = set.conversations.len();
    let turns: usize = set
        .conversations
        .iter()
        .map(|one| one.conversation.turns.len())
        .sum();
    writeln!(
        text,
        "{}: {conversations} conversations, {turns} turns, {} questions. Percent; evidence recall at 5 / 10 / 50.\n",
        set.name,
        first.all.questions()
    )?;
    let categories: Vec<&String> = first.categories.keys().collect();
    let mut names = String::new();
    for category in &categories {
        write!(names, " {category} |")?;
    }
    let line = "---|".repeat(categories.len());
    if set.beam {
        writeln!(
            text,
            "| retriever | all | contradictions, both | updates, both |{names}"
        )?;
        writeln!(text, "|---|---|---|---|{line}")?;
    } else {
        writeln!(
            text,
            "| retriever | all | without category 5 | session Hit@1 | session R@5 |{names}"
        )?;
        writeln!(text, "|---|---|---|---|---|{line}")?;
    }
    for (name, tally) in tallies {
        let three = |figures: &measure::Figures| {
            figures
                .at
                .map(|mean| format!("{:.1}", mean.percent()))
                .join(" / ")
        };
        write!(text, "| {name} | {} |", three(&tally.all))?;
        if set.beam {
            for category in ["contradiction_resolution", "knowledge_update"] {
                let figures = tally.categories.get(category).copied().unwrap_or_default();
                write!(text, " {:.1} |", figures.all_statements.percent())?;
            }
        } else {
            write!(text, " {} |", three(&tally.answerable))?;
            write!(text, " {:.1} |", tally.all.sitting_hit.percent())?;
            write!(text, " {:.1} |", tally.all.sittings.percent())?;
        }
        for category in &categories {
            let figures = tally.categories.get(*category).copied().unwrap_or_default();
            write!(text, " {} |", three(&figures))?;
        }
        writeln!(text)?;
    }
    let PoolSizes { words, vectors } = PoolSizes::default();
    writeln!(
        text,
        "\nThe best {words} by words and {vectors} by vectors were looked at closely; that and ranking took {:.1} ms at the median \
         and {:.1} ms at the 95th percentile, without the question's embedding.\n",
        first.time_ms(0.5),
        first.time_ms(0.95)
    )?;
    Ok(text)
}
