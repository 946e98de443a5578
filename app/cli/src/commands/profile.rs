//! `hearth profile`: protection, backup, restore, wipe.

use std::path::Path;

use hearth_api::methods::profile::{
    Backup, BackupParams, ChangeProtection, ChangeProtectionParams, Restore, RestoreParams, Wipe, WipeParams,
};
use hearth_api::methods::{Empty, engine::GetStatus};
use hearth_api::types::{NewProtection, ProtectionKind, Status};
use serde_json::json;

use super::{confirm, with_session};
use crate::args::{Profile as Args, ProtectWith};
use crate::connect::{Profile, Session, Want};
use crate::failure::Failure;
use crate::output::Output;
use crate::secret::{self, Passphrase};
use crate::text;

pub(super) async fn run(profile: &Profile, args: Args, output: &Output) -> Result<(), Failure> {
    with_session(profile, Want::Brief, output, async |session| match args {
        Args::ChangePassphrase {
            to,
            new_passphrase_file,
        } => protect(profile, session, to, new_passphrase_file.as_deref(), output).await,
        Args::Backup {
            file,
            backup_passphrase_file,
        } => backup(session, &file, backup_passphrase_file.as_deref(), output).await,
        Args::Restore {
            file,
            backup_passphrase_file,
            yes,
        } => restore(session, &file, backup_passphrase_file.as_deref(), yes, output).await,
        Args::Wipe { yes } => wipe(session, yes, output).await,
    })
    .await
}

async fn protect(
    profile: &Profile,
    session: &Session,
    to: ProtectWith,
    file: Option<&Path>,
    output: &Output,
) -> Result<(), Failure> {
    let status = session.client.call::<GetStatus>(Empty {}).await?;
    let current_passphrase = if status.database.protection == ProtectionKind::Passphrase {
        Some(match profile.passphrase() {
            Some(given) => given.clone(),
            None => secret::ask(output, "Present passphrase")?,
        })
    } else {
        None
    };
    let (new, told) = match to {
        ProtectWith::Passphrase => {
            let passphrase = new_passphrase(file, output)?;
            let told = "The new passphrase opens the profile now. Nobody can recover a lost one.";
            (NewProtection::Passphrase { passphrase }, told.to_owned())
        }
        ProtectWith::Keychain => (
            NewProtection::Keychain,
            "The key is in this system's keychain now.".to_owned(),
        ),
        ProtectWith::KeyFile => {
            let path = profile.key_file.clone();
            let told = format!(
                "The key is in {} now; whoever has it and the profile can read your chats.",
                path.display()
            );
            (NewProtection::KeyFile { path }, told)
        }
    };
    session
        .client
        .call::<ChangeProtection>(ChangeProtectionParams {
            current_passphrase,
            new,
        })
        .await?;
    if output.json {
        return output.value(&json!({"changed": true}));
    }
    output.line(&told)
}

fn new_passphrase(file: Option<&Path>, output: &Output) -> Result<Passphrase, Failure> {
    if let Some(path) = file {
        return secret::from_file(path);
    }
    match secret::from_environment("HEARTH_NEW_PASSPHRASE")? {
        Some(passphrase) => Ok(passphrase),
        None => secret::ask_new(output, "the profile"),
    }
}

async fn backup(
    session: &Session,
    file: &Path,
    passphrase_file: Option<&Path>,
    output: &Output,
) -> Result<(), Failure> {
    let path = std::path::absolute(file).map_err(|error| Failure::file(file, &error))?;
    if path.exists() {
        return Err(Failure::usage(format!(
            "{} exists already; nothing was written.",
            path.display()
        )));
    }
    let passphrase = match passphrase_file {
        Some(file) => secret::from_file(file)?,
        None => secret::ask_new(output, "the backup")?,
    };
    let params = BackupParams {
        path: path.clone(),
        passphrase,
    };
    let done = session.client.call::<Backup>(params).await?;
    if output.json {
        return output.value(&json!({"file": path, "bytes": done.bytes}));
    }
    output.line(&format!(
        "Wrote {} to {}. Only its passphrase opens it.",
        text::size(done.bytes),
        path.display()
    ))
}

async fn restore(
    session: &Session,
    file: &Path,
    passphrase_file: Option<&Path>,
    yes: bool,
    output: &Output,
) -> Result<(), Failure> {
    let path = file.canonicalize().map_err(|error| Failure::file(file, &error))?;
    let passphrase = match passphrase_file {
        Some(file) => secret::from_file(file)?,
        None => secret::ask(output, "The backup's passphrase")?,
    };
    let status = session.client.call::<GetStatus>(Empty {}).await?;
    let replace = status.database.messages > 0;
    if replace {
        confirm(
            output,
            yes,
            &format!(
                "The profile holds {}. Replace everything by the backup?",
                holdings(&status)
            ),
        )?;
    }
    let params = RestoreParams {
        path,
        passphrase,
        replace,
    };
    session.client.call::<Restore>(params).await?;
    let status = session.client.call::<GetStatus>(Empty {}).await?;
    if output.json {
        return output.value(&json!({"chats": status.database.chats, "messages": status.database.messages}));
    }
    output.line(&format!("Restored. The profile holds {} now.", holdings(&status)))
}

async fn wipe(session: &Session, yes: bool, output: &Output) -> Result<(), Failure> {
    let status = session.client.call::<GetStatus>(Empty {}).await?;
    let question = format!(
        "Delete {}, all settings and the key for good? Copies of the profile's folder can't be opened then either. Models stay.",
        holdings(&status)
    );
    confirm(output, yes, &question)?;
    session.client.call::<Wipe>(WipeParams { confirm: true }).await?;
    session.profile.remove_own_key_file()?;
    if output.json {
        return output.value(&json!({"wiped": true}));
    }
    output.line("Wiped. Nothing of the profile's chats and settings is left; backups and exports are yours to delete.")
}

fn holdings(status: &Status) -> String {
    let database = &status.database;
    format!(
        "{} with {}",
        text::counted(database.chats, "chat"),
        text::counted(database.messages, "message")
    )
}
