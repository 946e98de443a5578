//! Tags rotate, bear a little clock skew, and say nothing to others.

use hearth_protocol::id::{AccountId, DeviceId, Hash};

use crate::discovery::*;
use crate::secret::Secret;

const NOW: u64 = 1_800_000_000_000;

fn device(number: u8) -> DeviceId {
    DeviceId([number; 32])
}

fn keys(number: u8) -> Vec<Secret> {
    vec![Secret::new([number; 32])]
}

#[test]
fn a_member_is_recognized_with_one_step_of_tolerance() {
    let keys = keys(1);
    let members = [device(1), device(2)];
    let announced = announce(&keys, &device(2), NOW);
    for later in [0, STEP_MS] {
        assert_eq!(
            recognize(&announced, &keys, members, NOW + later),
            Some(Found::Member(device(2)))
        );
        assert_eq!(
            recognize(&announced, &keys, members, NOW - later),
            Some(Found::Member(device(2)))
        );
    }
    for far in [NOW + 2 * STEP_MS, NOW - 2 * STEP_MS] {
        assert_eq!(recognize(&announced, &keys, members, far), None);
    }
}

#[test]
fn tags_change_every_quarter_of_an_hour_and_have_nothing_in_common() {
    let keys = keys(1);
    let now = announce(&keys, &device(2), NOW);
    let same = announce(&keys, &device(2), NOW - NOW % STEP_MS + STEP_MS - 1);
    let next = announce(&keys, &device(2), NOW + STEP_MS);
    assert_eq!(now, same);
    assert!(now[0].tag != next[0].tag && now[0].mark != next[0].mark && now[0].tag != now[0].mark);
    let other = announce(&keys, &device(3), NOW);
    assert_eq!(now[0].tag, other[0].tag);
    assert_ne!(now[0].mark, other[0].mark);
}

#[test]
fn another_account_sees_nothing_it_knows() {
    let announced = announce(&keys(1), &device(2), NOW);
    assert_eq!(recognize(&announced, &keys(2), [device(2)], NOW), None);
    assert_eq!(recognize(&announced, &[], [device(2)], NOW), None);
    let (one, two) = (AccountId([1; 32]), AccountId([2; 32]));
    let transcript = Hash([3; 32]);
    assert_ne!(
        joining_key(&one, &transcript).expose(),
        joining_key(&two, &transcript).expose()
    );
}

#[test]
fn whoever_slept_through_an_epoch_is_found_by_the_earlier_key() {
    let (old, new) = (Secret::new([1; 32]), Secret::new([2; 32]));
    let awake = [new.clone(), old.clone()];
    let asleep = [old];
    // Both name the other by the key that both have, and so choose the same.
    let slept = announce(&asleep, &device(2), NOW);
    assert_eq!(
        recognize(&slept, &awake, [device(2)], NOW),
        Some(Found::Member(device(2)))
    );
    let current = announce(&awake, &device(1), NOW);
    assert_eq!(
        recognize(&current, &asleep, [device(1)], NOW),
        Some(Found::Member(device(1)))
    );
    // Let in while the other one slept.
    assert_eq!(
        recognize(&current, &asleep, [device(3)], NOW),
        Some(Found::Somebody)
    );
    let hostile = vec![
        Sign {
            tag: [7; 8],
            mark: [0; 8]
        };
        1_000
    ];
    assert_eq!(recognize(&hostile, &awake, [device(1)], NOW), None);
}

#[test]
fn all_who_see_each_other_choose_the_same() {
    let all = [device(4), device(2), device(9)];
    for me in all {
        let seen = all.into_iter().filter(|other| *other != me);
        assert_eq!(serves(me, seen), device(2));
    }
    assert_eq!(serves(device(5), []), device(5));
}
