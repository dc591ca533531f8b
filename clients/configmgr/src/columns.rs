//! Columns that an older site does not know: what it refuses is asked for without them.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;

/// Columns that not every site knows.
pub(crate) struct Columns {
    are_known: AtomicBool,
}

impl Default for Columns {
    fn default() -> Self {
        Self { are_known: AtomicBool::new(true) }
    }
}

impl Columns {
    pub(crate) fn asking(&self) -> Asking<'_> {
        let with = self.are_known.load(Ordering::Relaxed);
        Asking { columns: self, with, is_refused: false }
    }
}

/// A read that asks for them, where the site knows them; without, once it has refused them twice.
pub(crate) struct Asking<'a> {
    columns: &'a Columns,
    pub(crate) with: bool,
    is_refused: bool,
}

impl Asking<'_> {
    /// What a read found; `None` where it is to be made again.
    pub(crate) fn settle<T>(
        &mut self,
        read: Result<Vec<T>, Error>,
    ) -> Option<Result<Vec<T>, Error>> {
        if matches!(read, Err(Error::Query { .. })) && self.with {
            // One refusal may have any cause; two tell that the site knows no such columns.
            (self.with, self.is_refused) = (!self.is_refused, true);
            return None;
        }
        if read.is_ok() {
            self.columns.are_known.store(self.with, Ordering::Relaxed);
        }
        Some(read)
    }
}
