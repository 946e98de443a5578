//! Reading a JSON object field by field, so that what is left over can be refused by name.

use serde_json::{Map, Value};

use super::error::HttpError;

/// The fields of one JSON object. `null` counts as absent, as OpenAI's own clients send it so.
pub(super) struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    /// Fields of the request's body.
    pub(super) fn of_body(body: &[u8]) -> Result<Self, HttpError> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            let wrong = if std::str::from_utf8(body).is_err() {
                "UTF-8"
            } else {
                "JSON"
            };
            HttpError::invalid(format!("The request body is not valid {wrong}: {error}."))
                .with_code("invalid_json")
        })?;
        Self::of_value(value, String::new())
    }

    /// Fields of a value inside the body; `path` names it in errors.
    pub(super) fn of_value(value: Value, path: String) -> Result<Self, HttpError> {
        match value {
            Value::Object(map) => Ok(Self {
                path,
                map: map.into_iter().filter(|(_, v)| !v.is_null()).collect(),
            }),
            other if path.is_empty() => Err(HttpError::invalid(format!(
                "The request body must be a JSON object, not {}.",
                kind_of(&other)
            ))),
            other => Err(wrong_type(&path, "an object", &other)),
        }
    }

    /// The full name of a field, as errors give it.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Takes a field out; what is never taken is refused by [`Fields::finish`].
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key)
    }

    /// Takes a field that must be there.
    pub(super) fn require(&mut self, key: &str) -> Result<Value, HttpError> {
        self.take(key).ok_or_else(|| {
            let name = self.name(key);
            HttpError::invalid(format!("Missing required parameter: '{name}'."))
                .with_code("missing_required_parameter")
                .with_param(name)
        })
    }

    pub(super) fn string(&mut self, key: &str) -> Result<Option<String>, HttpError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&self.name(key), "a string", &other)),
        }
    }

    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<bool>, HttpError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong_type(&self.name(key), "true or false", &other)),
        }
    }

    /// A number in `low..=high`.
    pub(super) fn number(&mut self, key: &str, low: f64, high: f64) -> Result<Option<f64>, HttpError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let name = self.name(key);
        let number = value
            .as_f64()
            .ok_or_else(|| wrong_type(&name, "a number", &value))?;
        if (low..=high).contains(&number) {
            return Ok(Some(number));
        }
        Err(HttpError::invalid_value(
            &name,
            format!("'{name}' must be between {low} and {high}, not {number}."),
        ))
    }

    /// A whole number of at least `low`; above 2³² - 1 it is as good as that.
    pub(super) fn count(&mut self, key: &str, low: u64) -> Result<Option<u32>, HttpError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let name = self.name(key);
        match value.as_u64() {
            Some(count) if count >= low => Ok(Some(u32::try_from(count).unwrap_or(u32::MAX))),
            _ => Err(HttpError::invalid_value(
                &name,
                format!("'{name}' must be a whole number of at least {low}, not {value}."),
            )),
        }
    }

    /// Drops fields that say something about the caller and nothing about the answer.
    pub(super) fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.map.shift_remove(*key);
        }
    }

    /// Accepts `key` only with a value for which `harmless` holds: one that asks for what happens anyway.
    pub(super) fn only_if(
        &mut self,
        key: &str,
        why: &str,
        harmless: impl Fn(&Value) -> bool,
    ) -> Result<(), HttpError> {
        match self.take(key) {
            Some(value) if !harmless(&value) => {
                let name = self.name(key);
                Err(HttpError::unsupported(
                    &name,
                    format!("'{name}' is not supported here: {why}"),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Refuses whatever hasn't been taken: ignoring an unknown field could change what the answer means.
    pub(super) fn finish(self) -> Result<(), HttpError> {
        let Some(key) = self.map.keys().next() else {
            return Ok(());
        };
        let name = self.name(key);
        Err(
            HttpError::invalid(format!("Unrecognized request argument supplied: {name}"))
                .with_code("unknown_parameter")
                .with_param(name),
        )
    }
}

/// A 400 that says which type was expected and which one came.
pub(super) fn wrong_type(name: &str, expected: &str, got: &Value) -> HttpError {
    HttpError::invalid(format!(
        "Invalid type for '{name}': expected {expected}, but got {}.",
        kind_of(got)
    ))
    .with_code("invalid_type")
    .with_param(name)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
