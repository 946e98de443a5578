use crate::memory::MemoryStore;
use crate::testing::{Faulty, check_store};

#[test]
fn the_store_in_memory_is_a_store() {
    check_store(MemoryStore::new);
}

#[test]
fn so_is_one_that_could_fail() {
    check_store(|| Faulty::new(MemoryStore::new()));
}
