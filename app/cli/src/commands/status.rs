//! `hearth status`: the engine, its models, memory and database.

use hearth_api::methods::Empty;
use hearth_api::methods::engine::GetStatus;
use hearth_api::types::{ModelProfile, ProtectionKind, Status};
use serde_json::{Value, json};

use super::with_session;
use crate::connect::{Profile, Want};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

pub(super) async fn run(profile: &Profile, output: &Output) -> Result<(), Failure> {
    with_session(profile, Want::Brief, output, async |session| {
        let status = session.client.call::<GetStatus>(Empty {}).await?;
        let own = status.pid == std::process::id();
        if output.json {
            let mut value = serde_json::to_value(&status).unwrap_or(Value::Null);
            value["engine_running"] = json!(!own);
            return output.value(&value);
        }
        for (name, text) in lines(&status, own) {
            let name = output.dim(&format!("{name:<10}"));
            output.line(&format!("{name}{}", output.safe(&text)))?;
        }
        Ok(())
    })
    .await
}

fn lines(status: &Status, own: bool) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let engine = if own {
        "not running; started when needed".to_owned()
    } else {
        let uptime = text::duration(status.uptime_ms as f64 / 1000.0);
        let active = text::counted(status.active_replies, "answer");
        format!(
            "running for {uptime} (process {}), {active} being written",
            status.pid
        )
    };
    lines.push(("Engine", engine));
    let here = |id: &String| {
        if status.ready_models.contains(id) {
            ""
        } else {
            " (not on this machine yet)"
        }
    };
    let model = status
        .chat_model
        .as_ref()
        .map_or_else(|| "none".to_owned(), |id| format!("{id}{}", here(id)));
    lines.push(("Model", model));
    for model in &status.loaded_models {
        let (memory, window) = (text::size(model.memory_bytes), text::count(model.context_length));
        lines.push((
            "Loaded",
            format!(
                "{} on {}, {memory}, window {window} tokens",
                model.id, model.device
            ),
        ));
    }
    let machine = &status.machine;
    let profile = match machine.profile {
        ModelProfile::Small => "small",
        ModelProfile::Standard => "standard",
        ModelProfile::Large => "large",
    };
    let chosen = if machine.profile_overridden {
        "chosen by you"
    } else {
        "from its memory"
    };
    let may_take = machine.memory_limit_bytes.map_or_else(String::new, |limit| {
        format!(", models may take {}", text::size(limit))
    });
    lines.push((
        "Machine",
        format!(
            "{}, {} memory ({} free{may_take}); {profile} models ({chosen})",
            text::counted(machine.processors, "processor"),
            text::size(machine.memory_bytes),
            text::size(machine.free_memory_bytes),
        ),
    ));
    let database = &status.database;
    let opens = match database.protection {
        ProtectionKind::Keychain => "the system's keychain",
        ProtectionKind::Passphrase => "a passphrase",
        ProtectionKind::KeyFile => "a key file",
    };
    let (chats, messages) = (
        text::counted(database.chats, "chat"),
        text::counted(database.messages, "message"),
    );
    lines.push((
        "Database",
        format!(
            "{chats}, {messages}, {}; encrypted, opened by {opens}",
            text::size(database.size_bytes)
        ),
    ));
    if database.incognito_chats > 0 {
        lines.push((
            "Incognito",
            format!(
                "{}, in memory only",
                text::counted(database.incognito_chats, "chat")
            ),
        ));
    }
    let latency = &status.latency;
    if latency.replies > 0 {
        let (first, speed) = (latency.first_token_ms, latency.decode_tokens_per_second);
        lines.push((
            "Speed",
            format!(
                "first word after {:.0} ms (half of the answers; 95 %: {:.0} ms), then {:.0} tokens/s",
                first.p50, first.p95, speed.p50
            ),
        ));
    }
    lines.push(("Home", status.home.clone()));
    lines.push(("Version", status.version.clone()));
    lines
}
