//! Rows of activations: plain, shared between threads, and quantised.
#![allow(
    unsafe_code,
    reason = "threads write disjoint parts of one matrix: see `RowsMut`"
)]

use std::marker::PhantomData;

use super::blocks::BLOCK;

/// A matrix that several threads write at once, each its own part.
#[derive(Debug)]
pub(crate) struct RowsMut<'a, T = f32> {
    start: *mut T,
    rows: usize,
    stride: usize,
    width: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

impl<T> Clone for RowsMut<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for RowsMut<'_, T> {}

// SAFETY: a pointer into memory that is exclusively borrowed for `'a`; `slice` and `ptr` state who may use which part.
unsafe impl<T: Send> Send for RowsMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for RowsMut<'_, T> {}

impl<'a, T> RowsMut<'a, T> {
    /// Takes `values` as rows of `stride` numbers each.
    pub(crate) fn new(values: &'a mut [T], stride: usize) -> Self {
        let rows = values.len() / stride;
        Self {
            start: values.as_mut_ptr(),
            rows,
            stride,
            width: stride,
            lifetime: PhantomData,
        }
    }

    /// The same rows without the columns before `column`.
    pub(crate) fn skip_columns(self, column: usize) -> Self {
        assert!(
            column < self.width && self.rows > 0,
            "a part must lie within its row"
        );
        // SAFETY: inside the first row, just checked.
        let start = unsafe { self.start.add(column) };
        Self {
            start,
            width: self.width - column,
            ..self
        }
    }

    /// Points at `count` numbers of a row, from `column` on.
    pub(crate) fn ptr(&self, row: usize, column: usize, count: usize) -> *mut T {
        assert!(
            row < self.rows && column + count <= self.width,
            "a part must lie within its row"
        );
        // SAFETY: just checked to be inside the borrowed memory.
        unsafe { self.start.add(row * self.stride + column) }
    }

    /// `count` numbers of a row, from `column` on.
    ///
    /// # Safety
    /// Nobody else may read or write these numbers while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub(crate) unsafe fn slice(&self, row: usize, column: usize, count: usize) -> &'a mut [T] {
        // SAFETY: inside the borrowed memory, and exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.ptr(row, column, count), count) }
    }
}

/// What goes with thirty-two quantised activations.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C)]
pub struct BlockNumbers {
    /// `value ≈ scale · code`.
    pub scale: f32,
    /// `scale · Σ codes`, for weights with minima.
    pub scaled_sum: f32,
    /// Sums of the first and the last sixteen codes, for weights with a zero point.
    pub sums: [i32; 2],
}

/// Activations quantised to signed bytes in blocks of thirty-two.
#[derive(Debug, Default)]
pub struct QuantizedRows {
    rows: usize,
    columns: usize,
    codes: Vec<i8>,
    numbers: Vec<BlockNumbers>,
}

impl QuantizedRows {
    /// Takes the shape `[rows, columns]`, columns a multiple of 32; memory only grows. Contents are undefined until
    /// each row is written.
    pub fn reshape(&mut self, rows: usize, columns: usize) {
        assert!(
            columns.is_multiple_of(BLOCK),
            "columns must be a multiple of {BLOCK}"
        );
        self.rows = rows;
        self.columns = columns;
        if self.codes.len() < rows * columns {
            self.codes.resize(rows * columns, 0);
            self.numbers
                .resize(rows * columns / BLOCK, BlockNumbers::default());
        }
    }

    /// Number of tokens.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers in each.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.numbers.len() * size_of::<BlockNumbers>()
    }

    /// One row's codes and block numbers, to be written.
    pub fn row_mut(&mut self, row: usize) -> (&mut [i8], &mut [BlockNumbers]) {
        assert!(row < self.rows);
        let blocks = self.columns / BLOCK;
        (
            &mut self.codes[row * self.columns..][..self.columns],
            &mut self.numbers[row * blocks..][..blocks],
        )
    }

    /// Lets threads write disjoint parts.
    pub(crate) fn shared(&mut self) -> QuantizedRowsMut<'_> {
        QuantizedRowsMut {
            codes: self.codes.as_mut_ptr(),
            numbers: self.numbers.as_mut_ptr(),
            rows: self.rows,
            columns: self.columns,
            lifetime: PhantomData,
        }
    }

    pub(crate) fn codes_ptr(&self, row: usize) -> *const i8 {
        self.codes[row * self.columns..].as_ptr()
    }

    pub(crate) fn numbers_ptr(&self, row: usize) -> *const BlockNumbers {
        self.numbers[row * (self.columns / BLOCK)..].as_ptr()
    }
}

/// [`QuantizedRows`] that several threads write at once, each its own part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QuantizedRowsMut<'a> {
    codes: *mut i8,
    numbers: *mut BlockNumbers,
    rows: usize,
    columns: usize,
    lifetime: PhantomData<&'a mut QuantizedRows>,
}

// SAFETY: pointers into memory that is exclusively borrowed for `'a`; `part` states who may use which part.
unsafe impl Send for QuantizedRowsMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for QuantizedRowsMut<'_> {}

impl<'a> QuantizedRowsMut<'a> {
    /// `count` columns of a row from `column` on, both multiples of 32, with their block numbers.
    ///
    /// # Safety
    /// Nobody else may read or write these columns while the slices live.
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub(crate) unsafe fn part(
        &self,
        row: usize,
        column: usize,
        count: usize,
    ) -> (&'a mut [i8], &'a mut [BlockNumbers]) {
        assert!(row < self.rows && column + count <= self.columns);
        assert!(column.is_multiple_of(BLOCK) && count.is_multiple_of(BLOCK));
        let at = row * self.columns + column;
        // SAFETY: `reshape` has made room for rows × columns; exclusive by the caller's promise.
        unsafe {
            (
                std::slice::from_raw_parts_mut(self.codes.add(at), count),
                std::slice::from_raw_parts_mut(self.numbers.add(at / BLOCK), count / BLOCK),
            )
        }
    }
}
