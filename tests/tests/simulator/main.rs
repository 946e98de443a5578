//! The simulator with everything real but network, clock and chance: profiles encrypted by SQLCipher with core's own
//! journal and documents, the server's own relay and store, on disks that fail, fill up and lose power.
//!
//! `SEEDS` says how many seeds, `FIRST_SEED` which is the first; `WORLD=1` prints everything that happens.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod act;
mod check;
mod home;
mod model;
mod random;
mod scan;
mod server;
mod world;

use world::World;

const HOUR_MS: u64 = 60 * 60 * 1000;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

/// A life of an account, and what has to be true after it.
fn live(seed: u64) -> World {
    let mut world = World::new(seed);
    world.settle(1_000);
    for _ in 0..=world.random.below(2) {
        world.come_now();
        world.settle(1_000);
    }
    world.trouble = [0, 300, 100, 40][world.random.below(4)];
    for _ in 0..40 + world.random.below(60) {
        world.something();
        let events = world.random.below(40);
        world.run(events);
    }
    world.heal();
    world.settle(5 * 60 * 1000);
    world.heal();
    world.settle(80 * HOUR_MS);
    world.check();
    world
}

fn run(seeds: std::ops::Range<u64>) {
    let started = std::time::Instant::now();
    let (count, mut events) = (seeds.end - seeds.start, 0);
    for seed in seeds {
        let world = live(seed);
        events += world.events();
        println!(
            "seed {seed}: {} events, trace {:?}",
            world.events(),
            world.trace().0
        );
    }
    println!("{count} seeds, {events} events, {:?}", started.elapsed());
}

#[test]
fn devices_converge_and_what_is_erased_is_gone_1() {
    run(1..16);
}

#[test]
fn devices_converge_and_what_is_erased_is_gone_2() {
    run(16..31);
}

#[test]
fn devices_converge_and_what_is_erased_is_gone_3() {
    run(31..46);
}

#[test]
fn devices_converge_and_what_is_erased_is_gone_4() {
    run(46..61);
}

/// As many as are asked for.
#[test]
fn big_devices_converge_and_what_is_erased_is_gone() {
    let first = number("FIRST_SEED", 1000);
    run(first..first + number("SEEDS", 500));
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 17] {
        assert_eq!(live(seed).trace(), live(seed).trace(), "seed {seed}");
    }
}
