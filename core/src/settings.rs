//! Settings: ranges, changes, and how they are stored.

use serde_json::Value;

use crate::error::EngineError;
use crate::memory::recall::RecallWeights;
use crate::types::{Sampling, Settings, SettingsChange};

/// The name under which the store keeps them.
pub(crate) const STORE_KEY: &str = "settings";

/// Reads what was stored here or came from another device; fields that a newer version wrote are ignored, broken ones and
/// those outside their range fall back to the engine's choice.
pub(crate) fn from_stored(value: Option<Value>) -> Settings {
    let Some(Value::Object(fields)) = value else {
        return Settings::default();
    };
    let mut settings = Value::Object(serde_json::Map::new());
    for (name, value) in fields {
        let mut attempt = settings.clone();
        attempt[name] = value;
        if serde_json::from_value::<Settings>(attempt.clone()).is_ok_and(|settings| check(&settings).is_ok())
        {
            settings = attempt;
        }
    }
    serde_json::from_value(settings).unwrap_or_default()
}

/// The settings after a change. Errors: [`EngineError::InvalidRequest`] names the offending field.
pub(crate) fn apply(settings: &Settings, change: SettingsChange) -> Result<Settings, EngineError> {
    let mut new = settings.clone();
    for name in &change.reset {
        let default = Settings::default();
        match name.as_str() {
            "chat_model" => new.chat_model = default.chat_model,
            "embedding_model" => new.embedding_model = default.embedding_model,
            "model_profile" => new.model_profile = default.model_profile,
            "context_length" => new.context_length = default.context_length,
            "max_reply_tokens" => new.max_reply_tokens = default.max_reply_tokens,
            "system_prompt" => new.system_prompt = default.system_prompt,
            "sampling" => new.sampling = default.sampling,
            "threads" => new.threads = default.threads,
            "unload_after_seconds" => new.unload_after_seconds = default.unload_after_seconds,
            "memory_recalled" => new.memory_recalled = default.memory_recalled,
            "memory_tokens" => new.memory_tokens = default.memory_tokens,
            "biography_tokens" => new.biography_tokens = default.biography_tokens,
            "memory_limit" => new.memory_limit = default.memory_limit,
            "memory_extraction" => new.memory_extraction = default.memory_extraction,
            "local_network" => new.local_network = default.local_network,
            "recall_weights" => new.recall_weights = default.recall_weights,
            other => {
                return Err(EngineError::InvalidRequest(format!(
                    "there is no setting {other:?}"
                )));
            }
        }
    }
    new.chat_model = change.chat_model.or(new.chat_model);
    new.embedding_model = change.embedding_model.or(new.embedding_model);
    new.model_profile = change.model_profile.or(new.model_profile);
    new.context_length = change.context_length.or(new.context_length);
    new.max_reply_tokens = change.max_reply_tokens.or(new.max_reply_tokens);
    new.system_prompt = change.system_prompt.or(new.system_prompt);
    new.sampling = change.sampling.unwrap_or(new.sampling);
    new.threads = change.threads.or(new.threads);
    new.unload_after_seconds = change.unload_after_seconds.or(new.unload_after_seconds);
    new.memory_recalled = change.memory_recalled.or(new.memory_recalled);
    new.memory_tokens = change.memory_tokens.or(new.memory_tokens);
    new.biography_tokens = change.biography_tokens.or(new.biography_tokens);
    new.memory_limit = change.memory_limit.or(new.memory_limit);
    new.memory_extraction = change.memory_extraction.or(new.memory_extraction);
    new.local_network = change.local_network.or(new.local_network);
    new.recall_weights = change.recall_weights.or(new.recall_weights);
    check(&new)?;
    Ok(new)
}

/// Refuses values outside their ranges.
fn check(settings: &Settings) -> Result<(), EngineError> {
    range("context_length", settings.context_length, 256, 1 << 20)?;
    range("max_reply_tokens", settings.max_reply_tokens, 1, 1 << 20)?;
    range("threads", settings.threads, 1, 1024)?;
    range("memory_recalled", settings.memory_recalled, 0, 10)?;
    range("memory_tokens", settings.memory_tokens, 0, 1 << 16)?;
    range("biography_tokens", settings.biography_tokens, 0, 1 << 16)?;
    range("memory_limit", settings.memory_limit, 1, 10_000_000)?;
    check_sampling(&settings.sampling)?;
    if let Some(weights) = &settings.recall_weights {
        recall_weights(weights)?;
    }
    Ok(())
}

/// Weights of recall as set. Errors: [`EngineError::InvalidRequest`] for names and values that are none.
pub(crate) fn recall_weights(value: &Value) -> Result<RecallWeights, EngineError> {
    serde_json::from_value(value.clone())
        .map_err(|error| EngineError::InvalidRequest(format!("recall_weights: {error}")))
}

fn range(name: &str, value: Option<u32>, low: u32, high: u32) -> Result<(), EngineError> {
    match value {
        Some(value) if !(low..=high).contains(&value) => Err(EngineError::InvalidRequest(format!(
            "{name} must be from {low} to {high}, not {value}"
        ))),
        _ => Ok(()),
    }
}

/// Refuses values outside their ranges.
pub(crate) fn check_sampling(sampling: &Sampling) -> Result<(), EngineError> {
    let check = |name: &str, value: Option<f32>, low: f32, high: f32| match value {
        Some(value) if !(low..=high).contains(&value) => Err(EngineError::InvalidRequest(format!(
            "{name} must be from {low} to {high}, not {value}"
        ))),
        _ => Ok(()),
    };
    check("temperature", sampling.temperature, 0.0, 2.0)?;
    check("top_p", sampling.top_p, 0.0, 1.0)?;
    check("min_p", sampling.min_p, 0.0, 1.0)?;
    check("repetition_penalty", sampling.repetition_penalty, 0.01, 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let one = apply(
            &Settings::default(),
            SettingsChange {
                threads: Some(2),
                ..Default::default()
            },
        )
        .unwrap();
        let change = SettingsChange {
            context_length: Some(4096),
            reset: vec!["threads".into()],
            ..Default::default()
        };
        let two = apply(&one, change).unwrap();
        assert_eq!(
            (one.threads, two.threads, two.context_length),
            (Some(2), None, Some(4096))
        );
    }

    #[test]
    fn values_out_of_range_and_unknown_names_are_refused() {
        let refuse = |change| assert!(apply(&Settings::default(), change).is_err());
        refuse(SettingsChange {
            context_length: Some(1),
            ..Default::default()
        });
        refuse(SettingsChange {
            reset: vec!["colour".into()],
            ..Default::default()
        });
        let sampling = Sampling {
            top_p: Some(f32::NAN),
            ..Default::default()
        };
        refuse(SettingsChange {
            sampling: Some(sampling),
            ..Default::default()
        });
    }

    #[test]
    fn stored_settings_of_another_version_do_not_stop_the_engine() {
        let stored = json!({"threads": 3, "colour": "red", "context_length": "wide"});
        assert_eq!(
            from_stored(Some(stored)),
            Settings {
                threads: Some(3),
                ..Default::default()
            }
        );
        let foreign = json!({"memory_limit": 0, "memory_recalled": 1_000_000, "threads": 2, "sampling": {"temperature": 99.0}});
        let taken = Settings {
            threads: Some(2),
            ..Default::default()
        };
        assert_eq!(from_stored(Some(foreign)), taken);
        assert_eq!(from_stored(Some(json!(7))), Settings::default());
        assert_eq!(from_stored(None), Settings::default());
    }
}
