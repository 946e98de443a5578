//! Opening and verifying, one envelope after the other, as whoever receives a batch does.

use std::time::Instant;

use anyhow::{Result, ensure};
use hearth_protocol::codec::Wire;
use hearth_protocol::envelope::{Batch, Envelope, HeaderVersion, Item, Kind, Nothing, Run, next_link};
use hearth_protocol::id::{AccountId, Handle, Link, LogId, TimeMs};
use hearth_protocol::vector::FewPositions;
use hearth_sync::content::{Content, DocumentKind};
use hearth_sync::document::Doc;
use hearth_sync::keys::SigningKey;
use hearth_sync::seal::{Draft, open, seal};
use hearth_sync::secret::Secret;
use serde_json::{Value, json};

use super::node::Dice;
use super::records::Written;
use super::{Row, automerge};

/// Envelopes of a batch.
const ENVELOPES: usize = 100;
/// Changes of an envelope, in the second figure.
const CHANGES: usize = 100;

/// A batch of envelopes, and what opens it.
struct Sealed {
    batch: Vec<u8>,
    account: AccountId,
    log: LogId,
    first: Link,
    key: Secret,
    signer: SigningKey,
}

impl Sealed {
    fn new(contents: &[Vec<Vec<u8>>]) -> Result<Sealed> {
        let mut dice = Dice::new();
        let (account, log) = (AccountId([1; 32]), LogId([2; 16]));
        let (key, signer) = (
            Secret::random(&mut dice),
            SigningKey::from_seed(&Secret::random(&mut dice))?,
        );
        let first = Link([3; 32]);
        let mut link = first;
        let mut items = Vec::new();
        for (seq, changes) in (1..).zip(contents) {
            let changes = changes
                .iter()
                .map(|change| Ok(change.clone().try_into()?))
                .collect::<Result<Vec<_>>>()?;
            let content = Content::Changes {
                kind: DocumentKind::Memory,
                at: TimeMs {
                    ms: 1_800_000_000_000,
                },
                changes: changes.try_into()?,
            };
            let draft = Draft {
                account: &account,
                log,
                seq,
                previous: &link,
                kind: Kind::Changes(Nothing {}),
                handle: Handle([4; 16]),
                generation: 0,
                key: &key,
                bring_in: None,
                erased: FewPositions::default(),
                depends: FewPositions::default(),
                content: &content.encode(),
            };
            let (envelope, hash) = seal(&draft, &signer, &mut dice)?;
            link = next_link(&link, &hash);
            items.push(Item::Envelope(envelope.sealed));
        }
        let run = Run {
            version: HeaderVersion::V1,
            log,
            first_seq: 1,
            items: items.try_into()?,
        };
        Ok(Sealed {
            batch: Batch::Run(run).encode(),
            account,
            log,
            first,
            key,
            signer,
        })
    }

    /// Decodes the batch, follows the chain, checks every signature, opens every body, reads its changes: how many.
    fn open(&self) -> Result<usize> {
        let Batch::Run(run) = Batch::decode(&self.batch)? else {
            return Ok(0);
        };
        let log_key = self.signer.public();
        let (mut link, mut changes) = (self.first, 0);
        for (seq, item) in (run.first_seq..).zip(run.items.into_inner()) {
            let Item::Envelope(sealed) = item else { continue };
            let envelope = Envelope {
                version: run.version,
                log: self.log,
                seq,
                sealed,
            };
            let (hash, content) = open(&self.account, &link, &log_key, &envelope, &self.key)?;
            link = next_link(&link, &hash);
            if let Content::Changes { changes: all, .. } = Content::decode(&content)? {
                changes += all.len();
            }
        }
        Ok(changes)
    }

    /// Microseconds for the whole batch: the median of some.
    fn time(&self, changes: usize, repetitions: usize) -> Result<Vec<f64>> {
        let mut times = Vec::new();
        for _ in 0..repetitions {
            let start = Instant::now();
            let found = self.open()?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
            ensure!(found == changes, "{found} changes instead of {changes}");
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    }
}

/// Times both, beside Automerge's own work on a change.
pub(super) fn measure(repetitions: usize, rows: &mut Vec<Row>) -> Result<Value> {
    let actor = LogId([9; 16]);
    let mut single = Vec::new();
    for number in 0..ENVELOPES {
        let (mut memory, _) = Written::new(number, actor)?;
        single.push(vec![memory.pin()?]);
    }
    let (mut memory, first) = Written::new(0, actor)?;
    let all: Vec<Vec<u8>> = (0..CHANGES).map(|_| memory.correct()).collect::<Result<_>>()?;
    let singles = Sealed::new(&single)?.time(ENVELOPES, repetitions)?;
    let batches = Sealed::new(std::slice::from_ref(&all))?.time(CHANGES, repetitions)?;
    let median = |times: &[f64]| times[times.len() / 2];
    let slow = |times: &[f64]| times[(times.len() * 95 / 100).min(times.len() - 1)];
    let (one, each) = (
        median(&singles) / ENVELOPES as f64,
        median(&batches) / CHANGES as f64,
    );

    // What Automerge then does with them, for the scale: parse, check the hash, apply.
    let mut applied = Vec::new();
    for _ in 0..repetitions.min(50) {
        let mut doc = Doc::new(LogId([8; 16]));
        doc.apply(std::slice::from_ref(&first))?;
        let start = Instant::now();
        doc.apply(&all)?;
        applied.push(start.elapsed().as_secs_f64() * 1e6 / CHANGES as f64);
    }
    applied.sort_by(f64::total_cmp);
    let peer = automerge::receive_us(repetitions.min(200))?;
    rows.push(
        Row::new("open and verify an envelope of one change", "µs")
            .value(one)
            .at_most(150.0)
            .automerge(peer),
    );
    rows.push(
        Row::new("open and verify, a change of an envelope of 100", "µs")
            .value(each)
            .at_most(20.0),
    );
    Ok(json!({
        "envelope_us": one, "envelope_us_p95": slow(&singles) / ENVELOPES as f64,
        "change_of_100_us": each, "change_of_100_us_p95": slow(&batches) / CHANGES as f64,
        "apply_us_a_change": median(&applied), "automerge_receive_us": peer,
    }))
}
