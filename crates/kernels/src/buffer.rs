//! A pool of buffers: fresh pages cost as much time as the arithmetic on them.
//!
//! A training step needs the same large buffers as the last one. The system hands out large blocks
//! as fresh pages that fault and are cleared at first touch, every time. So dropped buffers return
//! to a pool and are reused.

use crate::KernelFloat;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// The most bytes in a pool.
const LIMIT: usize = 1 << 30;

/// Buffers smaller than this are left to the allocator.
const SMALL: usize = 1 << 14;

/// Bytes of a cache line.
const LINE: usize = 64;

/// The unused buffers of one element type.
#[derive(Debug, Default)]
pub struct BufferPool<F>(Mutex<Vec<Vec<F>>>);

impl<F> BufferPool<F> {
    /// An empty pool.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The smallest buffer that holds `len`, unless it is more than twice as large.
    fn take(&self, len: usize) -> Option<Vec<F>> {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &Vec<F>| (len..=2 * len).contains(&buffer.capacity());
        let all = buffers.iter().enumerate().filter(|(_, buffer)| fits(buffer));
        let (index, _) = all.min_by_key(|(_, buffer)| buffer.capacity())?;
        Some(buffers.swap_remove(index))
    }

    fn put_back(&self, buffer: Vec<F>) {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.push(buffer);
        let size = |buffer: &Vec<F>| buffer.capacity() * size_of::<F>();
        let mut total: usize = buffers.iter().map(size).sum();
        while total > LIMIT {
            total -= size(&buffers.remove(0));
        }
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Returns the pooled memory of all kernels to the system: at most 1 GiB of each element type.
pub fn release_memory() {
    f32::pool().clear();
    f64::pool().clear();
}

/// A vector of fixed length from the pool. It is aligned to cache lines, since vectors that cross
/// them are slow.
#[derive(Debug)]
pub(crate) struct Buffer<F: KernelFloat> {
    memory: Vec<F>,
    start: usize,
    len: usize,
}

impl<F: KernelFloat> Buffer<F> {
    /// `len` elements with arbitrary content.
    pub(crate) fn recycled(len: usize) -> Self {
        let size = len + LINE / size_of::<F>();
        let buffers = if size * size_of::<F>() < SMALL { None } else { F::pool().take(size) };
        let mut memory = buffers.unwrap_or_else(|| vec![F::ZERO; size]);
        memory.resize(size, F::ZERO);
        let start = memory.as_ptr().align_offset(LINE).min(size - len);
        Self { memory, start, len }
    }
}

impl<F: KernelFloat> Drop for Buffer<F> {
    fn drop(&mut self) {
        if self.memory.capacity() * size_of::<F>() >= SMALL {
            F::pool().put_back(std::mem::take(&mut self.memory));
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
