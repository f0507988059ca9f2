//! A team of threads that runs a chunk of examples, each member with its own share of the units.
//!
//! A member is a future: where it needs what the others compute it waits, and a thread that runs it
//! can run another member. So the team needs no thread of the current rayon pool but one, and any
//! that are free help. (A caller outside of the pool waits until the pool has taken its jobs, even
//! if there is nothing left to do.) No thread waits for a lock while a step is computed: locks
//! guard the copies that members hand over, and [`Exchange`] orders these so that nobody writes
//! what another still reads.

use crate::program::Program;
use crate::share::{Cut, Share};
use crate::KernelFloat;
use rayon::prelude::*;
use std::future::{poll_fn, Future};
use std::ops::Range;
use std::pin::{pin, Pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How often a thread looks for what it waits for before it lets the member go.
const PATIENCE: usize = 2000;

/// How long a thread without work spins before it yields the core.
const SPIN: Duration = Duration::from_micros(50);

/// Counters of different members lie on different cache lines.
#[repr(align(128))]
#[derive(Default)]
struct Counter(AtomicUsize);

/// What the members of a team hand over to each other: rows of their columns, in channels.
///
/// All members hand over in the same order. Each counts what it has handed over, and before it
/// reads it waits until all others have counted as far. A channel has as many places as are in use
/// at once. Two are enough for what is read at every step: who hands over step t + 2 has read step
/// t + 1 of all others, so these have read step t. This needs a step to read something of all, and
/// programs without such products are not cut.
pub(crate) struct Exchange<F> {
    /// By member: how often it has handed over.
    counts: Vec<Counter>,
    /// By member, channel and place.
    channels: Vec<Vec<Vec<RwLock<Vec<F>>>>>,
    /// The number of threads at work.
    present: AtomicUsize,
    /// Whether a member panicked.
    failed: AtomicBool,
}

impl<F: KernelFloat> Exchange<F> {
    /// An exchange of `members` members; `places` is the number of places of each channel.
    pub(crate) fn new(members: usize, places: &[usize]) -> Self {
        let channel = |places: &usize| (0..*places).map(|_| RwLock::default()).collect();
        let channels = || places.iter().map(channel).collect();
        Self {
            counts: (0..members).map(|_| Counter::default()).collect(),
            channels: (0..members).map(|_| channels()).collect(),
            present: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        }
    }

    /// The number of members.
    pub(crate) fn members(&self) -> usize {
        self.counts.len()
    }

    fn place(&self, member: usize, channel: usize, at: usize) -> &RwLock<Vec<F>> {
        let places = &self.channels[member][channel];
        &places[at % places.len()]
    }

    /// Puts `values` into place `at` of a channel, for the others to read once this member has
    /// counted.
    pub(crate) fn put(&self, member: usize, channel: usize, at: usize, values: &[F]) {
        let mut own =
            self.place(member, channel, at).write().unwrap_or_else(PoisonError::into_inner);
        own.clear();
        own.extend_from_slice(values);
    }

    /// Puts together rows of `width` columns of what all members have put into place `at` of a
    /// channel.
    pub(crate) fn get(
        &self,
        channel: usize,
        at: usize,
        cuts: &[Cut],
        width: usize,
        rows: &mut [F],
    ) {
        for Cut { member, stride, start, columns } in cuts {
            let place = self.place(*member, channel, at).read();
            let values = place.unwrap_or_else(PoisonError::into_inner);
            for (index, row) in rows.chunks_exact_mut(width).enumerate() {
                let own = &values[index * stride + start..][..columns.len()];
                row[columns.clone()].copy_from_slice(own);
            }
        }
    }

    /// Says that this member has handed over what it put.
    pub(crate) fn count(&self, member: usize) {
        self.counts[member].0.fetch_add(1, Ordering::Release);
    }

    /// Waits until all others have handed over as much as this member.
    pub(crate) async fn others(&self, member: usize) {
        let count = self.counts[member].0.load(Ordering::Relaxed);
        let ready = || self.counts.iter().all(|other| other.0.load(Ordering::Acquire) >= count);
        poll_fn(|_| {
            let mut left = PATIENCE;
            while !ready() {
                // Whom this member waits for may be nobody's work.
                if left == 0 || self.present.load(Ordering::Relaxed) < self.members() {
                    return Poll::Pending;
                }
                left -= 1;
                std::hint::spin_loop();
            }
            Poll::Ready(())
        })
        .await
    }
}

/// How many chunks of a call run at once, and how many members the team of each has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Teams {
    at_once: usize,
    pub(crate) members: usize,
}

impl Teams {
    /// The teams for the forward pass of chunks, in the current rayon pool.
    pub(crate) fn new(program: &Program, chunks: &[Range<usize>], steps: usize) -> Self {
        let rows = chunks.first().map_or(0, Range::len);
        let most = match &program.pieces {
            Some(pieces) => most_members(program, rows, steps).min(pieces.narrowest).max(1),
            None => 1,
        };
        Self::choose(rayon::current_num_threads(), chunks.len(), most)
    }

    /// The fastest way: with `threads` threads, for a number of chunks, if a team has `most`
    /// members or fewer. A team hands over at every step, so of two equal ways that with smaller
    /// teams.
    fn choose(threads: usize, chunks: usize, most: usize) -> Self {
        let way = |at_once: usize| Self { at_once, members: (threads / at_once).clamp(1, most) };
        let time = |way: &Self| {
            let rounds = chunks.div_ceil(way.at_once) as f64;
            (rounds / way.members as f64, way.members)
        };
        let all = (1..=chunks.min(threads).max(1)).map(way);
        all.min_by(|a, b| time(a).partial_cmp(&time(b)).expect("finite")).expect("one way")
    }

    /// The teams for the backward pass, of as many members as those of the forward pass had.
    pub(crate) fn of(members: usize) -> Self {
        Self { at_once: (rayon::current_num_threads() / members).max(1), members }
    }

    /// The share of a member.
    pub(crate) fn share(self, index: usize) -> Share {
        Share { index, count: self.members }
    }

    /// Runs the chunks; their results in order.
    pub(crate) fn run<T: Send, R: Send>(
        self,
        mut chunks: Vec<T>,
        run: impl Fn(T) -> R + Sync + Send,
    ) -> Vec<R> {
        if chunks.len() < 2 {
            return chunks.into_iter().map(run).collect();
        }
        if self.members == 1 {
            return chunks.into_par_iter().map(run).collect();
        }
        let mut results = Vec::new();
        while !chunks.is_empty() {
            let rest = chunks.split_off(self.at_once.min(chunks.len()));
            results.extend(chunks.into_par_iter().map(&run).collect::<Vec<_>>());
            chunks = rest;
        }
        results
    }

    /// What the members of a team hand over. `block` is the number of steps whose gradients of
    /// sums of products are read at once, in the backward pass for the gradient of the inputs.
    pub(crate) fn exchange<F: KernelFloat>(self, program: &Program, block: usize) -> Exchange<F> {
        Exchange::new(self.members, &program.channels(block))
    }

    /// Runs the team of a chunk: `member` begins the work of a share.
    pub(crate) fn run_team<'a, F: KernelFloat, T: Send, W: Future<Output = T> + Send>(
        self,
        exchange: &'a Exchange<F>,
        member: impl Fn(Share, Option<&'a Exchange<F>>) -> W,
    ) -> Vec<T> {
        if self.members == 1 {
            return vec![complete(member(Share::WHOLE, None))];
        }
        let work = |share| Member::Works(Box::pin(member(share, Some(exchange))));
        run(exchange, self.share(0).all().map(work).collect())
    }
}

/// The most members of a team.
fn most_members(program: &Program, rows: usize, steps: usize) -> usize {
    let graph = &program.graph;
    let product = |linear: usize| {
        let sources = program.products[linear].iter().flatten();
        let depth: usize = sources.map(|source| program.sources[*source].width).sum();
        2 * rows * depth * graph.linears[linear].width
    };
    let work: usize = (0..graph.linears.len()).map(product).sum();
    if work * steps < LEAST_CALL {
        1
    } else {
        (work / LEAST_STEP).max(1)
    }
}

/// The least work, in floating-point operations, of a member's recurrent products at a step, and of
/// a chunk's at all steps of the forward pass, for which a team is faster than one thread.
const LEAST_STEP: usize = 3 << 16;
const LEAST_CALL: usize = 1 << 24;

/// A member of a team that has not ended.
type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A member of a team: its work until it ends, then its result.
enum Member<'a, T> {
    Works(Work<'a, T>),
    Ended(T),
}

/// Marks an exchange as failed if its thread panics.
struct Watch<'a, F>(&'a Exchange<F>);

impl<F> Drop for Watch<'_, F> {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::Relaxed);
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
        }
    }
}

/// Runs the members of a team on this thread and on those of the current rayon pool that are
/// free; their results, by member.
///
/// # Panics
/// If a member panics.
fn run<F: KernelFloat, T: Send>(exchange: &Exchange<F>, members: Vec<Member<'_, T>>) -> Vec<T> {
    let left = AtomicUsize::new(members.len());
    let members: Vec<_> = members.into_iter().map(Mutex::new).collect();
    rayon::in_place_scope(|scope| {
        for first in 1..members.len() {
            let (members, left) = (&members, &left);
            scope.spawn(move |_| work(exchange, members, left, first));
        }
        work(exchange, &members, &left, 0);
    });
    let result = |member: Mutex<Member<T>>| match member
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
    {
        Member::Ended(result) => result,
        Member::Works(_) => unreachable!("a team ends when all of its members have ended"),
    };
    members.into_iter().map(result).collect()
}

/// The work of one thread, until all members have ended: member `first` if nobody else runs it, and
/// otherwise any other.
fn work<F: KernelFloat, T>(
    exchange: &Exchange<F>,
    members: &[Mutex<Member<T>>],
    left: &AtomicUsize,
    first: usize,
) {
    exchange.present.fetch_add(1, Ordering::Relaxed);
    let _watch = Watch(exchange);
    let mut context = Context::from_waker(Waker::noop());
    let mut idle: Option<Instant> = None;
    while left.load(Ordering::Acquire) > 0 {
        if exchange.failed.load(Ordering::Relaxed) {
            return; // the thread of that member panics
        }
        let mut progress = false;
        for member in (first..members.len()).chain(0..first) {
            let Ok(mut own) = members[member].try_lock() else { continue };
            let Member::Works(work) = &mut *own else { continue };
            let before = exchange.counts[member].0.load(Ordering::Relaxed);
            if let Poll::Ready(result) = work.as_mut().poll(&mut context) {
                *own = Member::Ended(result);
                left.fetch_sub(1, Ordering::Release);
            }
            progress |= exchange.counts[member].0.load(Ordering::Relaxed) != before;
        }
        match (progress, idle) {
            (true, _) => idle = None,
            (false, None) => idle = Some(Instant::now()),
            (false, Some(since)) if since.elapsed() < SPIN => std::hint::spin_loop(),
            (false, Some(_)) => std::thread::yield_now(),
        }
    }
}

/// The result of a future that never waits.
pub(crate) fn complete<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("a member that is alone has nobody to wait for"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::even_cuts;

    #[test]
    fn teams_for_all_threads() {
        let choose = |threads, chunks, most| {
            let Teams { at_once, members } = Teams::choose(threads, chunks, most);
            (at_once, members)
        };
        assert_eq!(choose(1, 1, 9), (1, 1));
        assert_eq!(choose(2, 2, 9), (2, 1)); // two chunks at once, rather than two teams in turn
        assert_eq!(choose(2, 1, 9), (1, 2));
        assert_eq!(choose(8, 2, 9), (2, 4));
        assert_eq!(choose(3, 2, 9), (1, 3)); // two rounds of a third, rather than one of a half
        assert_eq!(choose(16, 1, 5), (1, 5));
        assert_eq!(choose(16, 4, 1), (4, 1));
        assert_eq!(choose(4, 0, 9), (1, 4));
    }

    /// Members that hand over at every step, and add up what all handed over.
    fn sums(members: usize, steps: usize, panics: bool) -> Vec<u64> {
        let exchange = Exchange::<f64>::new(members, &[2]);
        let teams = Teams { at_once: 1, members };
        teams.run_team(&exchange, |share, exchange| async move {
            let mut sum = 0;
            for t in 0..steps {
                let value = (share.index * steps + t) as f64;
                let Some(exchange) = exchange else { return 0 };
                exchange.put(share.index, 0, t, &[value]);
                exchange.count(share.index);
                exchange.others(share.index).await;
                assert!(!panics || share.index == 0 || t < 5, "a fault");
                let mut all = vec![0.0; members];
                exchange.get(0, t, &even_cuts(members, share), members, &mut all);
                sum += all.iter().sum::<f64>() as u64;
            }
            sum
        })
    }

    #[test]
    fn members_read_what_all_hand_over() {
        for members in [2, 3, 7] {
            for threads in [1, 2, 4] {
                let pool =
                    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                let found = pool.install(|| sums(members, 1000, false));
                let all = (members * 1000) as u64;
                assert_eq!(found, vec![all * (all - 1) / 2; members], "{members} on {threads}");
            }
        }
    }

    #[test]
    fn a_panic_ends_the_team() {
        for threads in [1, 3] {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            let found = std::thread::spawn(move || pool.install(|| sums(3, 1000, true))).join();
            assert!(found.is_err());
        }
    }
}
