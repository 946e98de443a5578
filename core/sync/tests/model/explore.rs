//! Breadth-first search through every state that can be reached.
//!
//! A state is known by 64 bits of its hash. Steps are kept as pairs of numbers, so that afterwards the graph of all steps
//! that happen by themselves can be looked at as a whole: every way through it ends, and where it ends all is well. So
//! "eventually" is decided, also where paths join or run in circles.

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

/// What can be explored.
pub trait System {
    type State: Clone + Hash;
    type Action: Copy + Debug;

    fn initial(&mut self) -> Self::State;
    /// Every step from here.
    fn steps(&mut self, state: &Self::State, out: &mut Vec<(Self::Action, Self::State)>);
    /// Whether a step happens by itself when nothing goes wrong any more.
    fn by_itself(action: &Self::Action) -> bool;
    /// What holds always.
    fn always(&mut self, state: &Self::State) -> Result<(), &'static str>;
    /// What holds once nothing happens by itself any more.
    fn at_rest(&mut self, state: &Self::State) -> Result<(), &'static str>;
}

/// What was looked at.
#[derive(Debug)]
pub struct Report {
    pub states: usize,
    pub steps: usize,
    pub depth: usize,
    /// States at which nothing happens by itself.
    pub rests: usize,
    /// Every state was reached; else depth or number were limited.
    pub whole: bool,
    pub took: Duration,
}

/// A state that must not be, and how it comes about.
pub struct Broken<A> {
    pub rule: &'static str,
    pub trace: Vec<A>,
}

impl<A: Debug> Debug for Broken<A> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(formatter, "{}, after", self.rule)?;
        self.trace
            .iter()
            .try_for_each(|action| writeln!(formatter, "    {action:?}"))
    }
}

/// How far to go.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub states: usize,
    pub depth: usize,
}

pub fn explore<S: System>(system: &mut S, limits: Limits) -> Result<Report, Broken<S::Action>> {
    let began = Instant::now();
    let first = system.initial();
    let mut numbers: HashMap<u64, u32> = HashMap::from([(fingerprint(&first), 0)]);
    let mut came: Vec<(u32, Option<S::Action>)> = vec![(0, None)];
    let mut depths: Vec<u16> = vec![0];
    let mut edges: Vec<(u32, u32, S::Action)> = Vec::new();
    let mut queue = VecDeque::from([(0, first)]);
    let mut out = Vec::new();
    let mut report = Report {
        states: 0,
        steps: 0,
        depth: 0,
        rests: 0,
        whole: true,
        took: Duration::ZERO,
    };
    let broken = |came: &[(u32, Option<S::Action>)], at: u32, rule| Broken {
        rule,
        trace: trace(came, at),
    };
    if let Err(rule) = system.always(&queue[0].1) {
        return Err(broken(&came, 0, rule));
    }
    while let Some((number, state)) = queue.pop_front() {
        let depth = depths[number as usize];
        report.depth = report.depth.max(usize::from(depth));
        out.clear();
        system.steps(&state, &mut out);
        if !out.iter().any(|(action, _)| S::by_itself(action)) {
            report.rests += 1;
            if let Err(rule) = system.at_rest(&state) {
                return Err(broken(&came, number, rule));
            }
        }
        if usize::from(depth) >= limits.depth || came.len() >= limits.states {
            report.whole = false;
            continue;
        }
        for (action, next) in out.drain(..) {
            report.steps += 1;
            let fresh = came.len() as u32;
            let target = match numbers.entry(fingerprint(&next)) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(place) => {
                    place.insert(fresh);
                    came.push((number, Some(action)));
                    depths.push(depth + 1);
                    if let Err(rule) = system.always(&next) {
                        return Err(broken(&came, fresh, rule));
                    }
                    queue.push_back((fresh, next));
                    fresh
                }
            };
            if S::by_itself(&action) {
                edges.push((number, target, action));
            }
        }
    }
    if let Some((at, round)) = circle(came.len(), &edges) {
        let mut found = broken(&came, at, "it runs in circles by itself");
        found.trace.extend(round);
        return Err(found);
    }
    report.states = came.len();
    report.took = began.elapsed();
    Ok(report)
}

/// Goes ways drawn from a seed until nothing happens any more: deeper than a search of everything comes. `alone`: only what
/// happens by itself.
pub fn wander<S: System>(
    system: &mut S,
    seeds: std::ops::Range<u64>,
    alone: bool,
) -> Result<Report, Broken<S::Action>> {
    let began = Instant::now();
    let mut report = Report {
        states: 0,
        steps: 0,
        depth: 0,
        rests: 0,
        whole: false,
        took: Duration::ZERO,
    };
    let mut out = Vec::new();
    for seed in seeds {
        let mut state = system.initial();
        let mut trace = Vec::new();
        loop {
            out.clear();
            system.steps(&state, &mut out);
            if !out.iter().any(|(action, _)| S::by_itself(action)) {
                report.rests += 1;
                if let Err(rule) = system.at_rest(&state) {
                    return Err(Broken { rule, trace });
                }
            }
            out.retain(|(action, _)| !alone || S::by_itself(action));
            if out.is_empty() {
                break;
            }
            let drawn = fingerprint(&(seed, trace.len())) as usize % out.len();
            let (action, next) = out.swap_remove(drawn);
            trace.push(action);
            state = next;
            report.steps += 1;
            let fine = if trace.len() < 2_000 {
                system.always(&state)
            } else {
                Err("it never comes to rest")
            };
            if let Err(rule) = fine {
                return Err(Broken { rule, trace });
            }
        }
        report.depth = report.depth.max(trace.len());
    }
    report.took = began.elapsed();
    Ok(report)
}

fn fingerprint<T: Hash>(state: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

fn trace<A: Copy>(came: &[(u32, Option<A>)], mut at: u32) -> Vec<A> {
    let mut actions = Vec::new();
    while let (before, Some(action)) = came[at as usize] {
        actions.push(action);
        at = before;
    }
    actions.reverse();
    actions
}

/// A state from which these steps lead back to itself, and those that do. States that nothing leads to are taken away until
/// none is left.
fn circle<A: Copy>(states: usize, edges: &[(u32, u32, A)]) -> Option<(u32, Vec<A>)> {
    let mut into = vec![0_u32; states];
    let mut starts = vec![0_usize; states + 1];
    for (from, to, _) in edges {
        into[*to as usize] += 1;
        starts[*from as usize + 1] += 1;
    }
    for at in 0..states {
        starts[at + 1] += starts[at];
    }
    let mut filled = starts.clone();
    let mut targets = vec![0_u32; edges.len()];
    for (from, to, _) in edges {
        targets[filled[*from as usize]] = *to;
        filled[*from as usize] += 1;
    }
    let mut free: Vec<usize> = (0..states).filter(|at| into[*at] == 0).collect();
    while let Some(at) = free.pop() {
        for to in &targets[starts[at]..starts[at + 1]] {
            into[*to as usize] -= 1;
            if into[*to as usize] == 0 {
                free.push(*to as usize);
            }
        }
    }
    // What is left lies in a circle or behind one, so going back from there ends in one.
    let left = |at: u32| into[at as usize] > 0;
    let mut before: HashMap<u32, (u32, A)> = HashMap::new();
    for (from, to, action) in edges.iter().filter(|(from, to, _)| left(*from) && left(*to)) {
        before.entry(*to).or_insert((*from, *action));
    }
    let mut at = into.iter().position(|count| *count > 0)? as u32;
    let mut seen = std::collections::HashSet::new();
    while seen.insert(at) {
        at = before.get(&at)?.0;
    }
    let (first, mut round) = (at, Vec::new());
    loop {
        let (from, action) = before.get(&at)?;
        round.push(*action);
        at = *from;
        if at == first {
            round.reverse();
            return Some((first, round));
        }
    }
}
