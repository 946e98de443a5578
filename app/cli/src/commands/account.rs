//! `hearth account`: several devices, one memory.

use std::io::Read;

use hearth_api::Client;
use hearth_api::methods::Empty;
use hearth_api::methods::sync::{
    ChangePhrase, ChangePhraseParams, CreateAccount, Drill, DrillParams, FindAccount, GetSyncStatus,
    MoveAccount, ProposePhrase, RecoverAccount,
};
use hearth_api::types::{
    AccountCreateParams, FindParams, FoundAccount, MoveParams, RecoverParams, SyncStatus,
};
use zeroize::Zeroizing;

use super::sync::{say_state, say_waits};
use super::{confirm, with_session};
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
            dry_run,
            name,
        } => {
            let phrase = typed_phrase(output)?;
            with_session(profile, Want::Lasting, output, async |session| {
                if dry_run || output.can_ask() {
                    let params = FindParams {
                        server: server.clone(),
                        phrase: phrase.to_string(),
                    };
                    let found = session.client.call::<FindAccount>(params).await?;
                    if dry_run && output.json {
                        return output.value(&found);
                    }
                    show_found(&found, output)?;
                    if dry_run {
                        return Ok(());
                    }
                    let question = if keep_devices {
                        "Become a device of it, beside those?"
                    } else {
                        "Become a device of it, and shut those out for good, as lost ones should be? (--keep-devices lets them stay.)"
                    };
                    confirm(output, false, question)?;
                }
                let params = RecoverParams {
                    server,
                    phrase: phrase.to_string(),
                    keep_devices,
                    name,
                };
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
                session.greeted().await;
                let status = session.client.call::<GetSyncStatus>(Empty {}).await?;
                if output.json {
                    return output.value(&status);
                }
                show(&status, output)
            })
            .await
        }
        Args::Move { server, invitation } => {
            with_session(profile, Want::Lasting, output, async |session| {
                let params = MoveParams { server, invitation };
                let status = session.client.call::<MoveAccount>(params).await?;
                if output.json {
                    return output.value(&status);
                }
                output.line("The account has moved. Leave the old server running until every device has followed: hearth sync doctor")?;
                say_state(&status, output)
            })
            .await
        }
        Args::NewPhrase { propose } => {
            with_session(profile, Want::Brief, output, async |session| {
                new_phrase(&session.client, propose, output).await
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

/// What there is, before anything changes.
fn show_found(found: &FoundAccount, output: &Output) -> Result<(), Failure> {
    let others = text::counted(found.devices.len() as u64, "device");
    output.line(&format!(
        "The phrase opens account {}…, with {others}. The newest entry that the server shows of it was made {}: if you know of \
         a later change of your devices, the server hides something.",
        &found.account[..8.min(found.account.len())],
        text::ago(found.head_at_ms, text::now_ms())
    ))
}

async fn new_phrase(client: &Client, propose: bool, output: &Output) -> Result<(), Failure> {
    if propose {
        let proposed = client.call::<ProposePhrase>(Empty {}).await?;
        return if output.json {
            output.value(&proposed)
        } else {
            output.line(&proposed.phrase)
        };
    }
    let (old, new) = if output.can_ask() {
        let old = secret::ask(output, "The recovery phrase in force, 24 words")?;
        let drill = DrillParams { phrase: old.clone() };
        client.call::<Drill>(drill).await?;
        let proposed = client.call::<ProposePhrase>(Empty {}).await?.phrase;
        show_words(&proposed, output)?;
        let again = secret::ask(output, "The new phrase, to show that you have it")?;
        if again.split_whitespace().ne(proposed.split(' ')) {
            return Err(Failure::usage(
                "These aren't the words above. Nothing was changed; the old phrase is in force.".to_owned(),
            ));
        }
        (old, proposed)
    } else {
        let mut typed = Zeroizing::new(String::new());
        std::io::stdin().take(4096).read_to_string(&mut typed)?;
        let mut lines = typed.lines().filter(|line| !line.trim().is_empty());
        let mut line = || lines.next().map(|line| Zeroizing::new(line.to_owned()));
        let (Some(old), Some(new), None) = (line(), line(), line()) else {
            return Err(Failure::usage(
                "Two lines are needed on standard input: the phrase in force, and the new one (`hearth account new-phrase \
                 --propose` makes one)."
                    .to_owned(),
            ));
        };
        (old, new)
    };
    let status = client
        .call::<ChangePhrase>(ChangePhraseParams { old, new })
        .await?;
    if output.json {
        return output.value(&status);
    }
    output.line("The new phrase is in force. The old one gets nothing back any more.")
}

fn show_phrase(phrase: &str, output: &Output) -> Result<(), Failure> {
    output
        .line("Your recovery phrase. Write it down on paper, now: it is shown this once and kept nowhere.")?;
    show_words(phrase, output)?;
    output.line("Whoever has it has everything. Prove that you have it right: hearth account drill")
}

fn show_words(phrase: &str, output: &Output) -> Result<(), Failure> {
    let words: Vec<&str> = phrase.split(' ').collect();
    for (row, four) in words.chunks(4).enumerate() {
        let line: Vec<String> = four
            .iter()
            .enumerate()
            .map(|(place, word)| format!("{:2} {word:10}", row * 4 + place + 1))
            .collect();
        output.line(&format!("  {}", line.join(" ").trim_end()))?;
    }
    Ok(())
}

fn show(status: &SyncStatus, output: &Output) -> Result<(), Failure> {
    say_state(status, output)?;
    let Some(account) = &status.account else {
        return Ok(());
    };
    output.line(&format!("account  {account}"))?;
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
