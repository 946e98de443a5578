//! Large zeroed memory straight from the operating system.

use memmap2::MmapMut;

/// Zeroed bytes whose pages are taken from the system only when they are first written.
///
/// Starts on a page boundary. Dropping it gives the memory back at once.
#[derive(Debug)]
pub(crate) struct Buffer {
    map: MmapMut,
}

impl Buffer {
    /// Reserves `bytes` bytes; `None` when the system refuses.
    pub(crate) fn zeroed(bytes: usize) -> Option<Self> {
        let map = MmapMut::map_anon(bytes.max(1)).ok()?;
        Some(Self { map })
    }

    /// Asks for large pages, which cost memory where they stay partly unused but spare address translation.
    pub(crate) fn prefer_large_pages(&self) {
        #[cfg(target_os = "linux")]
        let _ = self.map.advise(memmap2::Advice::HugePage);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }
}
