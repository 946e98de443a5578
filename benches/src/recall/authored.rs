//! Conversations dealt from the scenes in `benches/data`, which were written for this project: what the weights that
//! ship are fitted on.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail, ensure};
use time::{Date, Month};

use super::conversation::{Asked, Conversation, Turn};

const PAIRS: &str = include_str!("../../data/recall-pairs.txt");
const ASSISTANT: &str = include_str!("../../data/recall-assistant.txt");

const DAY_MS: i64 = 86_400_000;
/// Share of the turns that are asked for by their own words.
const LITERAL: f64 = 0.35;
/// Share of the questions that say when it was.
const DATED: f64 = 0.12;
/// Share of the questions that confuse who it was.
const CONFUSED: f64 = 0.2;

/// A talk between two people over some months.
pub(super) fn pairs(seed: u64) -> Result<Conversation> {
    Pairs::new(seed)?.deal()
}

/// One person's chats with an assistant, whose answers are long.
pub(super) fn assistant(seed: u64) -> Result<Conversation> {
    deal_assistant(seed)
}

#[derive(Debug, Default)]
struct Scene {
    name: String,
    lines: Vec<Line>,
    /// What kind, the question, and where its answer is.
    questions: Vec<(char, String, String)>,
}

#[derive(Debug)]
struct Line {
    who: char,
    caption: String,
    text: String,
    tags: Vec<String>,
}

/// The scenes of a file, and the questions over all of them with the tags that answer them.
type File = (Vec<Scene>, Vec<(String, String)>);

/// Reads the format that the files themselves explain.
fn read(file: &str) -> Result<File> {
    let mut scenes: Vec<Scene> = Vec::new();
    let mut over_all = Vec::new();
    for (number, line) in file.lines().enumerate() {
        let wrong = || format!("line {}: {line}", number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("=== ") {
            scenes.push(Scene {
                name: name.to_owned(),
                ..Scene::default()
            });
        } else if let Some(asked) = line.strip_prefix("?? ") {
            let (question, tag) = asked.rsplit_once(" > #").with_context(wrong)?;
            over_all.push((question.to_owned(), tag.to_owned()));
        } else {
            let scene = scenes.last_mut().with_context(wrong)?;
            if let Some(asked) = line.strip_prefix('?') {
                let (kind, asked) = asked.split_once(' ').with_context(wrong)?;
                let (question, place) = asked.rsplit_once(" > ").with_context(wrong)?;
                let kind = kind.chars().next().unwrap_or(' ');
                scene
                    .questions
                    .push((kind, question.to_owned(), place.to_owned()));
            } else {
                scene.lines.push(said(line).with_context(wrong)?);
            }
        }
    }
    Ok((scenes, over_all))
}

fn said(line: &str) -> Option<Line> {
    let who = line.chars().next().filter(|c| "ABUH".contains(*c))?;
    let rest = &line[1..];
    let (caption, rest) = match rest.strip_prefix(" [") {
        Some(rest) => rest.split_once("]: ")?,
        None => ("", rest.strip_prefix(": ")?),
    };
    let mut parts = rest.split(" #");
    Some(Line {
        who,
        caption: caption.to_owned(),
        text: parts.next()?.trim().to_owned(),
        tags: parts.map(|tag| tag.trim().to_owned()).collect(),
    })
}

/// SplitMix64 (Steele and others, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn happens(&mut self, share: f64) -> bool {
        ((self.next() >> 11) as f64) < share * (1u64 << 53) as f64
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.below(at + 1));
        }
    }
}

const NAMES: &[&str] = &[
    "Amira", "Bruno", "Carla", "Dmitri", "Elena", "Farouk", "Greta", "Hamza", "Ingrid", "Jonah", "Keiko",
    "Luca", "Maren", "Nadia", "Oskar", "Priya", "Quentin", "Rosalind", "Stefan", "Tamsin", "Umar", "Vera",
    "Wanda", "Yusuf",
];
const HELLO: &[&str] = &[
    "Hey {o}! Good to hear from you.",
    "Hi {o}, how are you doing?",
    "Hello {o}! It's been a while.",
    "{o}! I was just thinking of you, how have you been?",
    "Hey, sorry for the late reply, it's been a long week.",
    "Morning, {o}! What's new on your side?",
];
const REPLY: &[&str] = &[
    "Hi {o}! All good here, thanks. You?",
    "Hey {o}, busy but fine. Glad you wrote!",
    "Hello! Can't complain, how about you?",
    "Oh hi! Lovely to hear from you.",
];
const BETWEEN: &[&str] = &[
    "That's great, I'm happy for you!",
    "Haha, I can picture it.",
    "Wow, that's really something.",
    "Thanks, that means a lot to me.",
    "Totally agree with you.",
    "Sounds like a plan!",
    "I know what you mean, {o}.",
    "You always find the right words.",
    "Keep me posted, okay?",
    "Good question, I'd have to think about it.",
];
const BYE: &[&str] = &[
    "I have to run, talk soon!",
    "Take care, {o}! Speak to you next week.",
    "Alright, bye for now. Give everyone a hug.",
    "Sleep well, {o}!",
    "It was good to catch up. Bye!",
];
const LITERAL_QUESTIONS: &[&str] = &[
    "What did {S} say about the {x}?",
    "When did {S} mention {x}?",
    "How did {S} describe {x}?",
    "What happened with {S}'s {x}?",
    "Why did {S} talk about {x}?",
];

struct Pairs {
    random: Random,
    scenes: Vec<Scene>,
    over_all: Vec<(String, String)>,
    people: [&'static str; 2],
    turns: Vec<Turn>,
    sitting: usize,
    clock: i64,
}

impl Pairs {
    fn new(seed: u64) -> Result<Pairs> {
        let mut random = Random(seed);
        let (mut scenes, over_all) = read(PAIRS)?;
        random.shuffle(&mut scenes);
        let mut names = NAMES.to_vec();
        random.shuffle(&mut names);
        Ok(Pairs {
            clock: 1_641_000_000_000 + random.below(700) as i64 * DAY_MS,
            random,
            scenes,
            over_all,
            people: [names[0], names[1]],
            turns: Vec::new(),
            sitting: 0,
        })
    }

    fn say(&mut self, who: usize, text: &str, caption: &str) {
        self.clock += 60_000;
        self.turns.push(Turn {
            speaker: Some(self.people[who].to_owned()),
            by_person: true,
            text: text.replace("{o}", self.people[1 - who]),
            caption: caption.to_owned(),
            sitting: self.sitting,
            at_ms: self.clock,
        });
    }

    fn chat(&mut self, who: usize, phrases: &[&'static str]) {
        let phrase = *self.random.of(phrases);
        self.say(who, phrase, "");
    }

    /// Who didn't speak last.
    fn other(&self) -> usize {
        let last = self.turns.last().and_then(|turn| turn.speaker.as_deref());
        usize::from(last == Some(self.people[0]))
    }

    fn deal(mut self) -> Result<Conversation> {
        let mut questions = Vec::new();
        let mut tagged: BTreeMap<(String, usize), Vec<usize>> = BTreeMap::new();
        let mut left = 0;
        for scene in std::mem::take(&mut self.scenes) {
            if left == 0 {
                self.clock += *self.random.of(&[2, 3, 5, 7, 9, 14]) * DAY_MS;
                self.sitting += 1;
                left = *self.random.of(&[2, 3, 3, 4]);
                let first = self.random.below(2);
                self.chat(first, HELLO);
                self.chat(1 - first, REPLY);
            }
            let a = self.random.below(2);
            let (name_a, name_b) = (self.people[a], self.people[1 - a]);
            let fill = |text: &str| text.replace("{A}", name_a).replace("{B}", name_b);
            let begin = self.turns.len();
            for line in &scene.lines {
                let who = if line.who == 'A' { a } else { 1 - a };
                for tag in &line.tags {
                    tagged
                        .entry((tag.clone(), who))
                        .or_default()
                        .push(self.turns.len());
                }
                self.say(who, &fill(&line.text), &line.caption);
            }
            for (kind, question, places) in &scene.questions {
                let evidence = places
                    .split(',')
                    .map(|place| Ok(begin + place.parse::<usize>()? - 1))
                    .collect::<Result<Vec<_>>>()
                    .with_context(|| format!("{}: {question}", scene.name))?;
                ensure!(
                    evidence.iter().all(|at| *at < self.turns.len()),
                    "{}: {question}",
                    scene.name
                );
                questions.push(asked(
                    fill(question),
                    if *kind == 't' { "time" } else { "single" },
                    evidence,
                ));
            }
            for _ in 0..self.random.below(3) {
                self.chat(self.other(), BETWEEN);
            }
            left -= 1;
            if left == 0 {
                self.chat(self.other(), BYE);
                self.chat(self.other(), BYE);
            }
        }
        self.ask_literally(&mut questions);
        for question in &mut questions {
            self.garble(question);
        }
        for (question, tag) in &self.over_all {
            for (who, name) in self.people.iter().enumerate() {
                if let Some(evidence) = tagged.get(&(tag.clone(), who)) {
                    questions.push(asked(question.replace("{S}", name), "several", evidence.clone()));
                }
            }
        }
        Ok(Conversation {
            turns: self.turns,
            questions,
        })
    }

    /// People reuse the words they heard: asks for turns by two or three of their rarer words.
    fn ask_literally(&mut self, questions: &mut Vec<Asked>) {
        let mut frequency: HashMap<String, usize> = HashMap::new();
        for turn in &self.turns {
            for word in distinct(&turn.text) {
                *frequency.entry(word.to_lowercase()).or_default() += 1;
            }
        }
        for at in 0..self.turns.len() {
            let turn = self.turns[at].clone();
            let words: Vec<&str> = distinct(&turn.text)
                .into_iter()
                .filter(|word| {
                    word.len() > 3 && !self.people.contains(word) && frequency[&word.to_lowercase()] <= 12
                })
                .collect();
            if words.len() < 5 || !self.random.happens(LITERAL) {
                continue;
            }
            let count = *self.random.of(&[2, 2, 3]);
            let from = self.random.below(words.len() - count + 1);
            let chosen = words[from..from + count].join(" ").to_lowercase();
            let question = self
                .random
                .of(LITERAL_QUESTIONS)
                .replace("{S}", turn.speaker.as_deref().unwrap_or_default())
                .replace("{x}", &chosen);
            questions.push(asked(question, "literal", vec![at]));
        }
    }

    /// Some remember when it was; some confuse who it was.
    fn garble(&mut self, question: &mut Asked) {
        if self.random.happens(DATED) {
            let at_ms = self.turns[question.evidence[0]].at_ms;
            if let Some((year, month, day)) = date(at_ms) {
                let when = match self.random.below(4) {
                    0 => format!(" on {day} {month}, {year}?"),
                    1 => format!(" on {month} {day}?"),
                    2 => format!(" in {month} {year}?"),
                    _ => format!(" in {month}?"),
                };
                question.text = question.text.trim_end_matches('?').to_owned() + &when;
            }
        }
        if self.random.happens(CONFUSED) {
            let [one, two] = self.people;
            question.text = question
                .text
                .replace(one, "\0")
                .replace(two, one)
                .replace('\0', two);
        }
    }
}

fn date(at_ms: i64) -> Option<(i32, Month, u8)> {
    let moment = time::OffsetDateTime::from_unix_timestamp(at_ms / 1000).ok()?;
    let date: Date = moment.date();
    Some((date.year(), date.month(), date.day()))
}

fn asked(text: String, category: &str, evidence: Vec<usize>) -> Asked {
    Asked {
        text,
        category: category.to_owned(),
        statements: evidence.iter().map(|place| vec![*place]).collect(),
        evidence,
    }
}

/// Words of letters, each once.
fn distinct(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = Vec::new();
    for word in text.split(|c: char| !c.is_ascii_alphabetic()) {
        if !word.is_empty() && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

const ADVICE: &[&str] = &[
    "When it comes to {x}, it helps to look at the whole picture before you decide anything.",
    "A good first step is to write down what you already know about {x} and what is still open.",
    "Many people underestimate {x}, so plan some extra time for it.",
    "### {x}\n\nHere are the most important points:",
    "1. **{x}**: check this first, because everything else depends on it.",
    "2. **{x}**: compare two or three alternatives and note the costs of each.",
    "3. **{x}**: test it on a small scale before you commit.",
    "- Keep {x} in mind when you go on to the next step.",
    "- If {x} turns out to be a problem, you can still change it later.",
    "You mentioned {x}, which is a good sign, as it means that the basis is there.",
    "In general {x} and {y} belong together, so treat them as one task.",
    "#### Next steps\n\nStart with {x}, then move on to {y} as soon as you feel comfortable.",
    "For {x} there are three common approaches, each with advantages and disadvantages.",
    "A rule of thumb: spend about a third of the effort on {x} and the rest on {y}.",
    "By following these steps you will be well prepared for {x}.",
    "Would you like me to go into more detail about {x}, or do you have questions about {y}?",
    "It is also worth asking somebody with experience in {x} for a second opinion.",
    "Remember that {x} can vary a lot depending on the circumstances.",
    "```\nplan: {x}\nstatus: open\nnotes: {y}\n```",
    "Let me know how it goes with {x} and I can adjust the suggestions.",
];

fn deal_assistant(seed: u64) -> Result<Conversation> {
    let mut random = Random(seed);
    let (scenes, _) = read(ASSISTANT)?;
    let mut waiting: BTreeMap<String, Vec<Scene>> = BTreeMap::new();
    for scene in scenes.into_iter().rev() {
        let project = scene.name.split('/').next().unwrap_or_default().to_owned();
        waiting.entry(project).or_default().push(scene);
    }
    let mut turns: Vec<Turn> = Vec::new();
    let mut begins: HashMap<String, usize> = HashMap::new();
    let mut asked_later = Vec::new();
    let mut clock = 1_709_280_000_000;
    let mut sitting = 0;
    while !waiting.is_empty() {
        let project = random.of(&waiting.keys().cloned().collect::<Vec<_>>()).clone();
        for _ in 0..=random.below(3) {
            let Some(scene) = waiting.get_mut(&project).and_then(Vec::pop) else {
                break;
            };
            sitting += 1;
            clock += 3 * 3_600_000;
            begins.insert(scene.name.clone(), turns.len());
            for line in &scene.lines {
                clock += 60_000;
                let text = if line.who == 'U' {
                    line.text.clone()
                } else {
                    let before = turns.last().map(|turn| turn.text.clone()).unwrap_or_default();
                    at_length(&mut random, &line.text, &before)
                };
                turns.push(Turn {
                    speaker: None,
                    by_person: line.who == 'U',
                    text,
                    caption: String::new(),
                    sitting,
                    at_ms: clock,
                });
            }
            asked_later.extend(
                scene
                    .questions
                    .into_iter()
                    .map(|question| (scene.name.clone(), question)),
            );
        }
        waiting.retain(|_, scenes| !scenes.is_empty());
    }
    let mut questions = Vec::new();
    for (name, (kind, question, places)) in asked_later {
        let mut evidence = Vec::new();
        for place in places.split(',') {
            let (scene, turn) = place.rsplit_once(':').unwrap_or((&name, place));
            let begin = begins.get(scene).with_context(|| format!("no scene {scene}"))?;
            evidence.push(begin + turn.parse::<usize>()? - 1);
        }
        let category = match kind {
            ' ' => "information",
            'c' => "contradiction",
            'u' => "update",
            'i' => "instruction",
            'p' => "preference",
            other => bail!("{name}: unknown kind {other}"),
        };
        questions.push(asked(question, category, evidence));
    }
    Ok(Conversation { turns, questions })
}

/// An answer as assistants give them: long, and full of the words of the question.
fn at_length(random: &mut Random, begin: &str, before: &str) -> String {
    let plain: String = before.split("```").step_by(2).collect::<Vec<_>>().join(" ");
    let words: Vec<&str> = plain.split_whitespace().chain(begin.split_whitespace()).collect();
    let dull = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        bare.len() < 3 || hearth_core::memory::recall::is_stop_word(&bare)
    };
    let mut pieces = Vec::new();
    for at in 0..words.len() {
        let piece = &words[at..(at + 1 + random.below(3)).min(words.len())];
        if !dull(piece[0]) && !dull(piece[piece.len() - 1]) {
            pieces.push(piece.join(" ").trim_matches(['.', ',', '?', '!']).to_owned());
        }
    }
    if pieces.is_empty() {
        pieces.push("this".to_owned());
    }
    let mut answer = begin.to_owned();
    for _ in 0..5 + random.below(12) {
        let (x, y) = (random.of(&pieces).clone(), random.of(&pieces).clone());
        answer += "\n\n";
        answer += &random.of(ADVICE).replace("{x}", &x).replace("{y}", &y);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_has_its_answer() {
        for conversation in [pairs(1).unwrap(), assistant(1).unwrap()] {
            assert!(conversation.turns.len() > 100 && conversation.questions.len() > 90);
            for question in &conversation.questions {
                assert!(!question.evidence.is_empty(), "{question:?}");
                assert!(
                    question.evidence.iter().all(|at| *at < conversation.turns.len()),
                    "{question:?}"
                );
                assert!(!question.text.contains(['{', '}', '\0', '#']), "{question:?}");
            }
            for turn in &conversation.turns {
                assert!(
                    !turn.text.contains("{A}") && !turn.text.contains(" #pet"),
                    "{turn:?}"
                );
            }
        }
    }

    #[test]
    fn a_seed_deals_the_same_again() {
        let texts = |seed| {
            pairs(seed)
                .unwrap()
                .turns
                .into_iter()
                .map(|turn| turn.text)
                .collect::<Vec<_>>()
        };
        assert_eq!(texts(3), texts(3));
        assert_ne!(texts(3), texts(4));
    }
}
