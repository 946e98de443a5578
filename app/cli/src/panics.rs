//! What is told of a panic: the place and nothing else. Its message may quote what a person said, and standard error is a
//! file where the engine runs in the background.

use std::panic::{PanicHookInfo, set_hook};

/// Tells `write` of every panic from here on, one line each.
pub(crate) fn tell(write: impl Fn(&str) + Send + Sync + 'static) {
    set_hook(Box::new(move |info| write(&line(info))));
}

fn line(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name");
    match info.location() {
        Some(place) => format!(
            "hearth: thread {name} panicked at {}:{}",
            place.file(),
            place.line()
        ),
        None => format!("hearth: thread {name} panicked"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_panic_is_told_by_its_place_without_its_words() {
        let told = Arc::<Mutex<Vec<String>>>::default();
        let lines = Arc::clone(&told);
        tell(move |line| lines.lock().unwrap().push(line.to_owned()));
        let said = "my dog is called Rex";
        let broken = std::thread::spawn(move || said[..2].split_at(said.len()).0.len());
        let broken = broken.join();
        drop(std::panic::take_hook());
        assert!(broken.is_err());
        let told = told.lock().unwrap().concat();
        assert!(told.contains("panicked at ") && !told.contains("dog"), "{told}");
        assert!(!told.contains("my"), "{told}");
    }
}
