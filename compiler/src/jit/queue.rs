//! What a compilation still has to do, and what comes next: kernels to compile and pieces of the weights to pack.
//!
//! Kernels keep a processor busy, pieces the memory: half of the threads pack, the largest piece first, while the others compile. Both become known one after
//! the other; the order in which they are done decides nothing but how long that takes.

use rayon::Scope;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A task.
pub(super) type Task<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Tasks that have not begun.
#[derive(Default)]
pub(super) struct Queue<'a> {
    waiting: Mutex<Waiting<'a>>,
}

#[derive(Default)]
struct Waiting<'a> {
    kernels: VecDeque<Task<'a>>,
    /// The largest one last.
    pieces: Vec<(usize, Task<'a>)>,
    /// Pieces that are being packed.
    packing: usize,
}

impl<'a> Queue<'a> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<'a>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a kernel.
    pub(super) fn kernel<'s>(&'s self, scope: &Scope<'s>, task: Task<'a>) {
        self.waiting().kernels.push_back(task);
        scope.spawn(|_| self.next());
    }

    /// Adds pieces with their sizes.
    pub(super) fn pieces<'s>(&'s self, scope: &Scope<'s>, pieces: impl IntoIterator<Item = (usize, Task<'a>)>) {
        let mut waiting = self.waiting();
        let before = waiting.pieces.len();
        waiting.pieces.extend(pieces);
        let added = waiting.pieces.len() - before;
        waiting.pieces.sort_by_key(|p| p.0);
        drop(waiting);
        (0..added).for_each(|_| scope.spawn(|_| self.next()));
    }

    /// Does the task that comes next.
    fn next(&self) {
        let mut waiting = self.waiting();
        let may_pack = 2 * waiting.packing < rayon::current_num_threads() || waiting.kernels.is_empty();
        let piece = if may_pack { waiting.pieces.pop() } else { None };
        if let Some((_, task)) = piece {
            waiting.packing += 1;
            drop(waiting);
            task();
            self.waiting().packing -= 1;
        } else if let Some(task) = waiting.kernels.pop_front() {
            drop(waiting);
            task();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_the_largest_piece_first() {
        let done = Mutex::new(vec![]);
        let list = &done;
        let task = |name: &'static str| -> Task<'_> { Box::new(move || list.lock().expect("no panic").push(name)) };
        let queue = Queue::default();
        // The only thread adds everything before it begins.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        pool.scope(|scope| {
            queue.kernel(scope, task("first kernel"));
            queue.kernel(scope, task("second kernel"));
            queue.pieces(scope, [(1, task("small piece")), (3, task("large piece"))]);
        });
        drop(queue);
        assert_eq!(done.into_inner().expect("no panic"), ["large piece", "small piece", "first kernel", "second kernel"]);
    }
}
