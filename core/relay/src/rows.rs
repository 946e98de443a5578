//! What the relay writes into its store: typed rows over the store's bytes.

use std::ops::ControlFlow;

use hearth_protocol::codec::{DecodeError, List, Reader, Wire};
use hearth_protocol::hash::Signed;
use hearth_protocol::id::{AccountId, AgreementKey, Hash, InstanceToken, LogId};
use hearth_protocol::message::Holed;
use hearth_protocol::statement::LogOpen;
use hearth_protocol::vector::{Head, VersionVector};

use crate::store::{Space, Store, StoreError, Visit};

/// Defines a row: its fields in order.
macro_rules! row {
    ($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name { $($(#[$field_meta])* pub(crate) $field: $type),* }

        impl Wire for $name {
            const MIN_BYTES: usize = 0 $(+ <$type as Wire>::MIN_BYTES)*;
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.write(out);)*
            }
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self { $($field: Wire::read(reader)?),* })
            }
        }
    };
}
/// How many holes a log remembers until its author has confirmed that it knows of them.
pub(crate) const MAX_REMEMBERED_HOLES: usize = 1_024;

row! {
    /// Counters and roots of an account.
    struct AccountRow {
        /// Whether the control log has ever named this server: before, the account is still on its way here.
        arrived: bool,
        /// The cursor of the last erasure.
        erased_cursor: u64,
        /// The root of all that count.
        erased_root: Hash,
        /// The cursor of the last statement.
        statements: u64,
        /// The id of the registry's table; zeros before the first.
        table: Hash,
        /// How many logs there are.
        logs: u32,
        /// Bytes of bodies and shards.
        used_bytes: u64,
        /// Whether erasures came or went since `erased_root` was computed.
        root_stale: bool,
        /// Bytes of the control log.
        control_bytes: u64,
        /// Bytes of erasures and of their acknowledgements, about.
        erasure_bytes: u64,
        /// Holes that aren't folded away yet.
        holes: u64,
    }
}

/// No number that counts anything comes near this, so that adding to one never overflows.
const MAX_COUNT: u64 = 1 << 60;

/// No log's number comes near this; in keys it has two bytes.
const MAX_LOG_NUMBER: u32 = 1 << 15;

impl AccountRow {
    /// Whether the row can be one that was written: what its counters say is relied on.
    pub(crate) fn is_plausible(&self) -> bool {
        let counts = [
            self.erased_cursor,
            self.statements,
            self.used_bytes,
            self.control_bytes,
            self.erasure_bytes,
            self.holes,
        ];
        counts.iter().all(|count| *count < MAX_COUNT)
    }
}

impl LogRow {
    /// The same of a log's.
    pub(crate) fn is_plausible(&self) -> bool {
        self.number < MAX_LOG_NUMBER && self.folded.seq <= self.head.seq && self.head.seq < MAX_COUNT
    }
}

impl Default for AccountRow {
    fn default() -> Self {
        Self {
            arrived: false,
            erased_cursor: 0,
            erased_root: Hash::ZERO,
            statements: 0,
            table: Hash::ZERO,
            logs: 0,
            used_bytes: 0,
            root_stale: false,
            control_bytes: 0,
            erasure_bytes: 0,
            holes: 0,
        }
    }
}

row! {
    /// A log.
    struct LogRow {
        /// Stands for the log in keys of rows.
        number: u32,
        /// Who writes it.
        open: Signed<LogOpen>,
        /// Up to here there are no holes any more, only what lives.
        folded: Head,
        /// The last item.
        head: Head,
        /// The last item that brought a document key in.
        new_keys: u64,
        /// Items taken as holes, until the author has confirmed that it knows.
        holed: List<Holed, MAX_REMEMBERED_HOLES>,
    }
}

row! {
    /// What is remembered of a device.
    struct DeviceRow {
        /// The token it has used last.
        current: InstanceToken,
        /// The token it was offered last.
        offered: InstanceToken,
        /// Whether the next `Hello` may bring any token: the first one here, or the first after this server was restored.
        any_token: bool,
        /// This server was restored since its last `Hello`.
        restored: bool,
        /// The log that it wrote when it came first after that. It may have been put back from a backup of the same night,
        /// and have given out numbers of this log that neither side remembers.
        left: Option<LogId>,
        /// Its newest agreement key, once it has acknowledged an epoch.
        agreement: Option<AgreementKey>,
        /// The newest epoch it has acknowledged.
        epoch: u64,
        /// What it has said that it has.
        vector: VersionVector,
        /// The cursor of the last statement it has confirmed.
        statements: u64,
        /// When it was last here, in milliseconds since 1970, by this relay's clock.
        seen_ms: u64,
    }
}

impl Default for DeviceRow {
    fn default() -> Self {
        Self {
            current: InstanceToken([0; 16]),
            offered: InstanceToken([0; 16]),
            any_token: true,
            restored: false,
            left: None,
            agreement: None,
            epoch: 0,
            vector: VersionVector::default(),
            statements: 0,
            seen_ms: 0,
        }
    }
}

row! {
    /// A receipt that is owed.
    struct OwedRow {
        /// Bodies deleted.
        bodies: u64,
        /// Their bytes.
        bytes: u64,
    }
}

/// What is called for every decoded row: key, bytes, value.
pub(crate) type Keep<'a, T> = &'a mut dyn FnMut(&[u8], &[u8], T) -> ControlFlow<()>;

/// Typed access to a store.
#[derive(Debug)]
pub(crate) struct Rows<S> {
    pub(crate) store: S,
    /// Writes since the transaction began.
    pub(crate) writes: u64,
}

impl<S: Store> Rows<S> {
    pub(crate) fn begin(&mut self) -> Result<(), StoreError> {
        self.writes = 0;
        self.store.begin()
    }

    pub(crate) fn get<T: Wire>(
        &self,
        account: &AccountId,
        space: Space,
        key: &[u8],
    ) -> Result<Option<T>, StoreError> {
        let bytes = self.store.get(account, space, key)?;
        bytes.map(|bytes| decode(&bytes)).transpose()
    }

    /// A row that has to be there.
    pub(crate) fn need<T: Wire>(
        &self,
        account: &AccountId,
        space: Space,
        key: &[u8],
    ) -> Result<T, StoreError> {
        self.get(account, space, key)?
            .ok_or(StoreError::Damaged("a row is missing"))
    }

    pub(crate) fn put<T: Wire>(
        &mut self,
        account: &AccountId,
        space: Space,
        key: &[u8],
        value: &T,
    ) -> Result<(), StoreError> {
        self.put_bytes(account, space, key, &value.encode())
    }

    pub(crate) fn put_bytes(
        &mut self,
        account: &AccountId,
        space: Space,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StoreError> {
        self.writes += 1;
        self.store.put(account, space, key, value)
    }

    pub(crate) fn delete(&mut self, account: &AccountId, space: Space, key: &[u8]) -> Result<(), StoreError> {
        self.writes += 1;
        self.store.delete(account, space, key)
    }

    pub(crate) fn scan(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.store.scan(account, space, from, visit)
    }

    /// At most `limit` keys that begin with `prefix`, ascending.
    pub(crate) fn keys(
        &self,
        account: &AccountId,
        space: Space,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys = Vec::new();
        if limit > 0 {
            self.scan(account, space, prefix, &mut |key, _| {
                if !key.starts_with(prefix) {
                    return ControlFlow::Break(());
                }
                keys.push(key.to_vec());
                if keys.len() == limit {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
        }
        Ok(keys)
    }

    /// Values from a key on, decoded, until `keep` says stop.
    pub(crate) fn values<T: Wire>(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        keep: Keep<'_, T>,
    ) -> Result<(), StoreError> {
        let mut damaged = None;
        self.scan(account, space, from, &mut |key, value| match decode(value) {
            Ok(decoded) => keep(key, value, decoded),
            Err(error) => {
                damaged = Some(error);
                ControlFlow::Break(())
            }
        })?;
        damaged.map_or(Ok(()), Err)
    }
}

/// A row that was written by [`Wire::encode`].
pub(crate) fn decode<T: Wire>(bytes: &[u8]) -> Result<T, StoreError> {
    T::decode(bytes).map_err(|_| StoreError::Damaged("a row doesn't decode"))
}

/// The number that a key is, or ends with.
pub(crate) fn number_of(key: &[u8]) -> Result<u64, StoreError> {
    let tail = key
        .last_chunk::<8>()
        .ok_or(StoreError::Damaged("a key is too short"))?;
    Ok(u64::from_be_bytes(*tail))
}
