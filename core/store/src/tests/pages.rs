//! A look at the decrypted pages of a database, free ones included.

// The pager hands out decrypted pages only through a C function that rusqlite wraps behind a feature not used here.
#![allow(unsafe_code)]

use rusqlite::{Connection, ffi};

/// All pages of the main database, decrypted, one after the other.
pub(super) fn decrypted(connection: &Connection) -> Vec<u8> {
    let mut size = 0;
    // SAFETY: the connection is open for the call; "main" is a C string; the buffer that comes back has `size`
    // bytes, is copied before it is freed, and is freed once with the function that SQLite names for it.
    unsafe {
        let buffer = ffi::sqlite3_serialize(connection.handle(), c"main".as_ptr(), &raw mut size, 0);
        assert!(!buffer.is_null());
        let pages = std::slice::from_raw_parts(buffer, usize::try_from(size).unwrap()).to_vec();
        ffi::sqlite3_free(buffer.cast());
        pages
    }
}

/// Whether `pages` hold `text` as UTF-8 or UTF-16.
pub(super) fn contains(pages: &[u8], text: &str) -> bool {
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    [text.as_bytes(), &wide]
        .into_iter()
        .any(|needle| memchr::memmem::find(pages, needle).is_some())
}
