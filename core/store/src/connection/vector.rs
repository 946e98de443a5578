//! The vector search extension sqlite-vec, linked in and registered on each connection.

// Registering an extension that is linked in means calling its C entry point; rusqlite has no safe way to.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::ptr;

use rusqlite::{Connection, ffi};

use crate::error::StoreError;

type EntryPoint =
    unsafe extern "C" fn(*mut ffi::sqlite3, *mut *mut c_char, *const ffi::sqlite3_api_routines) -> c_int;

/// Adds the `vec0` tables and `vec_*` functions to `connection`.
pub(super) fn register(connection: &Connection) -> Result<(), StoreError> {
    // SAFETY: `sqlite3_vec_init` is declared without parameters by its crate, but is defined in C as an SQLite
    // extension entry point, which has exactly the type `EntryPoint`. It is compiled with SQLITE_CORE: the third
    // argument is not used and may be null, as may the second, which is only for an error text.
    let code = unsafe {
        let entry: EntryPoint =
            std::mem::transmute::<*const (), EntryPoint>(sqlite_vec::sqlite3_vec_init as *const ());
        entry(connection.handle(), ptr::null_mut(), ptr::null())
    };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into())
    }
}
