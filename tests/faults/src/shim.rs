//! SQLite's file layer, with a look at every operation.

// SQLite calls its file layer by C functions.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Once;

use rusqlite::ffi;

use crate::disk::{Verdict, Watched, anything_is_read, disk_of, remove};

/// Locks of the log's index: readers that a checkpoint that empties the log waits for, and how many there are.
const READERS: (c_int, c_int) = (4, 4);

/// Files that are made beside a database.
const JOURNALS: c_int = ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL;

/// A file of SQLite's: ours in front, the real one behind it in the same piece of memory.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// Made by `Box::into_raw`; null for a file that isn't watched.
    watched: *mut Watched,
}

/// Where the real file begins, so that it is aligned like anything SQLite allocates.
const REAL_AT: usize = size_of::<File>().next_multiple_of(16);

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Makes the shim the process's default, once.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the default layer lives as long as the process and is copied field by field; the shim and its name live
        // as long, too. `pAppData` of the shim is the real layer, which all functions below hand on to.
        unsafe {
            let real = ffi::sqlite3_vfs_find(ptr::null());
            assert!(!real.is_null(), "SQLite has a file layer");
            let mut shim = *real;
            shim.iVersion = shim.iVersion.min(2);
            shim.szOsFile = c_int::try_from(REAL_AT).expect("a size") + (*real).szOsFile;
            shim.pNext = ptr::null_mut();
            shim.zName = c"faults".as_ptr();
            shim.pAppData = real.cast();
            shim.xOpen = Some(open);
            shim.xDelete = Some(delete);
            shim.xAccess = Some(access);
            shim.xFullPathname = Some(full_pathname);
            shim.xDlOpen = None;
            shim.xDlError = None;
            shim.xDlSym = None;
            shim.xDlClose = None;
            shim.xRandomness = Some(randomness);
            shim.xSleep = Some(sleep);
            shim.xCurrentTime = Some(current_time);
            shim.xGetLastError = Some(last_error);
            shim.xCurrentTimeInt64 = Some(current_time_int64);
            let registered = ffi::sqlite3_vfs_register(Box::into_raw(Box::new(shim)), 1);
            assert_eq!(registered, ffi::SQLITE_OK, "SQLite takes the shim");
        }
    });
}

/// # Safety
/// `shim` is the one that [`install`] registered.
unsafe fn real_layer(shim: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: said above.
    unsafe { (*shim).pAppData.cast() }
}

/// The real file behind ours.
///
/// # Safety
/// `file` was opened by [`open`].
unsafe fn real_file(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: SQLite allocated `szOsFile` bytes, which reach beyond `REAL_AT`.
    unsafe { file.cast::<u8>().add(REAL_AT).cast() }
}

/// # Safety
/// `file` was opened by [`open`] and isn't closed; what comes back isn't used after it is.
unsafe fn watched<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a Watched> {
    // SAFETY: the pointer is null or from `Box::into_raw`, and freed by `close` alone.
    unsafe { (*file.cast::<File>()).watched.as_ref() }
}

/// Calls a method of the real file.
macro_rules! hand_on {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let real = real_file($file);
        match (*(*real).pMethods).$method {
            Some(method) => method(real $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

/// Calls a function of the real layer.
macro_rules! hand_over {
    ($shim:expr, $function:ident $(, $argument:expr)*) => {{
        let real = real_layer($shim);
        match (*real).$function {
            Some(function) => function(real $(, $argument)*),
            None => ffi::SQLITE_ERROR,
        }
    }};
}

/// # Safety
/// `name` is null or a C string.
unsafe fn path<'a>(name: *const c_char) -> Option<&'a Path> {
    if name.is_null() {
        return None;
    }
    // SAFETY: said above.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    Some(Path::new(OsStr::from_bytes(bytes)))
}

unsafe extern "C" fn open(
    shim: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's contract of xOpen: `file` has `szOsFile` bytes, and `name` is null or lives as long as the file.
    // Without methods the file counts as closed.
    unsafe {
        (*file).pMethods = ptr::null();
        (*file.cast::<File>()).watched = ptr::null_mut();
        let watched = path(name).and_then(|path| {
            disk_of(path).map(|state| Watched {
                path: path.to_owned(),
                state,
                with_folder: (flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & JOURNALS != 0).into(),
            })
        });
        if watched.as_ref().is_some_and(Watched::is_dead) {
            return ffi::SQLITE_CANTOPEN;
        }
        let opened = hand_over!(shim, xOpen, name, real_file(file), flags, out_flags);
        if opened == ffi::SQLITE_OK {
            if let Some(watched) = watched {
                (*file.cast::<File>()).watched = Box::into_raw(Box::new(watched));
            }
            (*file).pMethods = &raw const METHODS;
        }
        opened
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open; its box is freed here and nowhere else.
    unsafe {
        let watched = std::mem::replace(&mut (*file.cast::<File>()).watched, ptr::null_mut());
        if !watched.is_null() {
            drop(Box::from_raw(watched));
        }
        hand_on!(file, xClose)
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    amount: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open, and `to` has room for `amount` bytes.
    unsafe {
        if watched(file).is_some_and(Watched::is_dead) {
            return ffi::SQLITE_IOERR_READ;
        }
        hand_on!(file, xRead, to, amount, at)
    }
}

/// What a file holds from a place on, and its length.
///
/// # Safety
/// `file` is open.
unsafe fn look(file: *mut ffi::sqlite3_file, at: u64, most: u64) -> Result<(Vec<u8>, u64), c_int> {
    // SAFETY: the buffer is as long as is said.
    unsafe {
        let mut length: ffi::sqlite3_int64 = 0;
        let sized = hand_on!(file, xFileSize, &raw mut length);
        if sized != ffi::SQLITE_OK {
            return Err(sized);
        }
        let length = length.max(0) as u64;
        let mut bytes = vec![0u8; length.saturating_sub(at).min(most) as usize];
        if !bytes.is_empty() {
            let amount = c_int::try_from(bytes.len()).map_err(|_| ffi::SQLITE_IOERR)?;
            let seen = hand_on!(file, xRead, bytes.as_mut_ptr().cast(), amount, at as i64);
            if seen != ffi::SQLITE_OK {
                return Err(seen);
            }
        }
        Ok((bytes, length))
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    amount: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open, and `from` holds `amount` bytes.
    unsafe {
        let Some(watched) = watched(file) else {
            return hand_on!(file, xWrite, from, amount, at);
        };
        let (place, length) = (at.max(0) as u64, amount.max(0) as u64);
        let (before, length_before) = match look(file, place, length) {
            Ok(seen) => seen,
            Err(code) => return code,
        };
        let verdict = watched.write(place + length > length_before);
        let done = match verdict {
            Verdict::Do => amount,
            Verdict::Half => amount / 2,
            Verdict::Fail => return ffi::SQLITE_IOERR_WRITE,
            Verdict::NoSpace => return ffi::SQLITE_FULL,
        };
        let wrote = if done > 0 {
            hand_on!(file, xWrite, from, done, at)
        } else {
            ffi::SQLITE_OK
        };
        if wrote != ffi::SQLITE_OK {
            return wrote;
        }
        let after = std::slice::from_raw_parts(from.cast::<u8>(), done as usize).to_vec();
        watched.wrote(place, length_before, before, after);
        if verdict == Verdict::Half {
            ffi::SQLITE_IOERR_WRITE
        } else {
            ffi::SQLITE_OK
        }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let Some(watched) = watched(file) else {
            return hand_on!(file, xTruncate, size);
        };
        let to = size.max(0) as u64;
        let tail = match look(file, to, u64::MAX) {
            Ok((tail, _)) => tail,
            Err(code) => return code,
        };
        if watched.truncate() != Verdict::Do {
            return ffi::SQLITE_IOERR_TRUNCATE;
        }
        let done = hand_on!(file, xTruncate, size);
        if done == ffi::SQLITE_OK {
            watched.truncated(to, tail);
        }
        done
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        match watched(file) {
            None => hand_on!(file, xSync, flags),
            // Nobody pulls the plug of the real disk.
            Some(watched) if watched.sync() == Verdict::Do => ffi::SQLITE_OK,
            Some(_) => ffi::SQLITE_IOERR_FSYNC,
        }
    }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file is open.
    unsafe { hand_on!(file, xFileSize, size) }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe { hand_on!(file, xLock, level) }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe { hand_on!(file, xUnlock, level) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe { hand_on!(file, xCheckReservedLock, out) }
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the file is open; the argument is what the operation wants.
    unsafe { hand_on!(file, xFileControl, operation, argument) }
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    unsafe { hand_on!(file, xSectorSize) }
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    unsafe { hand_on!(file, xDeviceCharacteristics) }
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: the file is open.
    unsafe { hand_on!(file, xShmMap, region, size, extend, out) }
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let all_readers = (offset, count) == READERS
            && flags & ffi::SQLITE_SHM_LOCK != 0
            && flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
        if all_readers && watched(file).is_some_and(Watched::is_read_elsewhere) {
            return ffi::SQLITE_BUSY;
        }
        hand_on!(file, xShmLock, offset, count, flags)
    }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: the file is open.
    unsafe {
        let real = real_file(file);
        if let Some(barrier) = (*(*real).pMethods).xShmBarrier {
            barrier(real);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, remove: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe { hand_on!(file, xShmUnmap, remove) }
}

unsafe extern "C" fn delete(shim: *mut ffi::sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: `name` is a C string.
    unsafe {
        if let Some(path) = path(name)
            && let Some(state) = disk_of(path)
            && path.exists()
            && remove(&state, path, sync_folder != 0) != Verdict::Do
        {
            return ffi::SQLITE_IOERR_DELETE;
        }
        hand_over!(shim, xDelete, name, sync_folder)
    }
}

unsafe extern "C" fn access(
    shim: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: the caller's arguments are handed on.
    unsafe { hand_over!(shim, xAccess, name, flags, out) }
}

unsafe extern "C" fn full_pathname(
    shim: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: the caller's arguments are handed on.
    unsafe { hand_over!(shim, xFullPathname, name, room, out) }
}

unsafe extern "C" fn randomness(shim: *mut ffi::sqlite3_vfs, amount: c_int, out: *mut c_char) -> c_int {
    // SAFETY: the caller's arguments are handed on.
    unsafe { hand_over!(shim, xRandomness, amount, out) }
}

unsafe extern "C" fn sleep(shim: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    if anything_is_read() {
        return microseconds;
    }
    // SAFETY: the caller's arguments are handed on.
    unsafe { hand_over!(shim, xSleep, microseconds) }
}

unsafe extern "C" fn current_time(shim: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: the caller's arguments are handed on.
    unsafe { hand_over!(shim, xCurrentTime, out) }
}

unsafe extern "C" fn last_error(shim: *mut ffi::sqlite3_vfs, room: c_int, out: *mut c_char) -> c_int {
    // SAFETY: the caller's arguments are handed on.
    unsafe { hand_over!(shim, xGetLastError, room, out) }
}

unsafe extern "C" fn current_time_int64(shim: *mut ffi::sqlite3_vfs, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: the caller's arguments are handed on.
    unsafe { hand_over!(shim, xCurrentTimeInt64, out) }
}
