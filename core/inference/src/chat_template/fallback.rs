//! Templates for models whose file has none.

use crate::tokenizer::Tokenizer;

/// Where a template comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TemplateOrigin {
    /// The model file's own.
    File,
    /// ChatML, because the vocabulary has `<|im_start|>` and `<|im_end|>`.
    ChatMl,
    /// Gemma's turns, because the vocabulary has `<start_of_turn>` and `<end_of_turn>`.
    Gemma,
    /// Llama 3's headers, because the vocabulary has `<|start_header_id|>` and `<|eot_id|>`.
    Llama3,
    /// Names and line breaks: the vocabulary has no tokens for turns. The model may not be made for
    /// conversation at all.
    Plain,
}

impl TemplateOrigin {
    /// A few words for a person.
    pub fn description(self) -> &'static str {
        match self {
            Self::File => "the model's own template",
            Self::ChatMl => "ChatML (the model file has no usable template)",
            Self::Gemma => "Gemma turns (the model file has no usable template)",
            Self::Llama3 => "Llama 3 headers (the model file has no usable template)",
            Self::Plain => "plain names (the model file has no usable template and no turn tokens)",
        }
    }
}

const CHAT_ML: &str = "\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}";

const GEMMA: &str = "\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'system' %}{{ raise_exception('no system role') }}{% endif -%}
{%- set role = 'model' if message.role == 'assistant' else message.role -%}
{{ '<start_of_turn>' + role + '\\n' + message.content | trim + '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif -%}";

const LLAMA3: &str = "\
{{- bos_token -}}
{%- for message in messages -%}
{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif -%}";

const PLAIN: &str = "\
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{{ message.content + '\\n\\n' }}
{%- else -%}
{{ ('User: ' if message.role == 'user' else 'Assistant: ') + message.content + '\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ 'Assistant:' }}{% endif -%}";

/// The template that fits the vocabulary, with its source.
pub(super) fn choose(tokenizer: &Tokenizer, had_own: bool) -> (TemplateOrigin, &'static str) {
    let has = |names: &[&str]| names.iter().all(|name| tokenizer.special_token(name).is_some());
    let chosen = if has(&["<|im_start|>", "<|im_end|>"]) {
        (TemplateOrigin::ChatMl, CHAT_ML)
    } else if has(&["<start_of_turn>", "<end_of_turn>"]) {
        (TemplateOrigin::Gemma, GEMMA)
    } else if has(&["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]) {
        (TemplateOrigin::Llama3, LLAMA3)
    } else {
        (TemplateOrigin::Plain, PLAIN)
    };
    if !had_own {
        tracing::debug!(
            template = chosen.0.description(),
            "the model file has no chat template"
        );
    }
    chosen
}
