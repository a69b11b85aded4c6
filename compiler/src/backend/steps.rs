//! What the drivers of all backends have in common: which calls are split over threads, and how long programs are cut.

use crate::lower::program::{Call, Step};

/// Status for a null or misaligned argument.
pub(super) const STATUS_INVALID_ARGUMENT: i64 = 1;

/// Top-level steps per function, counted in calls.
const CALLS_PER_PART: usize = 128;

/// Whether a call has more than one grain.
pub(super) fn is_split(call: &Call) -> bool {
    call.units > call.grain
}

/// Cuts the top-level steps into runs of bounded length.
pub(super) fn parts(steps: &[Step]) -> Vec<&[Step]> {
    fn size(s: &Step) -> usize {
        match s {
            Step::Call(_) | Step::External(_) => 1,
            _ => s.parts().into_iter().flatten().map(size).sum(),
        }
    }
    let mut parts = vec![];
    let (mut start, mut held) = (0, 0);
    for (i, s) in steps.iter().enumerate() {
        let n = size(s);
        if held > 0 && held + n > CALLS_PER_PART {
            parts.push(&steps[start..i]);
            (start, held) = (i, 0);
        }
        held += n;
    }
    if start < steps.len() {
        parts.push(&steps[start..]);
    }
    parts
}
