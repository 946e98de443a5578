//! What is kept in memory of an account while somebody uses it: its control log's meaning and its logs' heads. Small: no
//! body, no entry, no statement.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use hearth_protocol::codec::Map;
use hearth_protocol::control::{Account, ControlEntry};
use hearth_protocol::hash::Signed;
use hearth_protocol::id::{AccountId, DeviceId, Hash, LogId, VerifyKey};
use hearth_protocol::registry::Table;
use hearth_protocol::vector::{VersionVector, vector_digest};

use crate::config::Role;
use crate::items::Log;
use crate::rows::{AccountRow, DeviceRow, LogRow, Rows};
use crate::store::{Space, Store, StoreError};

/// An account in memory.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) control: Account,
    pub(crate) row: AccountRow,
    pub(crate) logs: BTreeMap<LogId, LogRow>,
    pub(crate) numbers: BTreeMap<u32, LogId>,
    /// The shards that came with the newest table, while it is known.
    pub(crate) shards_changed: Vec<u8>,
}

impl Loaded {
    /// A new account.
    pub(crate) fn new(control: Account) -> Self {
        Self {
            control,
            row: AccountRow::default(),
            logs: BTreeMap::new(),
            numbers: BTreeMap::new(),
            shards_changed: Vec::new(),
        }
    }

    /// Reads an account: `None` if there is none.
    pub(crate) fn read<S: Store>(rows: &Rows<S>, id: &AccountId) -> Result<Option<Self>, StoreError> {
        let Some(row) = rows.get::<AccountRow>(id, Space::Account, ACCOUNT_KEY)? else {
            return Ok(None);
        };
        let damaged = || StoreError::Damaged("the control log doesn't replay");
        let genesis: ControlEntry = rows.need(id, Space::Control, &0u64.to_be_bytes())?;
        // Signatures were checked before the entries were written.
        let mut control = Account::resume(std::iter::once(&genesis)).map_err(|_| damaged())?;
        while let Some(entry) = control_entry(rows, id, control.number() + 1)? {
            control.append_trusted(&entry).map_err(|_| damaged())?;
        }
        let mut loaded = Self::new(control);
        if !row.is_plausible() {
            return Err(StoreError::Damaged("an account's counters make no sense"));
        }
        loaded.row = row;
        let mut plausible = true;
        rows.values::<LogRow>(id, Space::Logs, &[], &mut |key, _, row| {
            let log = row.open.statement.log(id);
            plausible &= log.0 == *key && row.is_plausible();
            loaded.numbers.insert(row.number, log);
            loaded.logs.insert(log, row);
            ControlFlow::Continue(())
        })?;
        if !plausible {
            return Err(StoreError::Damaged("a log's row makes no sense"));
        }
        let logs = loaded.row.logs as usize;
        if loaded.logs.len() != logs || loaded.numbers.len() != logs {
            return Err(StoreError::Damaged("a log is missing"));
        }
        Ok(Some(loaded))
    }

    pub(crate) fn id(&self) -> AccountId {
        self.control.id()
    }

    /// Where every log stands.
    pub(crate) fn vector(&self) -> VersionVector {
        // There are never more logs than a vector holds: opening one is refused then.
        Map::new(self.logs.iter().map(|(log, row)| (*log, row.head))).unwrap_or_default()
    }

    pub(crate) fn digest(&self) -> Hash {
        vector_digest(&self.id(), &self.vector())
    }

    /// The log with its place among the rows.
    pub(crate) fn log<'a>(&'a self, account: &'a AccountId, id: &'a LogId) -> Option<Log<'a>> {
        self.logs.get(id).map(|row| Log { account, id, row })
    }

    /// The log that a number in a key stands for.
    pub(crate) fn by_number<'a>(
        &'a self,
        account: &'a AccountId,
        number: u32,
    ) -> Result<Log<'a>, StoreError> {
        self.numbers
            .get(&number)
            .and_then(|id| self.log(account, id))
            .ok_or(StoreError::Damaged("a log is missing"))
    }

    /// How many items aren't folded away in all logs of the device that writes this one.
    pub(crate) fn unfolded(&self, log: &LogId) -> u64 {
        let Some(writer) = self.logs.get(log).map(|row| row.open.statement.device) else {
            return 0;
        };
        self.logs
            .values()
            .filter(|row| row.open.statement.device == writer)
            .map(|row| row.head.seq.saturating_sub(row.folded.seq))
            .fold(0, u64::saturating_add)
    }

    /// The key that signs the items of a log, whoever may still write it.
    pub(crate) fn log_key(&self, row: &LogRow) -> Option<VerifyKey> {
        let device = &row.open.statement.device;
        self.control.devices().get(device).map(|member| member.keys.log)
    }

    /// Whether the account lives elsewhere by now.
    pub(crate) fn moved(&self, role: Role, own: &VerifyKey) -> bool {
        role == Role::Server && self.row.arrived && !self.is_here(own)
    }

    /// Whether the control log names this server.
    pub(crate) fn is_here(&self, own: &VerifyKey) -> bool {
        self.control.server().is_some_and(|server| server.key == *own)
    }

    /// Writes the counters.
    pub(crate) fn save<S: Store>(&self, rows: &mut Rows<S>) -> Result<(), StoreError> {
        rows.put(&self.id(), Space::Account, ACCOUNT_KEY, &self.row)
    }

    /// Writes a log.
    pub(crate) fn save_log<S: Store>(&self, rows: &mut Rows<S>, log: &LogId) -> Result<(), StoreError> {
        match self.logs.get(log) {
            Some(row) => rows.put(&self.id(), Space::Logs, &log.0, row),
            None => Ok(()),
        }
    }
}

/// The key of the one row of [`Space::Account`] that every account has.
pub(crate) const ACCOUNT_KEY: &[u8] = b"";

/// The key of a row of [`Space::Account`] that is there after the account came from another server, or the store was put
/// back from a backup: until when devices are
/// believed to bring what it had, in milliseconds since 1970; 0: nobody has come yet.
pub(crate) const RESTORED_KEY: &[u8] = b"restored";

/// The control entry with this number.
pub(crate) fn control_entry<S: Store>(
    rows: &Rows<S>,
    account: &AccountId,
    number: u64,
) -> Result<Option<ControlEntry>, StoreError> {
    rows.get(account, Space::Control, &number.to_be_bytes())
}

/// The first `count` control entries.
pub(crate) fn history<S: Store>(
    rows: &Rows<S>,
    account: &AccountId,
    count: u64,
) -> Result<Vec<ControlEntry>, StoreError> {
    let mut entries = Vec::new();
    rows.values::<ControlEntry>(account, Space::Control, &[], &mut |_, _, entry| {
        if entry.statement.number >= count {
            return ControlFlow::Break(());
        }
        entries.push(entry);
        ControlFlow::Continue(())
    })?;
    Ok(entries)
}

/// What is remembered of a device.
pub(crate) fn device_row<S: Store>(
    rows: &Rows<S>,
    account: &AccountId,
    device: &DeviceId,
) -> Result<DeviceRow, StoreError> {
    Ok(rows.get(account, Space::Devices, &device.0)?.unwrap_or_default())
}

/// The registry's table.
pub(crate) fn table<S: Store>(
    rows: &Rows<S>,
    account: &AccountId,
) -> Result<Option<Signed<Table>>, StoreError> {
    rows.get(account, Space::Table, b"")
}
