//! Token buckets: so much in the long run, so much at once.

use std::collections::BTreeMap;

use hearth_protocol::id::DeviceId;

/// One bucket. Its level is kept in thousandths, so that slow rates add up too.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    /// What was taken and hasn't come back yet, in thousandths.
    used: u64,
    at_ms: u64,
}

impl Bucket {
    /// Takes `amount`, or says how many milliseconds to wait. What is more than the bucket holds is taken once it is full,
    /// and paid back afterwards: it would wait for ever. A clock that goes back gives nothing and takes nothing.
    pub(crate) fn take(&mut self, amount: u64, per_s: u64, burst: u64, now_ms: u64) -> Result<(), u64> {
        let back = now_ms.saturating_sub(self.at_ms).saturating_mul(per_s);
        self.used = self.used.saturating_sub(back);
        self.at_ms = now_ms;
        let after = self.used.saturating_add(amount.saturating_mul(1_000));
        let limit = burst.saturating_mul(1_000).max(amount.saturating_mul(1_000));
        if after <= limit {
            self.used = after;
            Ok(())
        } else {
            Err((after - limit).div_ceil(per_s.max(1)).max(1))
        }
    }
}

/// What an account is allowed, in memory whether the account itself is or not: else whoever makes the relay forget the
/// account begins anew.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    pub(crate) requests: Bucket,
    pub(crate) bytes: Bucket,
    pub(crate) items: Bucket,
    /// Bytes written while only the store's reserve is left.
    pub(crate) reserve: Bucket,
    pub(crate) devices: BTreeMap<DeviceId, OfDevice>,
    /// When it was last asked.
    pub(crate) used_ms: u64,
}

/// What each device is allowed, so that one can't hold the others up: of what is exempt from the account's rates.
#[derive(Debug, Default)]
pub(crate) struct OfDevice {
    pub(crate) exempt: Bucket,
    pub(crate) exempt_bytes: Bucket,
    /// New control entries.
    pub(crate) entries: Bucket,
    /// Revocations and recoveries.
    pub(crate) urgent: Bucket,
}

#[cfg(test)]
mod tests {
    use super::Bucket;

    #[test]
    fn what_is_more_than_it_holds_waits_until_it_is_full() {
        let mut bucket = Bucket::default();
        bucket.take(4, 2, 10, 5_000).unwrap();
        assert_eq!(bucket.take(30, 2, 10, 5_000), Err(2_000));
        assert_eq!(bucket.take(30, 2, 10, 7_000), Ok(()));
        assert_eq!(bucket.take(1, 2, 10, 7_000), Err(10_500));
    }

    #[test]
    fn what_was_taken_comes_back() {
        let mut bucket = Bucket::default();
        for _ in 0..10 {
            bucket.take(1, 2, 10, 5_000).unwrap();
        }
        assert_eq!(bucket.take(1, 2, 10, 5_000), Err(500));
        assert_eq!(bucket.take(1, 2, 10, 5_499), Err(1));
        assert_eq!(bucket.take(1, 2, 10, 5_500), Ok(()));
        assert_eq!(bucket.take(1, 2, 10, 4_000), Err(500), "the clock went back");
    }
}
