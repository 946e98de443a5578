//! Low-rank adapters (LoRA, <https://arxiv.org/abs/2106.09685>) that make a classifier of pairs of texts out of the encoder.
//!
//! The encoder's own weights stay as they are and are shared: each matrix `W` gets a `B·A` of small rank beside it, and a
//! head of two layers judges the first token and the mean of all (a cross-encoder, as in BERT's sentence pairs).

use candle_core::{DType, Device, Tensor};

use super::EmbedError;
use super::bert::Bert;

/// `B·A` beside a matrix: `[inputs, rank]` and `[rank, outputs]`.
pub(super) struct LowRank {
    down: Tensor,
    up: Tensor,
}

impl LowRank {
    pub(super) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(&self.down)?.matmul(&self.up)
    }
}

pub(super) struct AdaptedLayer {
    pub(super) attention_in: LowRank,
    pub(super) attention_out: LowRank,
    pub(super) feed_forward_in: LowRank,
    pub(super) feed_forward_out: LowRank,
}

/// What is added to an encoder to judge pairs.
pub(super) struct Adapter {
    pub(super) types: Tensor,
    pub(super) layers: Vec<AdaptedLayer>,
    hidden: (Tensor, Tensor),
    out: (Tensor, Tensor),
}

impl Adapter {
    /// Reads an adapter from safetensors and checks that it fits `bert`.
    pub(super) fn read(bytes: &[u8], bert: &Bert, device: &Device) -> Result<Self, EmbedError> {
        let tensors = candle_core::safetensors::load_buffer(bytes, device)?;
        let get = |name: &str| -> Result<Tensor, EmbedError> {
            let found = tensors
                .get(name)
                .ok_or_else(|| EmbedError::Config(format!("the adapter has no tensor \"{name}\"")))?;
            Ok(found.to_dtype(DType::F32)?)
        };
        let checked = |name: &str, dims: (usize, Option<usize>)| -> Result<Tensor, EmbedError> {
            let tensor = get(name)?;
            let fits = match (tensor.dims(), dims) {
                ([rows], (wanted, None)) => *rows == wanted,
                ([rows, _], (0, None)) => *rows > 0,
                ([rows, columns], (wanted, Some(across))) => {
                    (wanted == 0 || *rows == wanted) && (across == 0 || *columns == across)
                }
                _ => false,
            };
            if fits {
                Ok(tensor)
            } else {
                Err(EmbedError::Config(format!(
                    "the adapter's tensor \"{name}\" has shape {:?}, which doesn't fit this model",
                    tensor.dims()
                )))
            }
        };
        let (width, inner) = (bert.width(), bert.inner_width()?);
        let low_rank = |name: String, inputs: usize, outputs: usize| -> Result<LowRank, EmbedError> {
            let down = checked(&format!("{name}.down"), (inputs, Some(0)))?;
            let up = checked(&format!("{name}.up"), (down.dim(1)?, Some(outputs)))?;
            Ok(LowRank { down, up })
        };
        // Queries, keys and values have an adapter each, side by side; in the file their ups stand one above the other.
        let attention_in = |number: usize| -> Result<LowRank, EmbedError> {
            let name = format!("{number}.attention_in");
            let down = checked(&format!("{name}.down"), (width, Some(0)))?;
            let up = checked(&format!("{name}.up"), (down.dim(1)?, Some(width)))?;
            let rank = down.dim(1)? / 3;
            if rank * 3 != down.dim(1)? {
                return Err(EmbedError::Config(format!(
                    "the adapter's \"{name}\" isn't made of three"
                )));
            }
            let parts = (0..3)
                .map(|part| {
                    up.narrow(0, part * rank, rank)?
                        .pad_with_zeros(1, part * width, (2 - part) * width)
                })
                .collect::<candle_core::Result<Vec<_>>>()?;
            Ok(LowRank {
                down,
                up: Tensor::cat(&parts, 0)?,
            })
        };
        let layers = (0..bert.layers())
            .map(|number| {
                Ok(AdaptedLayer {
                    attention_in: attention_in(number)?,
                    attention_out: low_rank(format!("{number}.attention_out"), width, width)?,
                    feed_forward_in: low_rank(format!("{number}.feed_forward_in"), width, inner)?,
                    feed_forward_out: low_rank(format!("{number}.feed_forward_out"), inner, width)?,
                })
            })
            .collect::<Result<_, EmbedError>>()?;
        let hidden = checked("head.hidden", (2 * width, Some(0)))?;
        let middle = hidden.dim(1)?;
        let out = checked("head.out", (middle, Some(0)))?;
        let classes = out.dim(1)?;
        Ok(Self {
            types: checked("types", (2, Some(width)))?,
            layers,
            hidden: (hidden, checked("head.hidden.bias", (middle, None))?),
            out: (out, checked("head.out.bias", (classes, None))?),
        })
    }

    /// Scores of the classes, `[texts, classes]`, from the first token and the mean.
    pub(super) fn head(&self, states: &Tensor) -> candle_core::Result<Tensor> {
        let middle = states.matmul(&self.hidden.0)?.broadcast_add(&self.hidden.1)?;
        middle.gelu_erf()?.matmul(&self.out.0)?.broadcast_add(&self.out.1)
    }
}
