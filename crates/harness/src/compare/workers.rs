//! Runs side by side, each on one thread.

use super::{ComparisonEvent, Plan};
use crate::dir::OutputDir;
use crate::error::Result;
use crate::run::{self, Event, Job, Run};
use rayon::ThreadPoolBuilder;
use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Mutex;
use std::thread;

/// A user's layer may be built from plain operations. Their graph is as deep as the sequence is
/// long, and candle walks it recursively. Unused memory costs nothing.
const STACK: usize = 64 << 20;

/// The finished runs, by the index of their variant and their seed, and the folder of each.
pub(super) type Done = BTreeMap<(usize, u64), OutputDir>;

/// The runs that had ended before in this folder.
pub(super) fn ended(plan: &Plan, folder: &OutputDir) -> Result<Done> {
    let mut done = Done::new();
    for place in plan.places() {
        let name = format!("runs/{}", plan.job(place).folder());
        if folder.path().join(&name).is_dir() {
            let own = folder.inside(&name)?;
            if Run::has_ended(&own)? {
                done.insert(place, own);
            }
        }
    }
    Ok(done)
}

/// Runs all remaining jobs, or those that fit before `cancel` is set, and returns notes on skipped
/// checkpoints.
///
/// candle's matrix products and the kernels use the thread pool in which they are called. Every
/// worker therefore has a pool of one thread, and its runs are single-threaded. The exception is
/// candle's element-wise operations on 65,536 elements or more. They share one pool of the whole
/// process, whose size candle reads from `CANDLE_NUM_THREADS` when it is first needed; candle has
/// no argument for it. Results do not depend on it, but times do: about 15 % for the copy task.
pub(super) fn run(
    plan: &Plan,
    folder: &OutputDir,
    cancel: &AtomicBool,
    on_event: &(dyn Fn(ComparisonEvent) + Sync),
    done: &mut Done,
) -> Result<Vec<String>> {
    let interval = plan.comparison.interval;
    let queue: Vec<_> = plan.places().filter(|place| !done.contains_key(place)).collect();
    let (next, done, notes) = (AtomicUsize::new(0), Mutex::new(done), Mutex::new(Vec::new()));
    let broken = AtomicBool::new(false);
    let work = |worker: usize| -> Result<()> {
        while let Some(&place) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
            if cancel.load(Ordering::Relaxed) || broken.load(Ordering::Relaxed) {
                break;
            }
            let job = plan.job(place);
            let own = folder.inside(&format!("runs/{}", job.folder()))?;
            on_event(ComparisonEvent::RunBegins {
                worker,
                variant: &job.variant.name,
                seed: job.config.seed,
            });
            let mut told = |event: Event| {
                on_event(ComparisonEvent::Run { worker, event });
                if let Event::Damaged(line) = event {
                    notes
                        .lock()
                        .expect("a worker does not panic while it holds it")
                        .push(line.to_string());
                }
            };
            let run = caught(&job, || run::run_in(&job, &own, interval, cancel, &mut told))?;
            run.write(&own)?;
            on_event(ComparisonEvent::RunEnded { worker, run: &run.record });
            done.lock().expect("a worker does not panic while it holds it").insert(place, own);
        }
        Ok(())
    };
    let worker = |number: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(1).stack_size(STACK).build();
        let ended = pool.map_err(Into::into).and_then(|pool| pool.install(|| work(number)));
        // If this cannot be written, the files of the other runs cannot either.
        broken.fetch_or(ended.is_err(), Ordering::Relaxed);
        ended
    };
    thread::scope(|scope| {
        let jobs = plan.comparison.jobs.min(queue.len());
        let workers: Vec<_> = (0..jobs).map(|number| scope.spawn(move || worker(number))).collect();
        let ends =
            workers.into_iter().map(|worker| worker.join().expect("panics in it are caught"));
        ends.collect::<Vec<_>>().into_iter().collect::<Result<()>>()
    })?;
    Ok(notes.into_inner().expect("a worker does not panic while it holds it"))
}

/// One run. A panic in it fails this run alone; only a user's layer should ever panic.
fn caught(job: &Job, run: impl FnOnce() -> Result<Run>) -> Result<Run> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(panic.downcast_ref::<&str>().copied());
        Ok(run::failed_at_start(job, format!("panic: {}", text.unwrap_or("no message"))))
    })
}
