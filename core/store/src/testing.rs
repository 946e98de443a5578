//! For tests alone: randomness out of a seed, so that a run can be repeated.

use std::cell::RefCell;

/// Fills a slice with the next bytes of a test's own source.
pub type Source = Box<dyn FnMut(&mut [u8])>;

thread_local! {
    static SOURCE: RefCell<Option<Source>> = const { RefCell::new(None) };
}

/// From here on this thread's random bytes are the source's; with none they are the operating system's again.
pub fn randomness(source: Option<Source>) {
    SOURCE.set(source);
}

/// The next bytes of this thread's source; false: it has none.
pub fn fill(bytes: &mut [u8]) -> bool {
    SOURCE.with_borrow_mut(|source| match source {
        Some(source) => {
            source(bytes);
            true
        }
        None => false,
    })
}
