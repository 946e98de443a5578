#![allow(clippy::unwrap_used)]

use super::*;

fn device(number: u8) -> DeviceId {
    DeviceId([number; 32])
}

fn set(numbers: &[u8]) -> BTreeSet<DeviceId> {
    numbers.iter().copied().map(device).collect()
}

#[test]
fn the_lowest_serves_and_whom_nobody_calls_calls_the_next() {
    let none = set(&[]);
    // With a server nobody keeps house alone; without one it does.
    assert_eq!(choose(device(5), &none, &none, false, false), None);
    assert_eq!(choose(device(5), &none, &none, true, false), Some(device(5)));
    assert_eq!(
        choose(device(5), &set(&[7, 2]), &none, false, false),
        Some(device(2))
    );
    assert_eq!(
        choose(device(2), &set(&[7, 5]), &none, false, false),
        Some(device(2))
    );
    // Behind a firewall.
    assert_eq!(
        choose(device(2), &set(&[7, 5]), &none, false, true),
        Some(device(5))
    );
    // Heard by one that isn't heard.
    assert_eq!(
        choose(device(9), &none, &set(&[2]), false, false),
        Some(device(9))
    );
    assert_eq!(
        choose(device(2), &set(&[7]), &set(&[7]), false, true),
        Some(device(2))
    );
}

#[test]
fn strangers_are_refused_and_members_wait_until_this_device_serves() {
    let door = Door {
        own: [1; 32],
        ready: AtomicBool::new(false),
        known: Mutex::new([([2; 32], Known::Member(device(2))), ([4; 32], Known::ShutOut)].into()),
        inside: Mutex::default(),
        knocked: Mutex::default(),
    };
    let stranger = Verdict::Refuse(ErrorCode::WrongTransportKey);
    assert_eq!(door.judge([1; 32]), Verdict::Own);
    assert_eq!(door.judge([2; 32]), Verdict::Refuse(ErrorCode::Busy));
    assert!(lock(&door.knocked).contains_key(&device(2)));
    assert_eq!(door.judge([3; 32]), stranger);
    assert_eq!(door.judge([4; 32]), Verdict::Refuse(ErrorCode::Busy));
    assert_eq!(
        lock(&door.knocked).len(),
        1,
        "the knocking of a stranger, or of one that was shut out, counts for nothing"
    );
    door.ready.store(true, Ordering::Relaxed);
    assert_eq!(door.judge([2; 32]), Verdict::Device(device(2)));
    assert_eq!(door.judge([3; 32]), stranger);
    assert_eq!(door.judge([4; 32]), Verdict::ShutOut);
}

#[test]
fn what_was_heard_is_sorted_by_who_it_is() {
    let heard = |number: u8, port: u16| Heard {
        signs: vec![Sign {
            tag: [number; 8],
            mark: [0; 8],
        }],
        addresses: vec![(Ipv4Addr::LOCALHOST, port).into()],
    };
    let all = [heard(1, 10), heard(1, 11), heard(2, 20), heard(3, 30)];
    let (members, somebody) = sort(all.iter(), |signs| match signs[0].tag[0] {
        1 => Some(Found::Member(device(1))),
        2 => Some(Found::Somebody),
        _ => None,
    });
    assert_eq!(members[&device(1)].len(), 2);
    assert_eq!((members.len(), somebody.len()), (1, 1));
}
