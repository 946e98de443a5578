//! Attacks with too much: oversize, garbage, and things that never end.

use hearth_protocol::codec::Wire;
use hearth_protocol::entropy::Entropy;
use hearth_protocol::envelope::{Batch, HeaderVersion, Item, Run};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{Hash, Link, LogId};
use hearth_protocol::limits::{MAX_BATCH_ITEMS, MAX_MESSAGE_BYTES};
use hearth_protocol::message::{Complete, ErasePart, Holed, Reply, Request, Stored};
use hearth_protocol::statement::{AnyStatement, LogOpen};
use hearth_protocol::vector::{Head, VersionVector};
use hearth_sync::device::{Input, MAX_HELD_BYTES, Notice, Suspicion};

use crate::kit::*;
use crate::world::{Passing, Seeded, World};

/// Bytes of records on a node's disk.
fn disk_bytes(world: &World, node: usize) -> usize {
    let records = world.nodes[node].disk.journal.records();
    records.map(|(_, key, value)| key.len() + value.len()).sum()
}

/// Bytes of memory that this process has in use; none where the system doesn't say.
fn resident_bytes() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

#[test]
fn an_oversize_frame_closes_the_connection() {
    let (mut world, _) = pair(1);
    let bytes = vec![7; MAX_MESSAGE_BYTES + 1];
    world.inject_down(1, Passing::Raw { batch: false, bytes });
    world.run(10);
    assert_eq!(world.nodes[1].closed, [Some(ErrorCode::Malformed)]);
    // A frame that says that more follows than could, and a body beyond its limit.
    let mut frame = vec![0, 7];
    u64::MAX.write(&mut frame);
    reconnect(&mut world, 1);
    world.inject_down(
        1,
        Passing::Raw {
            batch: false,
            bytes: frame,
        },
    );
    world.run(10);
    reconnect(&mut world, 1);
    let mut batch = vec![1, 1];
    batch.extend([9; 16]);
    1u64.write(&mut batch);
    1u64.write(&mut batch);
    batch.extend(vec![1; 3 << 20]);
    world.inject_down(
        1,
        Passing::Raw {
            batch: true,
            bytes: batch,
        },
    );
    world.run(10);
    assert_eq!(world.nodes[1].closed.len(), 3);
    assert!(
        world.nodes[1]
            .closed
            .iter()
            .all(|code| *code == Some(ErrorCode::Malformed))
    );
    all_is_well(&mut world);
    world.assert_honest();
}

#[test]
fn garbage_closes_connections_and_does_nothing_else() {
    let (mut world, handle) = pair(2);
    let before = world.nodes[1].disk.documents.clone();
    let mut random = Seeded::new(2);
    for round in 0..400 {
        reconnect(&mut world, 1);
        let mut bytes = vec![0; random.below(300)];
        random.fill(&mut bytes);
        if let Some(tag) = bytes.get_mut(1) {
            // Half of it begins like something that there is.
            if round % 2 == 0 {
                *tag = 1 + (round % 13) as u8;
            }
        }
        let batch = random.once_in(2);
        world.inject_down(1, Passing::Raw { batch, bytes });
        world.settle(0);
    }
    assert!(world.nodes[1].closed.len() > 200);
    assert_eq!(world.nodes[1].disk.documents, before);
    world.edit(0, handle, b"and on it goes");
    all_is_well(&mut world);
    assert!(has(&world, 1, &handle, b"and on it goes"));
    world.assert_honest();
}

#[test]
fn endless_backfill_is_held_within_bounds() {
    let (mut world, handle) = pair(3);
    let log = log_of(&world, 0);
    let (disk, memory) = (disk_bytes(&world, 1), resident_bytes());
    let holes = vec![Item::Hole(Hash([5; 32])); MAX_BATCH_ITEMS];
    for round in 0..1_200u32 {
        // Runs of logs that nobody opened, and of one that is known, behind a gap.
        let unknown = round % 2 == 0;
        let run = Run {
            version: HeaderVersion::V1,
            log: if unknown { LogId([round as u8; 16]) } else { log },
            first_seq: 1_000_000 + u64::from(round),
            items: holes.clone().try_into().unwrap(),
        };
        inject_run(&mut world, 1, run);
    }
    assert_eq!(disk_bytes(&world, 1), disk, "nothing of it is written down");
    if let (Some(before), Some(now)) = (memory, resident_bytes()) {
        let most = 3 * MAX_HELD_BYTES;
        assert!(
            now.saturating_sub(before) < most,
            "{} bytes",
            now.saturating_sub(before)
        );
    }
    world.edit(0, handle, b"and on it goes");
    all_is_well(&mut world);
    assert!(has(&world, 1, &handle, b"and on it goes"));
    world.assert_honest();
}

#[test]
fn claimed_vectors_are_asked_for_once_and_then_suspected() {
    let (mut world, handle) = pair(4);
    let claimed: Vec<(LogId, Head)> = (0..500u32)
        .map(|number| {
            let head = Head {
                seq: u64::MAX,
                link: Link([1; 32]),
            };
            (
                LogId([number.to_be_bytes(); 4].concat().try_into().unwrap()),
                head,
            )
        })
        .collect();
    world.down = replies_to(1, move |mut frame| {
        if let Reply::Complete(Complete { vector }) = &mut frame.reply {
            let all = vector.iter().copied().chain(claimed.iter().copied());
            *vector = VersionVector::new(all).unwrap();
        }
        vec![frame]
    });
    let sent = requests(&mut world, 1);
    world.edit(0, handle, b"something new");
    world.offline(1);
    world.settle(1_000);
    world.online(1);
    world.settle(120_000);
    let asked = sent
        .borrow()
        .iter()
        .filter(|request| matches!(request, Request::Vector(_)))
        .count();
    assert!(asked <= 3, "asked {asked} times");
    assert_eq!(world.alarms(1).len(), 500);
    assert!(
        world
            .alarms(1)
            .iter()
            .all(|notice| matches!(notice, Notice::Suspicion(Suspicion::Withheld { .. })))
    );
    all_is_well(&mut world);
    assert!(has(&world, 1, &handle, b"something new"));
}

#[test]
fn erasures_that_never_end_are_asked_for_one_answer_at_a_time() {
    for cursor in [None, Some(u64::MAX)] {
        let (mut world, handle) = pair(5);
        world.offline(1);
        world.erase(0, handle);
        world.settle(5_000);
        world.down = replies_to(1, move |frame| match frame.reply {
            Reply::Erasures(part) => vec![hearth_protocol::message::ReplyFrame {
                to: frame.to,
                reply: Reply::Erasures(ErasePart {
                    cursor: cursor.unwrap_or(part.cursor),
                    erasures: Vec::new().try_into().unwrap(),
                    more: true,
                }),
            }],
            _ => vec![frame],
        });
        let sent = requests(&mut world, 1);
        world.online(1);
        world.run(600);
        let asked = sent
            .borrow()
            .iter()
            .filter(|request| matches!(request, Request::Fetch(_)))
            .count();
        assert!(asked < 200, "asked {asked} times");
        assert!(disk_bytes(&world, 1) < 200_000);
        all_is_well(&mut world);
        world.assert_gone(&handle);
        world.assert_honest();
    }
}

#[test]
fn openings_of_strangers_logs_take_no_room() {
    let (mut world, _) = pair(6);
    let disk = disk_bytes(&world, 1);
    let (key, id) = (stranger(&mut world), account(&world));
    let device = world.device(0).id();
    for round in 0..20u8 {
        let all: Vec<AnyStatement> = (0..100u8)
            .map(|number| {
                let mut nonce = [round; 16];
                nonce[0] = number;
                AnyStatement::LogOpen(key.sign_statement(&id, LogOpen { device, nonce }))
            })
            .collect();
        inject(&mut world, 1, Reply::Statements(all.try_into().unwrap()));
    }
    assert_eq!(disk_bytes(&world, 1), disk);
    assert!(world.alarms(1).iter().all(|notice| **notice == Notice::Tampered));
    all_is_well(&mut world);
}

#[test]
fn a_false_stored_asks_before_anything_more_is_written() {
    let (mut world, handle) = pair(7);
    let log = log_of(&world, 0);
    let seq = stored(&world, 0, &log);
    let lie = |seq: u64, link: Link| {
        Reply::Stored(Stored {
            log,
            seq,
            link,
            holed: Vec::new().try_into().unwrap(),
        })
    };
    // Of another device's log it means nothing.
    inject(&mut world, 1, lie(seq + 7, Link([1; 32])));
    assert_no_alarm(&world, 1);
    inject(&mut world, 0, lie(seq + 7, Link([1; 32])));
    assert_eq!(world.alarms(0), [&Notice::RestoredOrCopied]);
    world.edit(0, handle, b"waits for the answer");
    world.settle(1_000);
    assert!(!has(&world, 1, &handle, b"waits for the answer"));
    world.give(0, Input::Restored);
    world.settle(10_000);
    all_is_well(&mut world);
    assert!(has(&world, 1, &handle, b"waits for the answer"));
    world.assert_nobody_accused();
}

#[test]
fn what_is_taken_as_holes_without_end_is_written_again_ever_more_seldom() {
    for code in [ErrorCode::GenerationStale, ErrorCode::EpochStale] {
        let (mut world, handle) = pair(9);
        let before = stored(&world, 0, &log_of(&world, 0));
        world.down = replies_to(0, move |mut frame| {
            if let Reply::Stored(stored) = &mut frame.reply {
                let holed = Holed {
                    seq: stored.seq,
                    code,
                };
                stored.holed = vec![holed].try_into().unwrap();
            }
            vec![frame]
        });
        world.edit(0, handle, b"never taken");
        world.settle(600_000);
        let log = log_of(&world, 0);
        let written = stored(&world, 0, &log) - before;
        assert!((3..16).contains(&written), "{written} in ten minutes");
        let asks = |world: &World| world.device(0).waits_for_room(world.now);
        assert!(!asks(&world), "it isn't room that is missing");
        all_is_well(&mut world);
        world.settle(3_600_000);
        assert!(has(&world, 1, &handle, b"never taken"));
        world.assert_honest();
    }
}

#[test]
fn batches_come_to_nothing_before_the_greeting_is_proven() {
    let (mut world, handle) = pair(8);
    let run = intercept(&mut world, 1, |world| world.edit(0, handle, b"too early"));
    world.down = to(1, |_| Vec::new());
    world.hang_up(1);
    world.online(1);
    world.run(5);
    assert!(world.inject_down(1, Passing::Batch(Batch::Run(run))));
    world.run(20);
    assert!(!has(&world, 1, &handle, b"too early"));
    all_is_well(&mut world);
    assert!(has(&world, 1, &handle, b"too early"));
    world.assert_honest();
}
