//! Pairing mailboxes.

use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::MailboxId;
use hearth_protocol::limits::{MAX_PAIRING_MESSAGES, PAIRING_TTL_MS};
use hearth_protocol::message::{Reply, Request, ToMailbox};
use hearth_protocol::pairing::MailboxMessage;

use super::kit::*;

fn post(mailbox: u8, message: Option<u8>) -> Request {
    Request::Mailbox(ToMailbox {
        mailbox: MailboxId([mailbox; 16]),
        message: message.map(|byte| MailboxMessage::Spake([byte; 32])),
    })
}

fn mail(got: &[Got]) -> Vec<Vec<MailboxMessage>> {
    got.iter()
        .filter_map(|got| match got {
            Got::Reply(_, Reply::Mailbox(list)) => Some(list.to_vec()),
            _ => None,
        })
        .collect()
}

#[test]
fn two_strangers_meet_in_a_mailbox() {
    let mut world = World::new();
    let (new, old) = (world.connect(50), world.connect(51));
    assert_eq!(mail(&world.ask(old, post(1, None))), [vec![]]);
    world.ask(new, post(1, Some(1)));
    assert_eq!(mail(&world.look(old)), [vec![MailboxMessage::Spake([1; 32])]]);
    let got = world.ask(old, post(1, Some(2)));
    assert_eq!(mail(&got)[0].len(), 2);
    assert_eq!(mail(&world.look(new)), [vec![MailboxMessage::Spake([2; 32])]]);
    // Another mailbox is another matter.
    let third = world.connect(52);
    assert_eq!(mail(&world.ask(third, post(2, None))), [vec![]]);
}

#[test]
fn a_mailbox_is_small_and_ends() {
    let mut world = World::with(|config| config.limits.mailboxes = 2);
    let session = world.connect(50);
    for message in 0..MAX_PAIRING_MESSAGES {
        world.ask(session, post(1, Some(message as u8)));
    }
    assert_eq!(
        refusals(&world.ask(session, post(1, Some(99)))),
        [ErrorCode::PairingUsed]
    );
    world.now += PAIRING_TTL_MS;
    assert_eq!(
        refusals(&world.ask(session, post(1, Some(9)))),
        [ErrorCode::PairingExpired]
    );
    world.now += PAIRING_TTL_MS;
    assert_eq!(world.relay.wants_tick(), Some(world.now));
    world.tick();
    assert_eq!(world.relay.wants_tick(), None);
    // There is room for so many, and one connection begins only a few.
    world.ask(session, post(2, Some(1)));
    world.ask(session, post(3, Some(1)));
    let other = world.connect(51);
    assert_eq!(refusals(&world.ask(other, post(4, Some(1)))), [ErrorCode::Busy]);
    assert_eq!(
        refusals(&world.ask(session, post(5, Some(1)))),
        [ErrorCode::RateLimited]
    );
}
