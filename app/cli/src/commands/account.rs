//! `hearth account`: several devices, one memory.

use std::io::Read;

use hearth_api::methods::Empty;
use hearth_api::methods::sync::{CreateAccount, Drill, DrillParams, GetSyncStatus, RecoverAccount};
use hearth_api::types::{AccountCreateParams, RecoverParams, SyncStatus};
use zeroize::Zeroizing;

use super::sync::{say_state, say_waits};
use super::with_session;
use crate::args::Account as Args;
use crate::connect::{Profile, Want};
use crate::failure::Failure;
use crate::output::Output;
use crate::secret;
use crate::text;

pub(super) async fn run(profile: &Profile, args: Args, output: &Output) -> Result<(), Failure> {
    match args {
        Args::Create {
            server,
            no_server: _,
            invitation,
            name,
        } => {
            let params = AccountCreateParams {
                server,
                invitation,
                name,
            };
            with_session(profile, Want::Lasting, output, async |session| {
                let created = session.client.call::<CreateAccount>(params).await?;
                if output.json {
                    return output.value(&created);
                }
                show_phrase(&created.phrase, output)?;
                say_state(&created.status, output)?;
                output.aside("Let another device in: on it, run `hearth devices pair --server ADDRESS`, with this address:");
                output.aside(created.status.server_address.as_deref().unwrap_or("(the account has no server)"));
                Ok(())
            })
            .await
        }
        Args::Recover {
            server,
            keep_devices,
            name,
        } => {
            let params = RecoverParams {
                server,
                phrase: typed_phrase(output)?.to_string(),
                keep_devices,
                name,
            };
            with_session(profile, Want::Lasting, output, async |session| {
                let recovered = session.client.call::<RecoverAccount>(params).await?;
                if output.json {
                    return output.value(&recovered);
                }
                output.line(&format!(
                    "The account is back. Its newest entry that the server showed was made {}; whether it hides a newer one \
                     can't be verified.",
                    text::ago(recovered.head_at_ms, text::now_ms())
                ))?;
                say_state(&recovered.status, output)
            })
            .await
        }
        Args::Status => {
            with_session(profile, Want::Brief, output, async |session| {
                let status = session.client.call::<GetSyncStatus>(Empty {}).await?;
                if output.json {
                    return output.value(&status);
                }
                show(&status, output)
            })
            .await
        }
        Args::Drill => {
            let phrase = typed_phrase(output)?;
            with_session(profile, Want::Brief, output, async |session| {
                let drilled = session.client.call::<Drill>(DrillParams { phrase }).await?;
                if output.json {
                    return output.value(&drilled);
                }
                output.line(&format!(
                    "The phrase works: it is this account's, and opens its keys (epoch {}).",
                    drilled.epoch
                ))
            })
            .await
        }
    }
}

fn show_phrase(phrase: &str, output: &Output) -> Result<(), Failure> {
    output
        .line("Your recovery phrase. Write it down on paper, now: it is shown this once and kept nowhere.")?;
    let words: Vec<&str> = phrase.split(' ').collect();
    for (row, four) in words.chunks(4).enumerate() {
        let line: Vec<String> = four
            .iter()
            .enumerate()
            .map(|(place, word)| format!("{:2} {word:10}", row * 4 + place + 1))
            .collect();
        output.line(&format!("  {}", line.join(" ").trim_end()))?;
    }
    output.line("Whoever has it has everything. Prove that you have it right: hearth account drill")
}

fn show(status: &SyncStatus, output: &Output) -> Result<(), Failure> {
    say_state(status, output)?;
    if let Some(account) = &status.account {
        output.line(&format!("account  {account}"))?;
    }
    if let Some(server) = &status.server_address {
        output.line(&format!("server   {server}"))?;
    }
    let devices = status.devices.iter().filter(|device| !device.revoked).count();
    output.line(&format!("devices  {devices}, keys of epoch {}", status.epoch))?;
    say_waits(status, output)
}

/// The phrase, from a person or from standard input; never from an argument.
fn typed_phrase(output: &Output) -> Result<Zeroizing<String>, Failure> {
    if output.can_ask() {
        return secret::ask(output, "Recovery phrase, 24 words");
    }
    let mut typed = Zeroizing::new(String::new());
    std::io::stdin().take(4096).read_to_string(&mut typed)?;
    Ok(typed)
}
