//! For tests alone: a profile's device with its real journal and documents, and whoever drives it in place of the engine's
//! task. It has no connection and no clock.

use hearth_protocol::id::Hash;
use hearth_store::{Store, SyncReport};
use hearth_sync::device::{Device, Input, Notice, Output};

use super::machine::{Effects, Machine, Outgoing, Planned};
use crate::error::EngineError;

/// Something for the other end of the connection, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToSend {
    /// A frame of the control stream.
    Frame(Vec<u8>),
    /// A stream of its own.
    Batch(Vec<u8>),
    /// The connection is to be closed: the device has forgotten it.
    Close,
}

/// What came of a step, after its transactions.
#[derive(Debug, Default)]
pub struct Done {
    /// To be sent, if there is a connection.
    pub send: Vec<ToSend>,
    /// What the person or the face should know.
    pub notices: Vec<Notice>,
    /// When to step with [`Input::Tick`] at the latest; ms since the epoch.
    pub wake_at_ms: Option<u64>,
    /// What the transactions changed.
    pub reports: Vec<SyncReport>,
}

/// A profile's device. After an error it is dropped and loaded again.
#[derive(Debug)]
pub struct Driver {
    machine: Machine,
}

impl Driver {
    /// The profile's device; none when it has no account.
    pub fn load(store: &mut Store) -> Result<Option<Self>, EngineError> {
        Ok(Machine::load(store)?.map(|machine| Self { machine }))
    }

    /// Keeps a device that has just been made.
    pub fn begin(
        store: &mut Store,
        device: Device,
        outputs: Vec<Output>,
        now_ms: i64,
    ) -> Result<Self, EngineError> {
        Machine::begin(store, device, outputs, now_ms).map(|machine| Self { machine })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.machine.device
    }

    /// Takes an input, and hands over what was changed and erased here; without an input only that.
    pub fn step(
        &mut self,
        store: &mut Store,
        input: Option<Input>,
        now_ms: i64,
    ) -> Result<Done, EngineError> {
        let planned = match input {
            Some(input) => self.machine.step(store, input, now_ms)?,
            None => Planned::default(),
        };
        let effects = self.machine.finish(store, planned, now_ms)?;
        if effects.notices.contains(&Notice::UpToDate) && !self.machine.joined {
            self.machine.now_joined(store, now_ms)?;
        }
        Ok(done(effects))
    }

    /// An erasure's certificate, and whether it is complete; none: there is no such erasure.
    pub fn certificate(
        &self,
        store: &Store,
        erase: &Hash,
        now_ms: i64,
    ) -> Result<Option<(Vec<u8>, bool)>, EngineError> {
        self.machine.certificate(store, erase, now_ms)
    }
}

fn done(effects: Effects) -> Done {
    let send = effects.outgoing.into_iter().map(|outgoing| match outgoing {
        Outgoing::Frame(bytes) => ToSend::Frame(bytes),
        Outgoing::Batch(bytes, _) => ToSend::Batch(bytes),
        Outgoing::Close(_) => ToSend::Close,
    });
    Done {
        send: send.collect(),
        notices: effects.notices,
        wake_at_ms: effects.wake_at_ms,
        reports: effects.reports,
    }
}
