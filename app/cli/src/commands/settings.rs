//! `hearth settings`: every setting by name, `sampling.temperature` for one inside another.

use hearth_api::ErrorCode;
use hearth_api::methods::Empty;
use hearth_api::methods::settings::{Get, Set};
use hearth_api::types::{Settings, SettingsChange};
use serde_json::{Map, Value, json};

use super::with_session;
use crate::args::Settings as Args;
use crate::connect::{Profile, Session, Want};
use crate::failure::Failure;
use crate::output::Output;

/// Parts of `sampling`; serialised settings leave out what isn't set.
const SAMPLING: [&str; 7] = [
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "repetition_window",
    "seed",
];

pub(super) async fn run(profile: &Profile, args: Args, output: &Output) -> Result<(), Failure> {
    with_session(profile, Want::Brief, output, async |session| {
        let now = session.client.call::<Get>(Empty {}).await?;
        let named = flatten(&now);
        match args {
            Args::List => list(&named, output),
            Args::Get { name } => get(&named, &name, output),
            Args::Set { name, value } => {
                known(&named, &name)?;
                change(session, set(&now, &name, &value)?, output).await
            }
            Args::Unset { name } => {
                known(&named, &name)?;
                change(session, unset(&now, &name)?, output).await
            }
        }
    })
    .await
}

fn list(named: &Map<String, Value>, output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.value(named);
    }
    let widest = named.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in named {
        output.line(&format!("{name:<widest$}  {}", output.safe(&shown(value))))?;
    }
    Ok(())
}

fn get(named: &Map<String, Value>, name: &str, output: &Output) -> Result<(), Failure> {
    let value = known(named, name)?;
    if output.json {
        output.value(value)
    } else {
        output.line(&output.safe(&shown(value)))
    }
}

async fn change(session: &Session, change: SettingsChange, output: &Output) -> Result<(), Failure> {
    let settings = session.client.call::<Set>(change).await?;
    if output.json {
        output.value(&flatten(&settings))
    } else {
        Ok(())
    }
}

fn set(now: &Settings, name: &str, text: &str) -> Result<SettingsChange, Failure> {
    let typed = serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!(text));
    // A model called `7` or a prompt `true` is text all the same.
    for value in [typed, json!(text)] {
        if let Ok(change) = change_of(now, name, value) {
            return Ok(change);
        }
    }
    Err(Failure::usage(format!(
        "{text:?} isn't a value that {name} can have."
    )))
}

fn unset(now: &Settings, name: &str) -> Result<SettingsChange, Failure> {
    if name.starts_with("sampling.") {
        return change_of(now, name, Value::Null)
            .map_err(|_| Failure::new(ErrorCode::Internal, format!("{name} can't be unset.")));
    }
    Ok(SettingsChange {
        reset: vec![name.to_owned()],
        ..SettingsChange::default()
    })
}

fn change_of(now: &Settings, name: &str, value: Value) -> serde_json::Result<SettingsChange> {
    match name.strip_prefix("sampling.") {
        None => serde_json::from_value(json!({name: value})),
        Some(part) => {
            let mut sampling = serde_json::to_value(&now.sampling)?;
            sampling[part] = value;
            serde_json::from_value(json!({"sampling": sampling}))
        }
    }
}

/// Every setting under its name, `null` where it is left to the engine.
fn flatten(settings: &Settings) -> Map<String, Value> {
    let mut named = Map::new();
    let Ok(Value::Object(all)) = serde_json::to_value(settings) else {
        return named;
    };
    for (name, value) in all {
        if name == "sampling" {
            for part in SAMPLING {
                named.insert(
                    format!("sampling.{part}"),
                    value.get(part).cloned().unwrap_or(Value::Null),
                );
            }
        } else {
            named.insert(name, value);
        }
    }
    named
}

fn known<'a>(named: &'a Map<String, Value>, name: &str) -> Result<&'a Value, Failure> {
    named.get(name).ok_or_else(|| {
        Failure::not_found(format!("There is no setting {name:?}."))
            .hint("`hearth settings list` shows those there are.")
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "(left to the engine)".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_what_the_setting_holds() {
        let now = Settings::default();
        assert_eq!(
            set(&now, "context_length", "4096").unwrap().context_length,
            Some(4096)
        );
        assert_eq!(
            set(&now, "chat_model", "7").unwrap().chat_model.as_deref(),
            Some("7")
        );
        assert_eq!(
            set(&now, "system_prompt", "Be brief.")
                .unwrap()
                .system_prompt
                .as_deref(),
            Some("Be brief.")
        );
        assert!(set(&now, "context_length", "many").is_err());
        let sampling = set(&now, "sampling.temperature", "0.5")
            .unwrap()
            .sampling
            .unwrap();
        assert_eq!(sampling.temperature, Some(0.5));
        let now = Settings { sampling, ..now };
        let kept = set(&now, "sampling.top_k", "3").unwrap().sampling.unwrap();
        assert_eq!((kept.temperature, kept.top_k), (Some(0.5), Some(3)));
        assert_eq!(
            unset(&now, "sampling.temperature")
                .unwrap()
                .sampling
                .unwrap()
                .temperature,
            None
        );
        assert_eq!(unset(&now, "threads").unwrap().reset, ["threads"]);
    }

    #[test]
    fn every_setting_has_a_name() {
        let named = flatten(&Settings::default());
        assert!(
            named.contains_key("sampling.seed")
                && named.contains_key("chat_model")
                && !named.contains_key("sampling")
        );
        assert!(known(&named, "chat_modle").is_err());
    }
}
