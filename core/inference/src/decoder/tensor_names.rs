//! What the weights are called in a GGUF file.
//!
//! Shapes are row-major, the contiguous dimension last: a matrix `[n, k]` maps `k` inputs to `n` outputs.

/// Token embeddings, `[vocabulary, width]`.
pub const TOKEN_EMBEDDING: &str = "token_embd.weight";
/// Norm before the output projection, `[width]`.
pub const OUTPUT_NORM: &str = "output_norm.weight";
/// Output projection, `[vocabulary, width]`; when missing, the token embeddings serve.
pub const OUTPUT: &str = "output.weight";
/// Divisors of the rotary frequencies, `[rope dimensions / 2]`; optional (Llama 3.1 and later).
pub const ROPE_FREQUENCY_FACTORS: &str = "rope_freqs.weight";

/// A layer's weight, such as `blk.3.attn_q.weight`.
pub fn layer(index: usize, part: &str) -> String {
    format!("blk.{index}.{part}")
}

/// Norm before attention, `[width]`.
pub const ATTENTION_NORM: &str = "attn_norm.weight";
/// Query projection, `[heads × head size, width]`.
pub const QUERY: &str = "attn_q.weight";
/// Key projection, `[key-value heads × head size, width]`.
pub const KEY: &str = "attn_k.weight";
/// Value projection, `[key-value heads × head size, width]`.
pub const VALUE: &str = "attn_v.weight";
/// Query bias (qwen2), optional.
pub const QUERY_BIAS: &str = "attn_q.bias";
/// Key bias (qwen2), optional.
pub const KEY_BIAS: &str = "attn_k.bias";
/// Value bias (qwen2), optional.
pub const VALUE_BIAS: &str = "attn_v.bias";
/// Norm of each query head (qwen3, gemma3), `[head size]`.
pub const QUERY_NORM: &str = "attn_q_norm.weight";
/// Norm of each key head (qwen3, gemma3), `[head size]`.
pub const KEY_NORM: &str = "attn_k_norm.weight";
/// Attention output projection, `[width, heads × head size]`.
pub const ATTENTION_OUTPUT: &str = "attn_output.weight";
/// Norm of attention's output before the residual sum (gemma3), `[width]`.
pub const POST_ATTENTION_NORM: &str = "post_attention_norm.weight";
/// Norm before the feed-forward part, `[width]`.
pub const FEED_FORWARD_NORM: &str = "ffn_norm.weight";
/// Gate projection, `[feed forward, width]`.
pub const FEED_FORWARD_GATE: &str = "ffn_gate.weight";
/// Up projection, `[feed forward, width]`.
pub const FEED_FORWARD_UP: &str = "ffn_up.weight";
/// Down projection, `[width, feed forward]`.
pub const FEED_FORWARD_DOWN: &str = "ffn_down.weight";
/// Norm of the feed-forward output before the residual sum (gemma3), `[width]`.
pub const POST_FEED_FORWARD_NORM: &str = "post_ffw_norm.weight";
