//! Memory that is used again: fresh pages cost as much time as the arithmetic on them.
//!
//! A training step needs the same large buffers as the one before. The system hands out large blocks as fresh pages that fault
//! and are cleared at first touch, every time. So buffers that are given back wait here for the next who asks.

use crate::KernelFloat;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// How many bytes may wait, at most.
const LIMIT: usize = 1 << 30;

/// Buffers of less are left to the allocator.
const SMALL: usize = 1 << 14;

/// Bytes of a cache line.
const LINE: usize = 64;

/// The buffers of one element type that wait.
#[derive(Debug, Default)]
pub struct Waiting<F>(Mutex<Vec<Vec<F>>>);

impl<F> Waiting<F> {
    /// No buffers.
    pub(crate) const fn none() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The smallest that holds `len`, unless it is far too large.
    fn take(&self, len: usize) -> Option<Vec<F>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &Vec<F>| (len..=2 * len).contains(&buffer.capacity());
        let all = waiting.iter().enumerate().filter(|(_, buffer)| fits(buffer));
        let (index, _) = all.min_by_key(|(_, buffer)| buffer.capacity())?;
        Some(waiting.swap_remove(index))
    }

    fn give(&self, buffer: Vec<F>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(buffer);
        let size = |buffer: &Vec<F>| buffer.capacity() * size_of::<F>();
        let mut total: usize = waiting.iter().map(size).sum();
        while total > LIMIT {
            total -= size(&waiting.remove(0));
        }
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Gives the memory back to the system that kernels keep for their next run: at most 1 GiB of each element type.
pub fn release_memory() {
    f32::waiting().clear();
    f64::waiting().clear();
}

/// A vector of fixed length whose memory is used again. It begins at a border of cache lines, which vectors that cross them pay for.
#[derive(Debug)]
pub(crate) struct Buffer<F: KernelFloat> {
    memory: Vec<F>,
    start: usize,
    len: usize,
}

impl<F: KernelFloat> Buffer<F> {
    /// `len` elements with anything in them that an earlier user left.
    pub(crate) fn any(len: usize) -> Self {
        let size = len + LINE / size_of::<F>();
        let waiting = if size * size_of::<F>() < SMALL { None } else { F::waiting().take(size) };
        let mut memory = waiting.unwrap_or_else(|| vec![F::ZERO; size]);
        memory.resize(size, F::ZERO);
        let start = memory.as_ptr().align_offset(LINE).min(size - len);
        Self { memory, start, len }
    }

    /// `len` times `value`.
    pub(crate) fn filled(len: usize, value: F) -> Self {
        let mut buffer = Self::any(len);
        buffer.fill(value);
        buffer
    }
}

impl<F: KernelFloat> Drop for Buffer<F> {
    fn drop(&mut self) {
        if self.memory.capacity() * size_of::<F>() >= SMALL {
            F::waiting().give(std::mem::take(&mut self.memory));
        }
    }
}

impl<F: KernelFloat> Deref for Buffer<F> {
    type Target = [F];

    fn deref(&self) -> &[F] {
        &self.memory[self.start..][..self.len]
    }
}

impl<F: KernelFloat> DerefMut for Buffer<F> {
    fn deref_mut(&mut self) -> &mut [F] {
        &mut self.memory[self.start..][..self.len]
    }
}
