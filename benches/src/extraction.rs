//! Facts in dialogues: what of a hand-made list is found, and how much of what is found is right.
//!
//! `dev` was looked at while extraction was written, `held` was not. `--file` scores other dialogues of the same form, `--locomo`
//! compares with the annotated turns of LoCoMo's `observation` lists.

mod dialogues;
mod locomo;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use hearth_core::error::EngineError;
use hearth_core::host::native::NativeLoader;
use hearth_core::host::port::{LoadRequest, ModelLoader, PromptMessage};
use hearth_core::memory::extract::{ChatJson, ExtractOptions, JsonModel, Trust, extract};
use serde_json::{Value, json};

use self::dialogues::{Dialogue, Match};
use crate::machine::RunOn;
use crate::report;
use crate::share::Share;

const MODELS: [&str; 3] = [
    "qwen2.5-coder-1.5b-instruct-q4_k_m",
    "qwen2.5-coder-0.5b-instruct-q4_k_m",
    "smollm2-135m-instruct-q4_1",
];

#[derive(Args)]
pub(crate) struct ExtractionArgs {
    #[command(flatten)]
    common: crate::CommonArgs,
    /// Models to ask [default: Qwen2.5-Coder 1.5B and 0.5B, SmolLM2 135M]
    #[arg(long)]
    model: Vec<String>,
    /// Only this set: dev or held
    #[arg(long)]
    set: Option<String>,
    /// Score these dialogues instead
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Compare with the observations of this LoCoMo file too
    #[arg(long, value_name = "FILE")]
    locomo: Option<PathBuf>,
    /// Keep the models' answers in this file, so that another run need not ask again
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Print every fact
    #[arg(long)]
    show: bool,
    /// Leave out the row of the rules alone
    #[arg(long)]
    models_only: bool,
    /// Trust models of any size in full
    #[arg(long)]
    full_trust: bool,
}

impl ExtractionArgs {
    pub(crate) fn all(common: crate::CommonArgs) -> Self {
        Self {
            common,
            model: Vec::new(),
            set: None,
            file: None,
            locomo: None,
            answers: None,
            show: false,
            models_only: false,
            full_trust: false,
        }
    }
}

pub(crate) fn run(args: &ExtractionArgs) -> Result<()> {
    let sets = sets(args)?;
    let conversations = args.locomo.as_deref().map(locomo::read).transpose()?;
    let mut table = String::from(
        "| model | dialogues | precision | recall | kind right | schema-valid | seconds a turn |\n|---|---|---|---|---|---|---|\n",
    );
    let mut yardstick = String::new();
    let mut answers = serde_json::Map::new();
    let models: Vec<String> = if args.model.is_empty() {
        let mut here = Vec::new();
        for id in MODELS {
            if args.common.models.join(id).is_dir() {
                here.push(id.to_owned());
            } else {
                eprintln!("{id} is left out: it is missing, `make models` pulls it");
            }
        }
        here
    } else {
        args.model.clone()
    };
    let rules = (!args.models_only).then_some(None);
    for id in rules.into_iter().chain(models.iter().map(Some)) {
        let asked = match id {
            None => Asked::nobody(),
            Some(id) => Asked::load(&args.common.models, id, args.answers.as_deref())?,
        };
        let name = id.map_or("rules alone", String::as_str);
        let options = match id {
            None => ExtractOptions {
                trust: Trust::Rules,
                ..ExtractOptions::default()
            },
            Some(_) if args.full_trust => ExtractOptions::default(),
            Some(_) => asked.options(),
        };
        for (set, dialogues) in &sets {
            let start = Instant::now();
            let score = score(dialogues, &asked, options, args.show)?;
            let turns: usize = dialogues.iter().map(|d| d.turns.len().div_ceil(2)).sum();
            let seconds = start.elapsed().as_secs_f64() / turns as f64;
            let row = score.row(
                &format!("{name}{}", mode(options, id.is_some())),
                set,
                &asked,
                seconds,
            );
            print!("{row}");
            table.push_str(&row);
            answers.insert(format!("{name} {set}"), score.json(&asked));
        }
        if let Some(conversations) = &conversations {
            let found = locomo::score(conversations, &asked, options)?;
            let row = format!(
                "| {name} | {} | {} |\n",
                found.precision.text(),
                found.recall.text()
            );
            print!("{row}");
            yardstick.push_str(&row);
        }
        asked.save(args.answers.as_deref())?;
    }
    println!("\n{table}");
    let run = RunOn::now();
    if let Some(path) = &args.common.write {
        let mut body = table;
        if !yardstick.is_empty() {
            body = format!(
                "{body}\nLoCoMo, turns with an observation:\n\n| model | of the turns with a fact, annotated | of the annotated turns, with a fact |\n|---|---|---|\n{yardstick}"
            );
        }
        body.push_str("\nIntervals are Wilson's, 95 %.");
        report::write_section(path, "extraction", &body, &run)?;
    }
    if args.common.json {
        println!("{}", json!({ "hearth": answers, "run": run.json() }));
    }
    Ok(())
}

fn mode(options: ExtractOptions, model: bool) -> &'static str {
    match options.trust {
        Trust::Rules if model => " (not asked: off by default)",
        Trust::Partial => " (with the rules)",
        _ => "",
    }
}

fn sets(args: &ExtractionArgs) -> Result<Vec<(String, Vec<Dialogue>)>> {
    if let Some(path) = &args.file {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        return Ok(vec![("file".into(), dialogues::parse(&text)?)]);
    }
    [
        ("seen", "dev", include_str!("../data/extraction/dev.txt")),
        ("kept back", "held", include_str!("../data/extraction/held.txt")),
    ]
    .into_iter()
    .filter(|(_, short, _)| args.set.as_ref().is_none_or(|wanted| wanted == short))
    .map(|(name, _, text)| Ok((name.to_owned(), dialogues::parse(text)?)))
    .collect()
}

/// A model with what it was asked and how often it kept to the form.
struct Asked {
    model: Option<ChatJson>,
    id: String,
    known: RefCell<BTreeMap<String, String>>,
    calls: Cell<usize>,
    valid: Cell<usize>,
}

impl Asked {
    fn nobody() -> Self {
        Self {
            model: None,
            id: String::new(),
            known: RefCell::default(),
            calls: Cell::new(0),
            valid: Cell::new(0),
        }
    }

    fn load(models: &Path, id: &str, answers: Option<&Path>) -> Result<Self> {
        let folder = models.join(id);
        let file = std::fs::read_dir(&folder)
            .with_context(|| format!("reading {}", folder.display()))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|end| end == "gguf"))
            .with_context(|| format!("no model in {}", folder.display()))?;
        let request = LoadRequest {
            window: Some(4096),
            ..LoadRequest::default()
        };
        let model = NativeLoader
            .load_chat(id, &file, request)
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let known = match answers {
            Some(path) if path.exists() => serde_json::from_str(&std::fs::read_to_string(path)?)?,
            _ => BTreeMap::new(),
        };
        Ok(Self {
            model: Some(ChatJson(Arc::clone(&model))),
            id: id.to_owned(),
            known: RefCell::new(known),
            ..Self::nobody()
        })
    }

    fn options(&self) -> ExtractOptions {
        ExtractOptions::for_model(&self.id)
    }

    fn save(&self, answers: Option<&Path>) -> Result<()> {
        if let (Some(path), Some(_)) = (answers, &self.model) {
            std::fs::write(path, serde_json::to_string(&*self.known.borrow())?)?;
        }
        Ok(())
    }

    fn validity(&self) -> Share {
        Share {
            hits: self.valid.get(),
            of: self.calls.get(),
        }
    }
}

impl JsonModel for Asked {
    fn answer(
        &self,
        messages: &[PromptMessage],
        schema: &Value,
        max_tokens: u32,
    ) -> Result<String, EngineError> {
        let Some(model) = &self.model else {
            return Err(EngineError::InvalidRequest("nobody to ask".into()));
        };
        let words: Vec<&str> = messages.iter().map(|message| message.text.as_str()).collect();
        let key = format!("{} {schema} {}", self.id, words.join("\u{1f}"));
        let known = self.known.borrow().get(&key).cloned();
        let answer = match known {
            Some(answer) => answer,
            None => model.answer(messages, schema, max_tokens)?,
        };
        self.calls.set(self.calls.get() + 1);
        self.valid
            .set(self.valid.get() + usize::from(follows(&answer, schema)));
        self.known.borrow_mut().insert(key, answer.clone());
        Ok(answer)
    }
}

/// Whether an answer has the members that the schema demands, each of the demanded type, and no others.
fn follows(answer: &str, schema: &Value) -> bool {
    let Ok(Value::Object(members)) = serde_json::from_str::<Value>(answer) else {
        return false;
    };
    let Some(wanted) = schema["properties"].as_object() else {
        return false;
    };
    members.len() == wanted.len()
        && wanted.iter().all(
            |(name, form)| match (members.get(name), form["enum"].as_array()) {
                (Some(value), Some(options)) => options.contains(value),
                (Some(value), None) => match form["type"].as_str() {
                    Some("boolean") => value.is_boolean(),
                    Some("string") => value.is_string(),
                    _ => true,
                },
                (None, _) => false,
            },
        )
}

#[derive(Default)]
struct Score {
    precision: Share,
    recall: Share,
    kinds: Share,
    sure: BTreeMap<String, Share>,
}

impl Score {
    fn row(&self, name: &str, set: &str, asked: &Asked, seconds: f64) -> String {
        let valid = asked.validity();
        let valid = if valid.of == 0 {
            "–".to_owned()
        } else {
            format!("{:.1} % of {}", valid.percent(), valid.of)
        };
        let strata: Vec<String> = self
            .sure
            .iter()
            .map(|(at, share)| format!("{at}: {}/{}", share.hits, share.of))
            .collect();
        eprintln!("{name} {set}, right by confidence: {}", strata.join(", "));
        format!(
            "| {name} | {set} | {} | {} | {} | {valid} | {seconds:.2} |\n",
            self.precision.text(),
            self.recall.text(),
            self.kinds.text()
        )
    }

    fn json(&self, asked: &Asked) -> Value {
        json!({
            "precision": self.precision.json(),
            "recall": self.recall.json(),
            "kind_right": self.kinds.json(),
            "schema_valid": asked.validity().json(),
        })
    }
}

fn score(dialogues: &[Dialogue], asked: &Asked, options: ExtractOptions, show: bool) -> Result<Score> {
    let mut score = Score::default();
    for dialogue in dialogues {
        let facts = extract(&dialogue.turns, asked, &options).map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut found = vec![false; dialogue.gold.len()];
        let mut lines = String::new();
        for fact in &facts {
            let what = dialogue.find(fact);
            let right = match what {
                Match::Gold(at, kind) => {
                    for one in at {
                        found[one] = true;
                    }
                    score.kinds.count(kind);
                    Some(true)
                }
                Match::Neutral => None,
                Match::Wrong => Some(false),
            };
            if let Some(right) = right {
                score.precision.count(right);
                score
                    .sure
                    .entry(format!("{:.2}", fact.confidence))
                    .or_default()
                    .count(right);
            }
            let mark = match right {
                Some(true) => "  ✓",
                Some(false) => "  ✗",
                None => "  ~",
            };
            let _ = writeln!(
                lines,
                "{mark} {:?} {:.2} {}{}",
                fact.kind,
                fact.confidence,
                fact.text,
                if fact.sensitive { " [s]" } else { "" }
            );
        }
        for (at, gold) in dialogue.gold.iter().enumerate() {
            score.recall.count(found[at]);
            if !found[at] {
                let _ = writeln!(lines, "  missing: {}", gold.text);
            }
        }
        if show && !lines.is_empty() {
            println!("{} {}\n{lines}", dialogue.id, dialogue.language);
        }
    }
    Ok(score)
}
