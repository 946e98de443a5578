//! Memories and questions, made from a seed; their vectors, from real embeddings of some of them.

use std::path::Path;

use anyhow::{Result, ensure};

/// Numbers of a vector.
pub(super) const DIMENSIONS: usize = 384;

/// A small generator: the same seed gives the same data everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    fn unit(&mut self) -> f32 {
        self.below(1 << 20) as f32 / (1 << 20) as f32
    }

    /// Few of a list are common.
    fn one<'a>(&mut self, list: &[&'a str]) -> &'a str {
        let unit = self.unit();
        list[((unit * unit) * list.len() as f32) as usize]
    }

    /// A name of two or three syllables; there are some ten thousand, the first ones common.
    fn name(&mut self) -> String {
        const SYLLABLES: [&str; 22] = [
            "ma", "ri", "lo", "ka", "ne", "to", "sa", "ben", "da", "el", "vi", "jo", "han", "mi", "ra",
            "tes", "ul", "fen", "gor", "pa", "li", "qu",
        ];
        let unit = self.unit();
        let mut number = (unit * unit * unit * 10_648.0) as usize;
        let mut name = String::new();
        for _ in 0..3 {
            name += SYLLABLES[number % 22];
            number /= 22;
            if number == 0 {
                break;
            }
        }
        name[..1].to_uppercase() + &name[1..]
    }
}

const PLACES: [&str; 32] = [
    "Lisbon", "Ghent", "Oslo", "Turin", "Graz", "Cork", "Riga", "Nantes", "Porto", "Bergen", "Lyon",
    "Kraków", "Split", "Malmö", "Basel", "Leeds", "Utrecht", "Bilbao", "Tartu", "Pula", "Odense", "Trento",
    "Galway", "Delft", "Lecce", "Arles", "Konstanz", "Umeå", "Pécs", "Brno", "Zadar", "Vigo",
];
const THINGS: [&str; 40] = [
    "bicycle",
    "dentist",
    "keys",
    "cello",
    "shoes",
    "cat",
    "kitchen",
    "laptop",
    "passport",
    "garden",
    "sister",
    "tax form",
    "guitar",
    "camera",
    "dog",
    "boiler",
    "marathon",
    "oven",
    "novel",
    "visa",
    "tent",
    "thesis",
    "piano",
    "roof",
    "van",
    "balcony",
    "sourdough",
    "violin",
    "greenhouse",
    "kayak",
    "telescope",
    "loom",
    "accordion",
    "beehive",
    "canoe",
    "espresso machine",
    "sewing machine",
    "microscope",
    "hammock",
    "printing press",
];
const VERBS: [&str; 20] = [
    "bought",
    "lost",
    "repaired",
    "wants to sell",
    "is saving for",
    "is worried about",
    "prefers",
    "no longer likes",
    "is learning about",
    "wrote about",
    "borrowed",
    "painted",
    "is allergic to the dust of",
    "dreams of",
    "gave away",
    "complained about",
    "photographed",
    "inherited",
    "insured",
    "restored",
];
const TAILS: [&str; 24] = [
    "because the old one broke",
    "before the winter",
    "after the move",
    "on a rainy Sunday",
    "with money from the job",
    "during the summer holidays",
    "since the doctor said so",
    "and told nobody",
    "for the birthday party",
    "when the children were small",
    "although it was expensive",
    "with a friend from university",
    "while working from home",
    "instead of going skiing",
    "and keeps the receipt in a drawer",
    "as a present for a colleague",
    "against the advice of the family",
    "at the flea market behind the station",
    "to have more time for reading",
    "and would do it again",
    "in the week of the storm",
    "without asking the landlord",
    "following a recipe from a magazine",
    "as the neighbours had suggested",
];

/// Memory number `number`: one fact of about a hundred characters.
pub(crate) fn memory(number: usize) -> String {
    let mut random = Random::new(number as u64 + 1);
    let (name, place) = (random.name(), random.one(&PLACES));
    let (verb, thing, tail) = (random.one(&VERBS), random.one(&THINGS), random.one(&TAILS));
    format!(
        "{name} from {place} {verb} the {thing} {tail}; it was in {}.",
        1990 + random.below(36)
    )
}

/// A question about some memory.
pub(super) fn question(number: usize, memories: usize) -> String {
    let mut random = Random::new(number as u64 + 77_777);
    let fact = memory(random.below(memories));
    let words: Vec<&str> = fact.split(' ').collect();
    format!(
        "What was that about {} and the {} in {}, do you remember?",
        words[0],
        random.one(&THINGS),
        words[2]
    )
}

/// Vectors for any number of memories and questions, out of real ones.
pub(super) struct Vectors(Vec<Vec<f32>>);

/// How many texts are really embedded.
pub(super) const EMBEDDED: usize = 4000;

impl Vectors {
    pub(super) fn read(file: &Path) -> Result<Vectors> {
        let bytes = std::fs::read(file)?;
        ensure!(
            bytes.len() == EMBEDDED * DIMENSIONS * 4,
            "{} is not whole",
            file.display()
        );
        let numbers: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        Ok(Vectors(
            numbers.chunks_exact(DIMENSIONS).map(<[f32]>::to_vec).collect(),
        ))
    }

    /// The real vector of one of the first texts, or a mixture of three, nearest to the first: neighbours as close as
    /// those of real texts. Of length one.
    pub(super) fn get(&self, number: usize) -> Vec<f32> {
        if number < EMBEDDED {
            return self.0[number].clone();
        }
        let mut random = Random::new(number as u64);
        let mut pick = || &self.0[random.below(EMBEDDED)];
        let (a, b, c) = (pick(), pick(), pick());
        let mixed: Vec<f32> = (0..DIMENSIONS)
            .map(|n| 0.7 * a[n] + 0.35 * b[n] + 0.15 * c[n])
            .collect();
        let length = mixed.iter().map(|x| x * x).sum::<f32>().sqrt();
        mixed.into_iter().map(|x| x / length).collect()
    }

    /// The vector of a question.
    pub(super) fn question(&self, number: usize) -> Vec<f32> {
        self.get(1_000_000_000 + number)
    }
}
