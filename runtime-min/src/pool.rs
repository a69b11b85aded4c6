//! A fork-join pool: workers spin a little for the next job, then park.
//!
//! A job is open while its epoch is odd. Workers announce themselves in `active` before they touch it and check again that it is open; the
//! caller takes tasks too, closes the job when none is left, and waits until nobody is active. So a worker that sleeps costs a job
//! nothing, and nobody sees a job after [`Pool::run`] has returned.

use crate::abi::{Parallel, Task, Workers};
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::boxed::Box;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::vec::Vec;

/// Rounds that a worker looks for work before it parks: some tens of microseconds.
const SPINS: u32 = 20_000;

struct Shared {
    /// Odd while a job is open.
    epoch: AtomicU64,
    /// Next task to take.
    next: AtomicU64,
    /// Number of tasks.
    tasks: AtomicU64,
    /// The job's function, as an address.
    task: AtomicPtr<c_void>,
    /// The job's context.
    context: AtomicPtr<c_void>,
    /// Workers that may be looking at the job.
    active: AtomicUsize,
    /// Workers that are parked or about to.
    parked: AtomicUsize,
    stop: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Shared {
    /// Takes tasks until none is left.
    fn work(&self) {
        let task = self.task.load(SeqCst);
        let context = self.context.load(SeqCst);
        let n = self.tasks.load(SeqCst);
        loop {
            let i = self.next.fetch_add(1, SeqCst);
            if i >= n {
                return;
            }
            // SAFETY: `Pool::run` stored a valid `Task` for the open job, and it waits for active workers before it returns, so task and
            // context are valid here; each index is taken once.
            unsafe {
                let task: Task = core::mem::transmute::<*mut c_void, Task>(task);
                task(context, i);
            }
        }
    }

    fn worker(&self) {
        let mut seen = 0;
        let mut idle = 0;
        while !self.stop.load(SeqCst) {
            let epoch = self.epoch.load(SeqCst);
            if epoch % 2 == 1 && epoch != seen {
                self.active.fetch_add(1, SeqCst);
                if self.epoch.load(SeqCst) == epoch {
                    self.work();
                }
                self.active.fetch_sub(1, SeqCst);
                seen = epoch;
                idle = 0;
            } else if idle < SPINS {
                idle += 1;
                core::hint::spin_loop();
            } else {
                self.park(seen);
                idle = 0;
            }
        }
    }

    fn park(&self, seen: u64) {
        self.parked.fetch_add(1, SeqCst);
        if let Ok(mut guard) = self.lock.lock() {
            loop {
                let epoch = self.epoch.load(SeqCst);
                if self.stop.load(SeqCst) || (epoch % 2 == 1 && epoch != seen) {
                    break;
                }
                guard = match self.wake.wait(guard) {
                    Ok(g) => g,
                    Err(_) => break,
                };
            }
        }
        self.parked.fetch_sub(1, SeqCst);
    }

    fn wake_all(&self) {
        if self.parked.load(SeqCst) > 0 {
            let _guard = self.lock.lock();
            self.wake.notify_all();
        }
    }
}

/// A pool of threads; the calling thread is one of them.
#[repr(C)]
pub struct Pool {
    /// The C view of this pool; it comes first, so that its address is the pool's.
    parallel: Parallel,
    shared: Arc<Shared>,
    /// Held while a job runs: jobs from several threads take turns.
    busy: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

impl core::fmt::Debug for Pool {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

impl Pool {
    /// A pool of `threads` threads in all, at least one: `threads - 1` workers are started.
    ///
    /// # Errors
    /// Where the system cannot start a thread.
    pub fn new(threads: usize) -> std::io::Result<Box<Pool>> {
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            next: AtomicU64::new(0),
            tasks: AtomicU64::new(0),
            task: AtomicPtr::new(null_mut()),
            context: AtomicPtr::new(null_mut()),
            active: AtomicUsize::new(0),
            parked: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut pool = Box::new(Pool { parallel: Parallel { run: run_on_pool }, shared, busy: Mutex::new(()), workers: Vec::new() });
        for _ in 1..threads {
            let shared = pool.shared.clone();
            pool.workers.push(std::thread::Builder::new().name("tflc".into()).spawn(move || shared.worker())?);
        }
        Ok(pool)
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// The pool as models take it in Rust.
    pub fn workers(&self) -> Workers<'_> {
        // SAFETY: the pool keeps the promise of `Parallel`, and is borrowed as long as the result.
        unsafe { Workers::from_raw(self.as_parallel()) }
    }

    /// The pool as `invoke` takes it; valid as long as the pool.
    pub fn as_parallel(&self) -> *const Parallel {
        (&raw const *self).cast()
    }

    /// Calls `task(context, i)` once for each i below `n` and returns when all calls have.
    ///
    /// # Safety
    /// `task` may be called with `context` from several threads at once.
    pub unsafe fn run(&self, task: Task, context: *mut c_void, n: u64) {
        let _turn = self.busy.lock();
        let s = &*self.shared;
        s.task.store(task as *mut c_void, SeqCst);
        s.context.store(context, SeqCst);
        s.tasks.store(n, SeqCst);
        s.next.store(0, SeqCst);
        s.epoch.fetch_add(1, SeqCst);
        s.wake_all();
        s.work();
        s.epoch.fetch_add(1, SeqCst);
        while s.active.load(SeqCst) > 0 {
            core::hint::spin_loop();
        }
    }
}

/// [`Pool::run`] for the C view.
///
/// # Safety
/// `this` came from [`Pool::as_parallel`] of a living pool; the rest as for [`Pool::run`].
unsafe extern "C" fn run_on_pool(this: *const Parallel, task: Task, context: *mut c_void, n: u64) {
    // SAFETY: the address of the first field of a `Pool` made by `as_parallel`, whose provenance is the whole pool.
    unsafe { (*this.cast::<Pool>()).run(task, context, n) }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        {
            let _guard = self.shared.lock.lock();
            self.shared.wake.notify_all();
        }
        for w in self.workers.drain(..) {
            let _ = w.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn count(context: *mut c_void, index: u64) {
        // SAFETY: the test passes an array of counters as long as there are tasks.
        unsafe { (*context.cast::<AtomicU64>().add(index as usize)).fetch_add(1, SeqCst) };
    }

    #[test]
    fn every_task_runs_once_in_every_job() {
        for threads in [1, 2, 4] {
            let pool = Pool::new(threads).unwrap();
            let counters: Vec<AtomicU64> = (0..100).map(|_| AtomicU64::new(0)).collect();
            for job in 1..=500u64 {
                // SAFETY: `count` takes the array of 100 counters from any thread.
                unsafe { pool.run(count, counters.as_ptr().cast_mut().cast(), 100) };
                assert!(counters.iter().all(|c| c.load(SeqCst) == job));
                if job % 100 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            }
        }
    }
}
