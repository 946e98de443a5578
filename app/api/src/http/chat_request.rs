//! Reading a `/v1/chat/completions` request: every field is understood, known to be harmless, or refused by name.

use hearth_core::types::{ResponseFormat, Role, Sampling, Turn};
use serde_json::Value;

use crate::methods::generate::CompleteParams;

use super::error::HttpError;
use super::fields::{Fields, wrong_type};

/// Most stop strings a request may name (OpenAI's own limit).
const MOST_STOPS: usize = 4;

/// A request that was understood completely.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChatRequest {
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) params: CompleteParams,
}

impl ChatRequest {
    /// Reads the body of a request.
    pub(super) fn parse(body: &[u8]) -> Result<Self, HttpError> {
        let mut fields = Fields::of_body(body)?;
        let model = match fields.require("model")? {
            Value::String(model) => model,
            other => return Err(wrong_type("model", "a string", &other)),
        };
        let messages = messages(fields.require("messages")?)?;
        let stream = fields.boolean("stream")?.unwrap_or(false);
        let request = Self {
            stream,
            include_usage: include_usage(&mut fields, stream)?,
            params: CompleteParams {
                messages,
                model: named_model(model),
                sampling: sampling(&mut fields)?,
                max_tokens: max_tokens(&mut fields)?,
                stop: stop(&mut fields)?,
                format: format(&mut fields)?,
                reasoning: reasoning(&mut fields)?,
            },
        };
        refuse_unsupported(&mut fields)?;
        fields.finish()?;
        Ok(request)
    }
}

/// `hearth` and `default` stand for the model that the settings choose.
pub(super) fn named_model(name: String) -> Option<String> {
    if matches!(name.as_str(), "hearth" | "default") {
        None
    } else {
        Some(name)
    }
}

fn sampling(fields: &mut Fields) -> Result<Sampling, HttpError> {
    let float = |number: Option<f64>| number.map(|number| number as f32);
    Ok(Sampling {
        temperature: float(fields.number("temperature", 0.0, 2.0)?),
        top_p: float(fields.number("top_p", 0.0, 1.0)?),
        top_k: fields.count("top_k", 0)?,
        min_p: float(fields.number("min_p", 0.0, 1.0)?),
        repetition_penalty: float(fields.number("repetition_penalty", 0.1, 10.0)?),
        repetition_window: fields.count("repetition_window", 0)?,
        seed: seed(fields)?,
    })
}

/// OpenAI's seed is a signed 64-bit number; ours is the same 64 bits.
fn seed(fields: &mut Fields) -> Result<Option<u64>, HttpError> {
    match fields.take("seed") {
        None => Ok(None),
        Some(value) => match value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned)) {
            Some(seed) => Ok(Some(seed)),
            None => Err(wrong_type("seed", "a whole number", &value)),
        },
    }
}

fn max_tokens(fields: &mut Fields) -> Result<Option<u32>, HttpError> {
    let old = fields.count("max_tokens", 1)?;
    let new = fields.count("max_completion_tokens", 1)?;
    match (old, new) {
        (Some(old), Some(new)) if old != new => Err(HttpError::invalid_value(
            "max_tokens",
            "'max_tokens' and 'max_completion_tokens' mean the same and differ; send one of them.",
        )),
        (old, new) => Ok(new.or(old)),
    }
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, HttpError> {
    let stops = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(items)) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| match item {
                Value::String(text) => Ok(text),
                other => Err(wrong_type(&format!("stop[{index}]"), "a string", &other)),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(wrong_type("stop", "a string or a list of strings", &other)),
    };
    if stops.len() > MOST_STOPS {
        return Err(HttpError::invalid_value(
            "stop",
            format!("'stop' may hold at most {MOST_STOPS} strings."),
        ));
    }
    if stops.iter().any(String::is_empty) {
        return Err(HttpError::invalid_value(
            "stop",
            "'stop' may not hold an empty string.",
        ));
    }
    Ok(stops)
}

fn include_usage(fields: &mut Fields, stream: bool) -> Result<bool, HttpError> {
    let Some(value) = fields.take("stream_options") else {
        return Ok(false);
    };
    if !stream {
        return Err(HttpError::invalid_value(
            "stream_options",
            "'stream_options' is only allowed when 'stream' is true.",
        ));
    }
    let mut options = Fields::of_value(value, "stream_options".to_owned())?;
    let include = options.boolean("include_usage")?.unwrap_or(false);
    options.ignore(&["include_obfuscation"]);
    options.finish()?;
    Ok(include)
}

fn format(fields: &mut Fields) -> Result<ResponseFormat, HttpError> {
    let Some(value) = fields.take("response_format") else {
        return Ok(ResponseFormat::Text);
    };
    let mut format = Fields::of_value(value, "response_format".to_owned())?;
    let kind = format.require("type")?;
    let read = match kind.as_str() {
        Some("text") => ResponseFormat::Text,
        Some("json_object") => ResponseFormat::JsonObject,
        Some("json_schema") => ResponseFormat::JsonSchema {
            schema: schema(format.require("json_schema")?)?,
        },
        _ => {
            return Err(HttpError::invalid_value(
                "response_format.type",
                format!("'response_format.type' must be text, json_object or json_schema, not {kind}."),
            ));
        }
    };
    format.finish()?;
    Ok(read)
}

/// The schema itself; `name`, `description` and `strict` change nothing, as the grammar is always enforced.
fn schema(value: Value) -> Result<Value, HttpError> {
    let path = "response_format.json_schema";
    let mut fields = Fields::of_value(value, path.to_owned())?;
    let schema = fields.require("schema")?;
    fields.string("name")?;
    fields.string("description")?;
    fields.boolean("strict")?;
    fields.finish()?;
    match schema {
        Value::Object(_) | Value::Bool(_) => Ok(schema),
        other => Err(wrong_type(&format!("{path}.schema"), "a JSON schema", &other)),
    }
}

fn reasoning(fields: &mut Fields) -> Result<Option<bool>, HttpError> {
    match fields.string("reasoning_effort")?.as_deref() {
        None => Ok(None),
        Some("none" | "minimal") => Ok(Some(false)),
        Some("low" | "medium" | "high" | "xhigh") => Ok(Some(true)),
        Some(other) => Err(HttpError::invalid_value(
            "reasoning_effort",
            format!("'reasoning_effort' must be none, minimal, low, medium, high or xhigh, not {other:?}."),
        )),
    }
}

fn refuse_unsupported(fields: &mut Fields) -> Result<(), HttpError> {
    let empty = |value: &Value| match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let tools = "no model here calls tools yet.";
    fields.only_if("tools", tools, empty)?;
    fields.only_if("functions", tools, empty)?;
    fields.only_if("tool_choice", tools, |v| {
        matches!(v.as_str(), Some("none" | "auto"))
    })?;
    fields.only_if("function_call", tools, |v| {
        matches!(v.as_str(), Some("none" | "auto"))
    })?;
    fields.only_if("n", "one answer per request; send several requests.", |v| {
        v.as_u64() == Some(1)
    })?;
    let penalty = "use 'repetition_penalty'.";
    fields.only_if("presence_penalty", penalty, |v| v.as_f64() == Some(0.0))?;
    fields.only_if("frequency_penalty", penalty, |v| v.as_f64() == Some(0.0))?;
    fields.only_if("logit_bias", "token weights can't be set.", empty)?;
    fields.only_if("logprobs", "token probabilities are not returned.", |v| {
        *v == Value::Bool(false)
    })?;
    fields.only_if("top_logprobs", "token probabilities are not returned.", |v| {
        v.as_u64() == Some(0)
    })?;
    fields.only_if("modalities", "answers are text.", |v| {
        *v == serde_json::json!(["text"])
    })?;
    fields.only_if("audio", "answers are text.", |_| false)?;
    fields.only_if(
        "web_search_options",
        "the assistant doesn't search the web.",
        |_| false,
    )?;
    fields.only_if("store", "nothing of a request is stored.", |v| {
        *v == Value::Bool(false)
    })?;
    fields.only_if("verbosity", "say it in the system message.", |v| {
        v.as_str() == Some("medium")
    })?;
    fields.ignore(&[
        "user",
        "metadata",
        "safety_identifier",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "parallel_tool_calls",
        "prediction",
    ]);
    Ok(())
}

fn messages(value: Value) -> Result<Vec<Turn>, HttpError> {
    let Value::Array(items) = value else {
        return Err(wrong_type("messages", "a list", &value));
    };
    if items.is_empty() {
        return Err(HttpError::invalid_value(
            "messages",
            "'messages' must hold at least one message.",
        ));
    }
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| message(item, format!("messages[{index}]")))
        .collect()
}

fn message(value: Value, path: String) -> Result<Turn, HttpError> {
    let mut fields = Fields::of_value(value, path)?;
    let role = fields.require("role")?;
    let role = match role.as_str() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool" | "function") => {
            return Err(HttpError::unsupported(
                fields.name("role"),
                "Messages of tools are not supported yet.",
            ));
        }
        _ => {
            let text = format!(
                "'{}' must be system, developer, user or assistant, not {role}.",
                fields.name("role")
            );
            return Err(HttpError::invalid_value(fields.name("role"), text));
        }
    };
    if role == Role::Assistant {
        refuse_in_assistant(&mut fields)?;
    }
    fields.only_if(
        "name",
        "the model sees no names of speakers; put them into the text.",
        |_| false,
    )?;
    let path = fields.name("content");
    let text = content(fields.require("content")?, &path)?;
    fields.finish()?;
    Ok(Turn { role, content: text })
}

/// What an answer of this server carries besides its text may come back with it, and isn't shown to the model.
fn refuse_in_assistant(fields: &mut Fields) -> Result<(), HttpError> {
    let none = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    fields.only_if("tool_calls", "no model here calls tools yet.", none)?;
    fields.only_if("function_call", "no model here calls tools yet.", |_| false)?;
    fields.only_if("audio", "only text is understood for now.", |_| false)?;
    fields.ignore(&["reasoning_content", "refusal", "annotations"]);
    Ok(())
}

fn content(value: Value, path: &str) -> Result<String, HttpError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Array(parts) if !parts.is_empty() => {
            let parts = parts
                .into_iter()
                .enumerate()
                .map(|(index, part)| text_part(part, format!("{path}[{index}]")));
            Ok(parts.collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
        other => Err(wrong_type(path, "a string or a list of parts", &other)),
    }
}

fn text_part(value: Value, path: String) -> Result<String, HttpError> {
    let mut fields = Fields::of_value(value, path)?;
    let kind = fields.require("type")?;
    if kind.as_str() != Some("text") {
        let what = match kind.as_str() {
            Some("image_url") => "Images are not understood yet".to_owned(),
            Some("input_audio") => "Sound is not understood here yet".to_owned(),
            Some("file") => "Files are not understood yet".to_owned(),
            _ => format!("Parts of type {kind} are not understood"),
        };
        return Err(HttpError::unsupported(
            fields.name("type"),
            format!("{what}; send text parts."),
        ));
    }
    let text = match fields.require("text")? {
        Value::String(text) => text,
        other => return Err(wrong_type(&fields.name("text"), "a string", &other)),
    };
    fields.finish()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(extra: Value) -> Result<ChatRequest, HttpError> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        let (Value::Object(body_map), Value::Object(extra)) = (&mut body, extra) else {
            unreachable!()
        };
        body_map.extend(extra);
        ChatRequest::parse(body.to_string().as_bytes())
    }

    /// The field and the code of a refusal.
    fn refused(extra: Value) -> (String, String) {
        let error = parse(extra).unwrap_err();
        assert_eq!(error.status, 400);
        (error.param.unwrap_or_default(), error.code.unwrap_or_default())
    }

    #[test]
    fn everything_supported_is_read() {
        let request = parse(json!({
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": "c", "refusal": null, "tool_calls": null, "reasoning_content": "r"},
                {"role": "user", "content": "d"},
            ],
            "stream": true, "stream_options": {"include_usage": true}, "seed": -1, "stop": "x",
            "temperature": 0.5, "top_p": 0.9, "top_k": 3, "max_completion_tokens": 7,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {}}},
            "reasoning_effort": "none", "user": "u", "metadata": {"a": "b"}, "store": false, "n": 1,
            "frequency_penalty": 0, "tools": [], "tool_choice": "auto", "logprobs": false, "logit_bias": {},
        }))
        .unwrap();
        let turn = |role, text: &str| Turn {
            role,
            content: text.to_owned(),
        };
        let params = request.params;
        assert_eq!(params.messages[0], turn(Role::System, "Be brief."));
        assert_eq!(params.messages[1], turn(Role::User, "a\nb"));
        assert!(request.stream && request.include_usage);
        assert_eq!(params.sampling.seed, Some(u64::MAX));
        assert_eq!((params.max_tokens, params.stop), (Some(7), vec!["x".to_owned()]));
        assert_eq!(params.format, ResponseFormat::JsonSchema { schema: json!({}) });
        assert_eq!(
            (params.model.as_deref(), params.reasoning),
            (Some("m"), Some(false))
        );
        assert_eq!(parse(json!({"model": "hearth"})).unwrap().params.model, None);
    }

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        for (field, value) in [
            ("n", json!(2)),
            ("tools", json!([{"type": "function"}])),
            ("tool_choice", json!("required")),
            ("presence_penalty", json!(0.1)),
            ("frequency_penalty", json!(-1)),
            ("logprobs", json!(true)),
            ("logit_bias", json!({"5": 1})),
            ("store", json!(true)),
            ("modalities", json!(["text", "audio"])),
        ] {
            assert_eq!(
                refused(json!({field: value})),
                (field.to_owned(), "unsupported_parameter".to_owned())
            );
        }
        assert_eq!(
            refused(json!({"temprature": 1})),
            ("temprature".into(), "unknown_parameter".into())
        );
        let nested = json!({"stream": true, "stream_options": {"every": 1}});
        assert_eq!(
            refused(nested),
            ("stream_options.every".into(), "unknown_parameter".into())
        );
    }

    #[test]
    fn values_out_of_range_or_of_a_wrong_type_are_refused() {
        for (field, value, code) in [
            ("temperature", json!(2.1), "invalid_value"),
            ("temperature", json!("hot"), "invalid_type"),
            ("top_p", json!(-0.1), "invalid_value"),
            ("max_tokens", json!(0), "invalid_value"),
            ("max_tokens", json!(1.5), "invalid_value"),
            ("seed", json!(1.5), "invalid_type"),
            ("stop", json!(["a", "b", "c", "d", "e"]), "invalid_value"),
            ("stop", json!([""]), "invalid_value"),
            ("stop", json!(5), "invalid_type"),
            ("stream", json!("yes"), "invalid_type"),
            ("stream_options", json!({"include_usage": true}), "invalid_value"),
            ("messages", json!([]), "invalid_value"),
            ("messages", json!("hi"), "invalid_type"),
            ("model", json!(5), "invalid_type"),
            ("reasoning_effort", json!("huge"), "invalid_value"),
        ] {
            assert_eq!(
                refused(json!({field: value})),
                (field.to_owned(), code.to_owned())
            );
        }
        assert_eq!(
            refused(json!({"max_tokens": 5, "max_completion_tokens": 6})).1,
            "invalid_value"
        );
        assert_eq!(
            refused(json!({"response_format": {"type": "xml"}})).0,
            "response_format.type"
        );
    }

    #[test]
    fn messages_that_cannot_be_understood_are_refused() {
        for (message, param) in [
            (json!({"role": "tool", "content": "x"}), "messages[0].role"),
            (json!({"role": "king", "content": "x"}), "messages[0].role"),
            (json!({"role": "user"}), "messages[0].content"),
            (json!({"role": "user", "content": []}), "messages[0].content"),
            (json!({"role": "user", "content": 5}), "messages[0].content"),
            (
                json!({"role": "user", "content": "x", "name": "Ann"}),
                "messages[0].name",
            ),
            (
                json!({"role": "user", "content": "x", "color": "red"}),
                "messages[0].color",
            ),
            (
                json!({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}),
                "messages[0].content[0].type",
            ),
            (
                json!({"role": "assistant", "content": "x", "tool_calls": [{}]}),
                "messages[0].tool_calls",
            ),
            (json!("hi"), "messages[0]"),
        ] {
            assert_eq!(refused(json!({"messages": [message]})).0, param);
        }
    }

    #[test]
    fn bodies_that_are_not_json_are_told_so() {
        for (body, code) in [
            (&b"{"[..], Some("invalid_json")),
            (b"{\"a\": \"\xff\"}", Some("invalid_json")),
            (b"[]", None),
        ] {
            let error = ChatRequest::parse(body).unwrap_err();
            assert_eq!((error.status.as_u16(), error.code.as_deref()), (400, code));
        }
        let deep = "[".repeat(100_000);
        assert!(ChatRequest::parse(deep.as_bytes()).is_err());
    }
}
