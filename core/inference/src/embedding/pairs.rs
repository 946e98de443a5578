//! What two texts are to each other: a classifier of pairs on the encoder that embeds.

use candle_core::Tensor;
use candle_nn::ops::softmax_last_dim;

use super::adapter::Adapter;
use super::{EmbedError, Padded, TextEmbedder, batches, tokenizer_error};

/// An adapter that was read for one [`TextEmbedder`] and is used with that one only.
pub struct PairClassifier {
    adapter: Adapter,
}

impl std::fmt::Debug for PairClassifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairClassifier").finish_non_exhaustive()
    }
}

impl TextEmbedder {
    /// Reads a classifier of pairs: a low-rank adapter and a head, in safetensors.
    ///
    /// # Errors
    /// [`EmbedError::Config`] for one that was made for another model.
    pub fn pair_classifier(&self, adapter: &[u8]) -> Result<PairClassifier, EmbedError> {
        Ok(PairClassifier {
            adapter: Adapter::read(adapter, &self.bert, &self.device)?,
        })
    }

    /// The probability of each class for each pair, in order. Pairs that are longer than the window lose the end of the
    /// longer text.
    pub fn classify_pairs(
        &self,
        classifier: &PairClassifier,
        pairs: &[(&str, &str)],
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let mut ids = Vec::with_capacity(pairs.len());
        let mut types = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let encoding = self.tokenizer.encode_fast(*pair, true).map_err(tokenizer_error)?;
            ids.push(encoding.get_ids().to_vec());
            types.push(encoding.get_type_ids().to_vec());
        }
        let mut classes = vec![Vec::new(); pairs.len()];
        for batch in batches(&ids) {
            let rows: Vec<&[u32]> = batch.iter().map(|&index| ids[index].as_slice()).collect();
            let kinds: Vec<&[u32]> = batch.iter().map(|&index| types[index].as_slice()).collect();
            for (index, probabilities) in batch.iter().zip(self.classify_batch(classifier, &rows, &kinds)?) {
                classes[*index] = probabilities;
            }
        }
        Ok(classes)
    }

    fn classify_batch(
        &self,
        classifier: &PairClassifier,
        rows: &[&[u32]],
        kinds: &[&[u32]],
    ) -> candle_core::Result<Vec<Vec<f32>>> {
        let Padded { ids, mask, ragged } = Padded::of(rows, &self.device)?;
        let types = Padded::of(kinds, &self.device)?.ids;
        let adapter = &classifier.adapter;
        let hidden = self
            .bert
            .forward_adapted(&ids, &types, ragged.then_some(&mask), adapter)?;
        let sum = hidden.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?;
        let mean = sum.broadcast_div(&mask.sum_keepdim(1)?)?;
        let first = hidden.narrow(1, 0, 1)?.squeeze(1)?;
        let states = Tensor::cat(&[first, mean], 1)?;
        softmax_last_dim(&adapter.head(&states)?)?.to_vec2()
    }
}
