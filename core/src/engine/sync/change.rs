//! What changes of an account as a whole: its server, and its recovery phrase.

use hearth_protocol::control::ServerIdentity;
use hearth_sync::device::{Input, Keychain, Notice};
use hearth_sync::recovery::Phrase;
use zeroize::Zeroizing;

use super::super::{Engine, Result};
use super::machine::OsEntropy;
use super::run::Command;
use super::{PATIENCE, Running, reach, wait_notice};
use crate::error::EngineError;
use crate::types::{MoveParams, SyncState, SyncStatus};

impl Engine {
    /// Moves the account to another server. The other devices follow as soon as they ask the old one, which serves them until
    /// then; what it has erased stays erased, what the new one lacks devices bring.
    ///
    /// Where the new one asks for an invitation, and got none or a wrong one, the same again with a right one ends it.
    ///
    /// Errors: [`EngineError::Network`] when either server isn't reached or refuses, [`EngineError::InvalidRequest`] for an
    /// address that isn't one or is the account's own.
    pub async fn move_account(&self, params: MoveParams) -> Result<SyncStatus> {
        let _only = self.inner.sync.changing.lock().await;
        let running = self.running()?;
        let stranger = Keychain::random(&mut OsEntropy);
        let server = reach(&params.server, &stranger).await?;
        let before = running.ask(Command::Status).await??.server_address;
        let there = super::view::address(&server);
        if before == there {
            return self.show_invitation(&running, server, params.invitation).await;
        }
        self.online(&running).await?;
        let mut notices = running.notices();
        let input = Input::ChangeServer {
            server: Some(server),
            invitation: params.invitation.unwrap_or_default(),
        };
        running.step(input).await?;
        wait_notice(&mut notices, |notice| match notice {
            Notice::Moved(_) => Some(Ok(())),
            Notice::Dropped => Some(Err(changed_meanwhile())),
            _ => None,
        })
        .await??;
        let (status, live) = running
            .wait_for(PATIENCE, |status| {
                status.state == SyncState::Live && status.server_address == there
            })
            .await?;
        if live {
            return Ok(status);
        }
        let why = status.problem.unwrap_or_else(|| "it doesn't answer yet".into());
        Err(EngineError::Network(format!(
            "the account has moved, and its new server isn't reached: {why}"
        )))
    }

    /// The account belongs to this server, which hasn't taken it for want of a code: calls again, with this one.
    async fn show_invitation(
        &self,
        running: &Running,
        server: ServerIdentity,
        invitation: Option<String>,
    ) -> Result<SyncStatus> {
        let status = running.ask(Command::Status).await??;
        let Some(invitation) = invitation.filter(|_| !status.reached) else {
            return Err(EngineError::InvalidRequest(
                "the account is at this server already".into(),
            ));
        };
        // It is the server already, so that nothing but the code changes.
        let input = Input::ChangeServer {
            server: Some(server),
            invitation,
        };
        running.step(input).await?;
        self.online(running).await?;
        running.ask(Command::Status).await?
    }

    /// A fresh recovery phrase. Nothing changes by it: show it, have it written down, then call [`Engine::change_phrase`].
    pub fn propose_phrase(&self) -> Zeroizing<String> {
        Phrase::random(&mut OsEntropy).words()
    }

    /// Puts a new recovery phrase in the place of the old one, which gets nothing back any more.
    ///
    /// Errors: [`EngineError::InvalidRequest`] when the old one isn't the account's or the new one is no phrase;
    /// [`EngineError::Network`] when the server can't be asked.
    pub async fn change_phrase(&self, old: Zeroizing<String>, new: &str) -> Result<SyncStatus> {
        let _only = self.inner.sync.changing.lock().await;
        let running = self.running()?;
        let parse = |text: &str, which: &str| {
            Phrase::parse(text)
                .map_err(|error| EngineError::InvalidRequest(format!("the {which} phrase: {error}")))
        };
        let (from, to) = (parse(&old, "old")?, parse(new, "new")?);
        running
            .ask(|answer| Command::Drill(old, answer))
            .await?
            .map_err(|error| EngineError::InvalidRequest(format!("the old phrase: {error}")))?;
        self.online(&running).await?;
        let before = running.ask(Command::Status).await??.epoch;
        let mut notices = running.notices();
        let input = Input::NewPhrase {
            old: Box::new(from),
            new: Box::new(to),
        };
        running.step(input).await?;
        wait_notice(&mut notices, |notice| match notice {
            Notice::PhraseChanged => Some(Ok(())),
            Notice::Dropped => Some(Err(changed_meanwhile())),
            _ => None,
        })
        .await??;
        // The new phrase opens what comes from the next epoch on, which is wrapped to it.
        match running.wait_for(PATIENCE, |status| status.epoch > before).await? {
            (status, true) => Ok(status),
            (_, false) => Err(EngineError::Network(
                "the new phrase is in force, but the server hasn't taken the keys for it yet: run `hearth sync once`, then prove \
                 that the phrase works with `hearth account drill`"
                    .into(),
            )),
        }
    }
}

fn changed_meanwhile() -> EngineError {
    EngineError::Network("the account changed meanwhile: look at it and try again".into())
}
