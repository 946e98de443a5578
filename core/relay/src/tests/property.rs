//! Whatever comes in: no panic, bounded memory, and a store that still replays.

use hearth_protocol::codec::{Sample, Sampled, Wire};
use hearth_protocol::envelope::Batch;
use hearth_protocol::message::{Request, RequestFrame};
use proptest::prelude::*;

use super::kit::*;
use crate::{Config, Input, Relay};

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_messages_do_no_harm(steps in prop::collection::vec((0u8..9, prop::collection::vec(any::<u8>(), 0..400)), 1..40)) {
        let mut world = World::new();
        let mut one = world.device(1);
        let mut session = world.online(&mut one);
        let mut number = world.last(session);
        for (kind, bytes) in &steps {
            if world.relay.sessions() == 0 || closed(&world.look(session)).is_some() {
                let mut again = world.device(1);
                again.instance = hearth_protocol::id::InstanceToken([0; 16]);
                session = world.connect(1);
                world.hello(session, &mut again);
                number = world.last(session);
            }
            match kind {
                0 => world.input(session, Input::Frame(bytes)),
                1 => world.input(session, Input::Batch(bytes)),
                2 => world.input(session, Input::Drained),
                3 => {
                    let batch = Batch::sample(&mut Sample::new(bytes)).encode();
                    world.input(session, Input::Batch(&batch));
                }
                4 => {
                    world.now = world.now.wrapping_add(u64::from(bytes.len() as u32) * 1_000);
                    world.tick();
                }
                5 => {
                    let batch = one.change(bytes.first().copied().unwrap_or(0), bytes);
                    world.input(session, Input::Batch(&batch));
                }
                _ => {
                    number += 1;
                    let frame = RequestFrame { id: number, request: Request::sample(&mut Sample::new(bytes)) };
                    world.input(session, Input::Frame(&frame.encode()));
                }
            }
        }
        // What is in the store makes the same relay again.
        let before = world.relay.accounts().unwrap();
        let store = world.relay.store().clone();
        let mut again = Relay::new(store, Config::server(Box::new(key(SERVER)))).unwrap();
        prop_assert_eq!(before, again.accounts().unwrap());
    }
}
