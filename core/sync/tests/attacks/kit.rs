//! What attacks are made of.

use std::cell::RefCell;
use std::rc::Rc;

use hearth_protocol::codec::{Reader, Wire};
use hearth_protocol::envelope::{Batch, Envelope, HeaderVersion, Item, Run, Sealed, next_link, position_id};
use hearth_protocol::hash::{Signed, Statement};
use hearth_protocol::id::{AccountId, Handle, Hash, Link, LogId};
use hearth_protocol::message::{Reply, ReplyFrame, Request};
use hearth_protocol::statement::{AnyStatement, LogOpen};
use hearth_sync::device::{Journal, space};
use hearth_sync::keys::SigningKey;
use hearth_sync::secret::Secret;

use crate::world::{Passing, Tap, World};

/// Something that a tap and a test look at.
pub type Shared<T> = Rc<RefCell<T>>;

pub fn shared<T: Default>() -> Shared<T> {
    Rc::default()
}

/// So many devices of one account, online and at rest.
pub fn devices(seed: u64, count: usize) -> World {
    let mut world = World::new(seed);
    world.online(0);
    world.settle(1_000);
    for _ in 1..count {
        let new = world.enrol(0);
        world.settle(1_000);
        world.online(new);
        world.settle(5_000);
    }
    world
}

/// Two devices, with a document that both have.
pub fn pair(seed: u64) -> (World, Handle) {
    let mut world = devices(seed, 2);
    let handle = world.handle();
    world.edit(0, handle, b"known to both");
    world.settle(5_000);
    (world, handle)
}

/// Changes what goes to one node.
#[allow(clippy::unnecessary_wraps)] // As `World::down` takes it.
pub fn to(node: usize, mut change: impl FnMut(Passing) -> Vec<Passing> + 'static) -> Option<Tap> {
    Some(Box::new(move |other, passing| {
        if other == node {
            change(passing)
        } else {
            vec![passing]
        }
    }))
}

/// Changes the runs that go to one node.
pub fn runs_to(node: usize, mut change: impl FnMut(Run) -> Vec<Run> + 'static) -> Option<Tap> {
    to(node, move |passing| match passing {
        Passing::Batch(Batch::Run(run)) => change(run)
            .into_iter()
            .map(|run| Passing::Batch(Batch::Run(run)))
            .collect(),
        other => vec![other],
    })
}

/// Changes the items that go to one node, each on its own.
pub fn items_to(node: usize, mut change: impl FnMut(LogId, u64, Item) -> Item + 'static) -> Option<Tap> {
    runs_to(node, move |mut run| {
        let items = run.items.into_inner().into_iter().zip(run.first_seq..);
        let items: Vec<Item> = items.map(|(item, seq)| change(run.log, seq, item)).collect();
        run.items = items.try_into().unwrap();
        vec![run]
    })
}

/// Changes the replies that go to one node.
pub fn replies_to(
    node: usize,
    mut change: impl FnMut(ReplyFrame) -> Vec<ReplyFrame> + 'static,
) -> Option<Tap> {
    to(node, move |passing| match passing {
        Passing::Reply(frame) => change(frame).into_iter().map(Passing::Reply).collect(),
        other => vec![other],
    })
}

/// Drops those statements to a node that are meant.
pub fn statements_to(node: usize, mut keep: impl FnMut(&AnyStatement) -> bool + 'static) -> Option<Tap> {
    replies_to(node, move |mut frame| {
        if let Reply::Statements(list) = &mut frame.reply {
            let kept: Vec<AnyStatement> = std::mem::take(list)
                .into_inner()
                .into_iter()
                .filter(&mut keep)
                .collect();
            *list = kept.try_into().unwrap();
        }
        vec![frame]
    })
}

/// Keeps what goes to one node, and lets it pass.
pub fn listen(node: usize) -> (Shared<Vec<Passing>>, Option<Tap>) {
    let heard: Shared<Vec<Passing>> = shared();
    let copy = heard.clone();
    let tap = to(node, move |passing| {
        copy.borrow_mut().push(passing.clone());
        vec![passing]
    });
    (heard, tap)
}

/// Takes the next run for a node away: what an adversary then has in hand.
pub fn intercept(world: &mut World, node: usize, act: impl FnOnce(&mut World)) -> Run {
    let caught: Shared<Vec<Run>> = shared();
    let copy = caught.clone();
    world.down = runs_to(node, move |run| {
        copy.borrow_mut().push(run);
        Vec::new()
    });
    act(world);
    world.settle(500);
    world.down = None;
    let run = caught.borrow().first().cloned();
    run.expect("nothing was sent")
}

/// Lets a node whose connection was closed call again, now.
pub fn reconnect(world: &mut World, node: usize) {
    if world.nodes[node].session.is_none() {
        world.online(node);
        world.settle(100);
    }
}

pub fn inject_run(world: &mut World, node: usize, run: Run) {
    assert!(
        world.inject_down(node, Passing::Batch(Batch::Run(run))),
        "{node} is offline"
    );
    world.settle(0);
}

pub fn inject(world: &mut World, node: usize, reply: Reply) {
    assert!(world.inject_down(node, Passing::news(reply)), "{node} is offline");
    world.settle(0);
}

pub fn say(world: &mut World, node: usize, statement: AnyStatement) {
    inject(
        world,
        node,
        Reply::Statements(vec![statement].try_into().unwrap()),
    );
}

/// Somebody's key.
pub fn stranger(world: &mut World) -> SigningKey {
    SigningKey::from_seed(&Secret::random(&mut world.random)).unwrap()
}

pub fn account(world: &World) -> AccountId {
    world.device(0).account_id()
}

/// The log that a node writes.
pub fn log_of(world: &World, node: usize) -> LogId {
    world.device(node).writing().unwrap()
}

/// How far a node has a log.
pub fn stored(world: &World, node: usize, log: &LogId) -> u64 {
    let bytes = world.nodes[node].disk.journal.get(space::LOG, &log.0).unwrap();
    let bytes = bytes.unwrap();
    let mut reader = Reader::new(&bytes);
    Signed::<LogOpen>::read(&mut reader).unwrap();
    u64::read(&mut reader).unwrap()
}

/// The link at a place, as a node has it.
pub fn link(world: &World, node: usize, log: &LogId, seq: u64) -> Link {
    let journal = &world.nodes[node].disk.journal;
    if seq == 0 {
        let bytes = journal.get(space::LOG, &log.0).unwrap().unwrap();
        let open = Signed::<LogOpen>::read(&mut Reader::new(&bytes)).unwrap();
        return Link(open.statement.id(&account(world)).0);
    }
    let key = [log.0.as_slice(), &seq.to_be_bytes()].concat();
    let bytes = journal.get(space::PLACE, &key).unwrap().unwrap();
    Link::read(&mut Reader::new(&bytes)).unwrap()
}

/// Signs an envelope anew, at its place, whoever the key is of.
pub fn sign_item(
    account: &AccountId,
    log: LogId,
    seq: u64,
    previous: &Link,
    mut sealed: Sealed,
    key: &SigningKey,
) -> Item {
    let envelope = Envelope {
        version: HeaderVersion::V1,
        log,
        seq,
        sealed: sealed.clone(),
    };
    let hash = envelope.header_hash(account, previous);
    let link = next_link(previous, &hash);
    sealed.signature = key.sign(&position_id(account, &log, seq, &link));
    Item::Envelope(sealed)
}

/// The envelope of a run's first item.
pub fn first_envelope(run: &Run) -> Sealed {
    run.items
        .iter()
        .find_map(|item| match item {
            Item::Envelope(sealed) => Some(sealed.clone()),
            _ => None,
        })
        .expect("no envelope in it")
}

/// What a node sends.
pub fn requests(world: &mut World, node: usize) -> Shared<Vec<Request>> {
    let sent: Shared<Vec<Request>> = shared();
    let copy = sent.clone();
    world.up = Some(Box::new(move |other, passing| {
        if let (true, Passing::Request(frame)) = (other == node, &passing) {
            copy.borrow_mut().push(frame.request.clone());
        }
        vec![passing]
    }));
    sent
}

/// Ends the attack, lets all devices call again, and looks whether they are as if nothing had been.
pub fn all_is_well(world: &mut World) {
    (world.down, world.up) = (None, None);
    for node in 0..world.nodes.len() {
        world.hang_up(node);
        if world.nodes[node].online {
            world.online(node);
        }
    }
    world.settle(120_000);
    world.assert_converged();
}

pub fn assert_no_alarm(world: &World, node: usize) {
    let alarms = world.alarms(node);
    assert!(alarms.is_empty(), "node {node}: {alarms:?}");
}

/// A node's document has this change.
pub fn has(world: &World, node: usize, handle: &Handle, change: &[u8]) -> bool {
    world.nodes[node]
        .disk
        .documents
        .get(handle)
        .is_some_and(|document| document.contains(change))
}

pub fn hash_of(text: &[u8]) -> Hash {
    hearth_protocol::hash::sha256(text)
}
