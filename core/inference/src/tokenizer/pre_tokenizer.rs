//! Splitting text into the words that merges stay within.
//!
//! Every family of models was trained with its own regular expressions; the file only names the family
//! (`tokenizer.ggml.pre`). The expressions are those published in the families' `tokenizer.json`.
//! Most end in `\s+(?!\S)|\s+`: a run of spaces, less its last one when a word follows, which then
//! takes that space. Look-ahead would cost the linear-time engine, so that rule is done by hand.

use std::ops::Range;
use std::sync::Mutex;

use regex_automata::Input;
use regex_automata::meta::{Cache, Regex};

use super::TokenizerError;

const GPT2: &str = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+";
const LLAMA3: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+";
const SEED_CODER: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+";
const BAILING: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+"##;
/// Letters with case: what the original writes as a list of ranges.
const DEEPSEEK_LLM_LETTERS: &str = r"\s?[A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}\u{295}-\u{2AF}\u{370}-\u{373}\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}\u{38C}\u{38E}-\u{3A1}\u{3A3}-\u{3F5}\u{3F7}-\u{481}\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}\u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}\u{1D79}-\u{1D9A}\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}\u{1F48}-\u{1F4D}\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}\u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}\u{1FB6}-\u{1FBC}\u{1FBE}\u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\u{1FF2}-\u{1FF4}\u{1FF6}-\u{1FFC}\u{2102}\u{2107}\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}\u{2126}\u{2128}\u{212A}-\u{212D}\u{212F}-\u{2134}\u{2139}\u{213C}-\u{213F}\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}\u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}\u{A680}-\u{A69B}\u{A722}-\u{A76F}\u{A771}-\u{A787}\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}\u{118A0}-\u{118DF}\u{1E900}-\u{1E943}]+";

/// One regular expression: its matches and the text between them each become a piece.
#[derive(Clone, Copy)]
struct Step {
    pattern: &'static str,
    /// Whether `\s+(?!\S)|\s+` follows the pattern.
    spaces: bool,
}

const fn words(pattern: &'static str) -> Step {
    Step {
        pattern,
        spaces: true,
    }
}

const fn only(pattern: &'static str) -> Step {
    Step {
        pattern,
        spaces: false,
    }
}

struct Family {
    names: &'static [&'static str],
    steps: &'static [Step],
    /// A word that is a token as a whole isn't merged from its bytes.
    whole_words_first: bool,
    /// Whether a begin token is added when the file doesn't say.
    adds_bos: bool,
}

const FAMILIES: &[Family] = &[
    Family {
        names: &["default"],
        steps: &[
            only(r"[\p{P}\$\+<=>\^~\|]+"),
            words(GPT2),
            only(r"\p{N}+"),
            only("[0-9][0-9][0-9]"),
        ],
        whole_words_first: false,
        adds_bos: false,
    },
    Family {
        names: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
        ],
        steps: &[words(GPT2)],
        whole_words_first: false,
        adds_bos: false,
    },
    Family {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        steps: &[only(r"\p{N}"), words(GPT2)],
        whole_words_first: false,
        adds_bos: false,
    },
    Family {
        names: &["falcon"],
        steps: &[
            only(r"[\p{P}\$\+<=>\^~\|`]+"),
            words(GPT2),
            only("[0-9][0-9][0-9]"),
        ],
        whole_words_first: false,
        adds_bos: false,
    },
    Family {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
        ],
        steps: &[words(LLAMA3)],
        whole_words_first: true,
        adds_bos: true,
    },
    Family {
        names: &["glm4", "glm5"],
        steps: &[words(LLAMA3)],
        whole_words_first: true,
        adds_bos: false,
    },
    Family {
        names: &["dbrx", "smaug-bpe", "chatglm-bpe"],
        steps: &[words(LLAMA3)],
        whole_words_first: false,
        adds_bos: false,
    },
    Family {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "kormo",
            "grok-2",
            "f2llmv2",
        ],
        steps: &[words(QWEN2)],
        whole_words_first: false,
        adds_bos: false,
    },
    Family {
        names: &["qwen35"],
        steps: &[words(QWEN35)],
        whole_words_first: false,
        adds_bos: false,
    },
    Family {
        names: &["seed-coder"],
        steps: &[words(SEED_CODER)],
        whole_words_first: false,
        adds_bos: false,
    },
    Family {
        names: &["bailingmoe", "bailingmoe2", "llada-moe"],
        steps: &[words(BAILING)],
        whole_words_first: false,
        adds_bos: false,
    },
    Family {
        names: &["tekken"],
        steps: &[words(TEKKEN)],
        whole_words_first: true,
        adds_bos: true,
    },
    Family {
        names: &["gpt-4o", "llama4", "kanana2", "minimax-m2"],
        steps: &[words(GPT4O)],
        whole_words_first: false,
        adds_bos: false,
    },
    Family {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm"],
        steps: &[
            only(r"\p{N}{1,3}"),
            only(r"[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+"),
            words(DEEPSEEK3),
        ],
        whole_words_first: false,
        adds_bos: false,
    },
    Family {
        names: &["deepseek-llm"],
        steps: &[
            only(r"[\r\n]"),
            only(DEEPSEEK_LLM_LETTERS),
            only(r"\s?[!-/:-~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3000}-\u{3002}]+"),
            only(r"\s+$"),
            only(r"[\u{4E00}-\u{9FA5}\u{800}-\u{4E00}\u{AC00}-\u{D7FF}]+"),
            only(r"\p{N}+"),
        ],
        whole_words_first: false,
        adds_bos: false,
    },
    Family {
        names: &["deepseek-coder"],
        steps: &[
            only(r"[\r\n]"),
            only(r"\s?\p{L}+"),
            only(r"\s?\p{P}+"),
            only(r"[\u{4E00}-\u{9FA5}\u{800}-\u{4E00}\u{AC00}-\u{D7FF}]+"),
            only(r"\p{N}"),
        ],
        whole_words_first: false,
        adds_bos: false,
    },
];

/// Splits text as one family of models does.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    pub(super) whole_words_first: bool,
    pub(super) adds_bos: bool,
    steps: Vec<Regex>,
    scratch: Mutex<Vec<Scratch>>,
}

#[derive(Debug)]
struct Scratch {
    caches: Vec<Cache>,
    pieces: Vec<Range<usize>>,
    finer: Vec<Range<usize>>,
}

impl PreTokenizer {
    /// The splitter of the family called `name`; without a name the default one, with a warning.
    pub(super) fn named(name: Option<&str>) -> Result<Self, TokenizerError> {
        if matches!(name, None | Some("default")) {
            tracing::warn!(
                "the model file doesn't say how it splits words; answers may be worse than they could"
            );
        }
        let name = name.unwrap_or("default");
        let family = FAMILIES.iter().find(|family| family.names.contains(&name));
        let Some(family) = family else {
            return Err(TokenizerError::UnsupportedPreTokenizer {
                found: name.to_owned(),
            });
        };
        let mut steps = Vec::with_capacity(family.steps.len());
        for step in family.steps {
            let patterns = if step.spaces {
                &[step.pattern, r"\s+"][..]
            } else {
                &[step.pattern][..]
            };
            let regex = Regex::new_many(patterns)
                .map_err(|error| TokenizerError::inconsistent(format!("pattern of `{name}`: {error}")))?;
            steps.push(regex);
        }
        Ok(Self {
            whole_words_first: family.whole_words_first,
            adds_bos: family.adds_bos,
            steps,
            scratch: Mutex::default(),
        })
    }

    /// Calls `take` with each word of `text`, in order; joined they are `text`.
    pub(super) fn split<'t>(&self, text: &'t str, mut take: impl FnMut(&'t str)) {
        let pooled = self.scratch.lock().ok().and_then(|mut pool| pool.pop());
        let mut scratch = pooled.unwrap_or_else(|| Scratch {
            caches: self.steps.iter().map(Regex::create_cache).collect(),
            pieces: Vec::new(),
            finer: Vec::new(),
        });
        let Scratch {
            caches,
            pieces,
            finer,
        } = &mut scratch;
        pieces.clear();
        pieces.push(0..text.len());
        let last = self.steps.len().saturating_sub(1);
        for (index, (regex, cache)) in self.steps.iter().zip(caches).enumerate() {
            finer.clear();
            for piece in pieces.iter() {
                let offset = piece.start;
                split_piece(regex, cache, &text[piece.clone()], |part| {
                    if index == last {
                        take(&text[offset + part.start..offset + part.end]);
                    } else {
                        finer.push(offset + part.start..offset + part.end);
                    }
                });
            }
            std::mem::swap(pieces, finer);
        }
        if let Ok(mut pool) = self.scratch.lock() {
            pool.push(scratch);
        }
    }
}

fn split_piece(regex: &Regex, cache: &mut Cache, text: &str, mut take: impl FnMut(Range<usize>)) {
    let mut position = 0;
    while position < text.len() {
        let Some(found) = regex.search_with(cache, &Input::new(text).range(position..)) else {
            break;
        };
        let Range { start, mut end } = found.range();
        if start == end {
            break;
        }
        // A run of spaces before a word leaves its last character to the word.
        if found.pattern().as_usize() == 1
            && end < text.len()
            && let Some((last, _)) = text[start..end].char_indices().next_back()
            && last > 0
        {
            end = start + last;
        }
        if position < start {
            take(position..start);
        }
        take(start..end);
        position = end;
    }
    if position < text.len() {
        take(position..text.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, text: &str, expected: &[&str]) {
        let splitter = PreTokenizer::named(Some(name)).unwrap();
        let mut words = Vec::new();
        splitter.split(text, |word| words.push(word));
        assert_eq!(words, expected, "{name}");
        assert_eq!(words.concat(), text);
    }

    #[test]
    fn a_run_of_spaces_leaves_its_last_to_the_word() {
        check("gpt-2", "a   b", &["a", "  ", " b"]);
        check("gpt-2", "a b ", &["a", " b", " "]);
        check("gpt-2", "a\t\tb", &["a", "\t", "\t", "b"]);
        check("gpt-2", "a  ", &["a", "  "]);
        check("qwen2", "a   b", &["a", "  ", " b"]);
        check("qwen2", "a\tb", &["a", "\tb"]);
        check("qwen2", "a \n\n  b", &["a", " \n\n", " ", " b"]);
        check("gpt-2", "a\u{2003}\u{2003}b", &["a", "\u{2003}", "\u{2003}", "b"]);
    }

    #[test]
    fn digits_are_cut_as_the_family_does() {
        check("gpt-2", "in 12345 or", &["in", " 12345", " or"]);
        check("smollm", "in 123 or", &["in", " ", "1", "2", "3", " or"]);
        check("llama-bpe", "in 12345 or", &["in", " ", "123", "45", " or"]);
        check("qwen2", "in 12 or", &["in", " ", "1", "2", " or"]);
        check("deepseek-v3", "x12345y", &["x", "123", "45", "y"]);
    }

    #[test]
    fn contractions_stay_whole() {
        check("gpt-2", "it's we'LL", &["it", "'s", " we", "'", "LL"]);
        check("llama-bpe", "it's we'LL", &["it", "'s", " we", "'LL"]);
    }

    #[test]
    fn every_family_compiles_and_loses_nothing() {
        let text = "Hi, it's  12345\n\n\t日本語 ﷺ é😀’ <|x|> foo_bar(); ÀÉ   \r\n end  ";
        for name in FAMILIES.iter().flat_map(|family| family.names) {
            let splitter = PreTokenizer::named(Some(name)).unwrap();
            let mut joined = String::new();
            splitter.split(text, |word| joined.push_str(word));
            assert_eq!(joined, text, "{name}");
        }
    }

    #[test]
    fn an_unknown_family_is_an_error() {
        assert!(matches!(
            PreTokenizer::named(Some("surprise")),
            Err(TokenizerError::UnsupportedPreTokenizer { found }) if found == "surprise"
        ));
    }
}
