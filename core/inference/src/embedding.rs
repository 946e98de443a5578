//! Text embeddings: a BERT encoder from safetensors, mean pooled and of length 1.
//!
//! Made for `all-MiniLM-L6-v2` and its relatives, and equal to what sentence-transformers computes with them:
//! WordPiece tokens, cut at 256, mean over the real tokens, L2 norm.

mod adapter;
mod bert;
mod pairs;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use tokenizers::{Tokenizer, TruncationParams};

use self::bert::Bert;
pub use self::pairs::PairClassifier;
use crate::decoder::{DecoderError, DevicePreference, candle::open_device};

/// Tokens that sentence-transformers keeps of a text where the model's folder states no other limit.
const DEFAULT_MAX_TOKENS: usize = 256;
/// Texts computed together at most.
const BATCH_TEXTS: usize = 32;
/// Tokens computed together at most, padding included.
const BATCH_TOKENS: usize = 4096;

/// How an embedding model is loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmbedOptions {
    /// The id reported by [`TextEmbedder::model_id`]; the folder's name when `None`.
    pub model_id: Option<String>,
    /// Tokens kept of each text, the two special ones included; when `None`, what the folder's
    /// `sentence_bert_config.json` says, or 256.
    pub max_tokens: Option<usize>,
    /// Where to run.
    pub device: DevicePreference,
}

/// Why a text could not be embedded, or the model not loaded.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// A file of the model cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The model's configuration is not one this encoder can run.
    #[error("the embedding model cannot be used: {0}")]
    Config(String),
    /// The tokenizer file is broken or failed on a text.
    #[error("the embedding model's tokenizer failed: {0}")]
    Tokenizer(String),
    /// The device asked for is not there.
    #[error(transparent)]
    Device(#[from] DecoderError),
    /// The network failed.
    #[error("the embedding model failed while computing: {0}")]
    Compute(#[from] candle_core::Error),
}

/// A loaded embedding model. Calls may come from several threads.
pub struct TextEmbedder {
    model_id: String,
    max_tokens: usize,
    tokenizer: Tokenizer,
    /// The same without truncation.
    counter: Tokenizer,
    bert: Bert,
    device: Device,
}

impl std::fmt::Debug for TextEmbedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextEmbedder")
            .field("model_id", &self.model_id)
            .field("max_tokens", &self.max_tokens)
            .finish_non_exhaustive()
    }
}

/// Part of `sentence_bert_config.json`.
#[derive(serde::Deserialize)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
}

impl TextEmbedder {
    /// Loads `model.safetensors`, `tokenizer.json` and `config.json` from `dir`.
    pub fn load(dir: &Path, options: EmbedOptions) -> Result<Self, EmbedError> {
        let config: bert::Config = read_json(&dir.join("config.json"))?;
        config.check().map_err(EmbedError::Config)?;
        let (device, _) = open_device(options.device)?;

        let sentence = dir.join("sentence_bert_config.json");
        let stated = if sentence.exists() {
            read_json::<SentenceConfig>(&sentence)?.max_seq_length
        } else {
            None
        };
        let max_tokens = options
            .max_tokens
            .or(stated)
            .unwrap_or(DEFAULT_MAX_TOKENS)
            .clamp(2, config.max_position_embeddings);

        let bytes = read(&dir.join("tokenizer.json"))?;
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(tokenizer_error)?;
        tokenizer.with_truncation(None).map_err(tokenizer_error)?;
        let mut counter = tokenizer.clone();
        counter.with_padding(None);
        let truncation = TruncationParams {
            max_length: max_tokens,
            ..TruncationParams::default()
        };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(tokenizer_error)?;
        tokenizer.with_padding(None);
        let vocabulary = tokenizer.get_vocab_size(true);
        if vocabulary > config.vocab_size {
            return Err(EmbedError::Config(format!(
                "its tokenizer knows {vocabulary} tokens, its network {}",
                config.vocab_size
            )));
        }

        let weights = dir.join("model.safetensors");
        let source = |source| EmbedError::Io {
            path: weights.clone(),
            source,
        };
        std::fs::File::open(&weights).map_err(source)?;
        let bert = Bert::load(&weights, &config, &device)?;
        let folder = || {
            dir.file_name()
                .unwrap_or(dir.as_os_str())
                .to_string_lossy()
                .into_owned()
        };
        Ok(Self {
            model_id: options.model_id.unwrap_or_else(folder),
            max_tokens,
            tokenizer,
            counter,
            bert,
            device,
        })
    }

    /// One vector of [`TextEmbedder::dimensions`] numbers and length 1 for each text, in order.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let encodings = texts
            .iter()
            .map(|text| {
                let encoding = self.tokenizer.encode_fast(*text, true).map_err(tokenizer_error)?;
                Ok(encoding.get_ids().to_vec())
            })
            .collect::<Result<Vec<_>, EmbedError>>()?;
        let mut vectors = vec![Vec::new(); texts.len()];
        for batch in batches(&encodings) {
            for (index, vector) in batch.iter().zip(self.embed_batch(&encodings, &batch)?) {
                vectors[*index] = vector;
            }
        }
        Ok(vectors)
    }

    /// Tokens of `text`, special ones included, before anything is cut: more than [`TextEmbedder::max_tokens`] means
    /// that its vector stands for its beginning only.
    pub fn count_tokens(&self, text: &str) -> Result<usize, EmbedError> {
        Ok(self
            .counter
            .encode_fast(text, true)
            .map_err(tokenizer_error)?
            .len())
    }

    /// Numbers in a vector.
    pub fn dimensions(&self) -> usize {
        self.bert.width()
    }

    /// Tokens of a text that count, special ones included; the rest is cut.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The model's id.
    pub fn model_id(&self) -> &str {
        &self.model_id
    }

    fn embed_batch(&self, all: &[Vec<u32>], batch: &[usize]) -> candle_core::Result<Vec<Vec<f32>>> {
        let rows: Vec<&[u32]> = batch.iter().map(|&index| all[index].as_slice()).collect();
        let Padded { ids, mask, ragged } = Padded::of(&rows, &self.device)?;
        let hidden = self.bert.forward(&ids, ragged.then_some(&mask))?;
        // Mean over real tokens, then length 1: the division by the count cancels out.
        let sum = hidden.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?;
        let norm = sum.sqr()?.sum_keepdim(1)?.sqrt()?.clamp(1e-12, f64::INFINITY)?;
        sum.broadcast_div(&norm)?.to_dtype(DType::F32)?.to_vec2()
    }
}

/// Rows of numbers brought to one length.
struct Padded {
    /// `[rows, longest]`, 0 where a row has ended.
    ids: Tensor,
    /// The same shape, 1 for what is real.
    mask: Tensor,
    /// Whether anything was padded.
    ragged: bool,
}

impl Padded {
    fn of(rows: &[&[u32]], device: &Device) -> candle_core::Result<Self> {
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let shape = (rows.len(), longest);
        let mut ids = vec![0u32; rows.len() * longest];
        let mut mask = vec![0f32; rows.len() * longest];
        for (number, row) in rows.iter().enumerate() {
            ids[number * longest..][..row.len()].copy_from_slice(row);
            mask[number * longest..][..row.len()].fill(1.0);
        }
        Ok(Self {
            ids: Tensor::from_vec(ids, shape, device)?,
            mask: Tensor::from_vec(mask, shape, device)?,
            ragged: rows.iter().any(|row| row.len() < longest),
        })
    }
}

/// Groups texts of similar length, so that little is computed for padding.
fn batches(encodings: &[Vec<u32>]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..encodings.len()).collect();
    order.sort_by_key(|&index| encodings[index].len());
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for index in order {
        let len = encodings[index].len();
        match batches.last_mut() {
            Some(batch)
                if batch.len() < BATCH_TEXTS
                    && (batch.len() + 1) * len <= BATCH_TOKENS
                    && len <= encodings[batch[0]].len() * 5 / 4 + 2 =>
            {
                batch.push(index);
            }
            _ => batches.push(vec![index]),
        }
    }
    batches
}

fn read(path: &Path) -> Result<Vec<u8>, EmbedError> {
    std::fs::read(path).map_err(|source| EmbedError::Io {
        path: path.to_owned(),
        source,
    })
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, EmbedError> {
    serde_json::from_slice(&read(path)?)
        .map_err(|error| EmbedError::Config(format!("{}: {error}", path.display())))
}

#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
fn tokenizer_error(error: tokenizers::Error) -> EmbedError {
    EmbedError::Tokenizer(error.to_string())
}
