//! `hearth sync`: how devices keep up with each other.

use hearth_api::methods::Empty;
use hearth_api::methods::engine::Watch;
use hearth_api::methods::sync::{DismissFindings, GetSyncStatus, SyncOnce, SyncOnceParams, SyncRestored};
use hearth_api::types::{EngineEvent, FindingKind, SyncState, SyncStatus};
use hearth_api::{Client, Update};

use super::with_session;
use crate::args::Sync as Args;
use crate::connect::{Profile, Want};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

pub(super) async fn run(profile: &Profile, args: Args, output: &Output) -> Result<(), Failure> {
    let want = if matches!(args, Args::Watch) {
        Want::Lasting
    } else {
        Want::Brief
    };
    with_session(profile, want, output, async |session| {
        let client = &session.client;
        match args {
            Args::Once { limit } => {
                let params = SyncOnceParams {
                    limit_seconds: Some(limit),
                };
                let status = client.call::<SyncOnce>(params).await?;
                if output.json {
                    return output.value(&status);
                }
                say_state(&status, output)
            }
            Args::Watch => watch(client, output).await,
            Args::Doctor { restored, dismiss } => {
                if dismiss {
                    client.call::<DismissFindings>(Empty {}).await?;
                }
                if restored {
                    client.call::<SyncRestored>(Empty {}).await?;
                }
                session.greeted().await;
                let status = client.call::<GetSyncStatus>(Empty {}).await?;
                if output.json {
                    return output.value(&status);
                }
                doctor(&status, output)
            }
        }
    })
    .await
}

/// One line: how it stands.
pub(super) fn say_state(status: &SyncStatus, output: &Output) -> Result<(), Failure> {
    output.line(match status.state {
        SyncState::NoAccount => {
            "This profile belongs to no account: `hearth account create`, or `hearth devices pair`."
        }
        SyncState::NoServer => {
            "The account has no server, and none of its other devices is met on the local network: everything works, and is \
             exchanged when one is."
        }
        SyncState::LocalNetwork => return output.line(&on_local_network(status)),
        SyncState::Offline if status.problem.is_some() => "Offline: everything works here.",
        SyncState::Offline => "Offline: everything works, and goes out as soon as the server is reached.",
        SyncState::Connecting if status.problem.is_some() => "Not connected: everything works here.",
        SyncState::Connecting => "Connecting: the server hasn't answered yet. Everything works meanwhile.",
        SyncState::CatchingUp => "Catching up.",
        SyncState::Live if status.settled && status.changed_here == 0 => "In sync.",
        SyncState::Live => "Connected; some of it is still on its way.",
        SyncState::Revoked => {
            "This device was shut out of the account. What it has stays here, and nothing more is synced."
        }
    })
}

fn on_local_network(status: &SyncStatus) -> String {
    let met = status
        .devices
        .iter()
        .filter(|device| status.met.contains(&device.device));
    let names: Vec<String> = met
        .map(|device| {
            let id = &device.device[..8.min(device.device.len())];
            text::one_line(if device.name.is_empty() { id } else { &device.name }, 40)
        })
        .collect();
    let with = names.join(" and ");
    if status.server.is_none() {
        format!("On the local network with {with}.")
    } else {
        format!(
            "On the local network with {with}. The server has yet to get what was exchanged; its receipts are pending."
        )
    }
}

/// What waits and why; the last problem.
pub(super) fn say_waits(status: &SyncStatus, output: &Output) -> Result<(), Failure> {
    for wait in &status.waits {
        output.line(&text::sentence(wait))?;
    }
    if let Some(problem) = status
        .problem
        .as_ref()
        .filter(|problem| !status.waits.contains(problem))
    {
        output.line(&text::sentence(problem))?;
    }
    let now = text::now_ms();
    for finding in &status.findings {
        let word = match finding.kind {
            FindingKind::Proof => "PROOF OF AN ATTACK",
            FindingKind::Suspicion => "Suspicion",
            FindingKind::Damage => "Damage",
        };
        let known = status
            .devices
            .iter()
            .find(|device| Some(&device.device) == finding.device.as_ref());
        let whose = known.map_or(String::new(), |device| {
            let name = if device.name.is_empty() {
                &device.device[..8.min(device.device.len())]
            } else {
                &device.name
            };
            format!(" about {}", text::one_line(name, 40))
        });
        let when = if finding.times == 1 {
            text::ago(finding.last_at_ms, now)
        } else {
            format!(
                "first {}, last {}, {} times",
                text::ago(finding.first_at_ms, now),
                text::ago(finding.last_at_ms, now),
                finding.times
            )
        };
        output.line(&format!("{word}{whose}: {} ({when}).", finding.text))?;
    }
    if !status.findings.is_empty() {
        output.aside("When you have looked into it: hearth sync doctor --dismiss");
    }
    Ok(())
}

fn doctor(status: &SyncStatus, output: &Output) -> Result<(), Failure> {
    say_state(status, output)?;
    say_waits(status, output)?;
    if status.account.is_none() {
        return Ok(());
    }
    let pending = status.changed_here + status.unsealed + status.unconfirmed + status.unsent;
    if pending > 0 {
        output.line(&format!(
            "On its way from here: {} changed, {} to be sealed, {} not confirmed, {}.",
            status.changed_here,
            status.unsealed,
            status.unconfirmed,
            text::counted(status.unsent, "statement"),
        ))?;
    }
    let now = text::now_ms();
    for device in status.devices.iter().filter(|device| !device.this) {
        let name = if device.name.is_empty() {
            &device.device[..8.min(device.device.len())]
        } else {
            device.name.as_str()
        };
        let mut parts = Vec::new();
        if device.revoked {
            parts.push("shut out".to_owned());
        } else {
            parts.push(device.last_seen_ms.map_or_else(
                || {
                    "hasn't vouched for its state yet; if its pairing was cut short, shut it out with `hearth devices revoke`"
                        .to_owned()
                },
                |at| format!("last seen {}", text::ago(at, now)),
            ));
            if status.met.contains(&device.device) {
                parts.push("met on the local network now".to_owned());
            }
            if let Some(at) = device.last_verified_ms {
                parts.push(format!("last verified {}", text::ago(at, now)));
            }
        }
        if device.epoch < status.epoch && !device.revoked {
            parts.push("hasn't taken the newest keys on: bring it online".to_owned());
        }
        if device.open_erasures > 0 {
            parts.push(format!(
                "{} not confirmed",
                text::counted(device.open_erasures, "erasure")
            ));
        }
        output.line(&format!("{}: {}.", text::one_line(name, 40), parts.join("; ")))?;
    }
    let overdue = status.erasures.iter().filter(|erasure| erasure.overdue).count();
    if overdue > 0 {
        output.line(&format!(
            "{} not complete after 30 days: `hearth erasures list` says whom they wait for; a device that is gone for good \
             can be shut out.",
            text::counted(overdue as u64, "erasure")
        ))?;
    }
    Ok(())
}

async fn watch(client: &Client, output: &Output) -> Result<(), Failure> {
    let mut call = client.stream::<Watch>(Empty {});
    let status = client.call::<GetSyncStatus>(Empty {}).await?;
    if output.json {
        output.value(&status)?;
    } else {
        say_state(&status, output)?;
    }
    loop {
        match call.next().await {
            Some(Update::Event(event)) => {
                let said = matches!(
                    event,
                    EngineEvent::SyncStateChanged { .. }
                        | EngineEvent::SyncApplied { .. }
                        | EngineEvent::DevicesChanged
                        | EngineEvent::ErasuresChanged
                        | EngineEvent::SyncFindings
                        | EngineEvent::Stopping
                );
                if !said {
                    continue;
                }
                if output.json {
                    output.value(&event)?;
                    continue;
                }
                match event {
                    EngineEvent::SyncFindings => {
                        say_waits(&client.call::<GetSyncStatus>(Empty {}).await?, output)?;
                    }
                    EngineEvent::SyncStateChanged { .. } => {
                        say_state(&client.call::<GetSyncStatus>(Empty {}).await?, output)?;
                    }
                    EngineEvent::SyncApplied { memories, chats } => {
                        let arrived: Vec<String> = [(memories, "memory"), (chats, "chat")]
                            .into_iter()
                            .filter(|(number, _)| *number > 0)
                            .map(|(number, what)| text::counted(number, what))
                            .collect();
                        if !arrived.is_empty() {
                            output.line(&format!("Arrived: {}.", arrived.join(", ")))?;
                        }
                    }
                    EngineEvent::DevicesChanged => output.line("The account's devices changed.")?,
                    EngineEvent::ErasuresChanged => {
                        output.line("Something was erased everywhere, or confirmed.")?;
                    }
                    _ => output.line("The engine ends.")?,
                }
            }
            Some(Update::Done(done)) => return Ok(done.map(|_| ())?),
            None => return Ok(()),
        }
    }
}
