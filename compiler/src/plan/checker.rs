//! Proves a memory plan: independent of the planner, quadratic and plain.

use super::{Buffer, Plan};

/// What is wrong with a plan.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanError {
    /// There are not as many offsets as buffers.
    #[error("plan has {offsets} offsets for {buffers} buffers")]
    Count {
        /// Offsets in the plan.
        offsets: usize,
        /// Buffers to place.
        buffers: usize,
    },
    /// A buffer is not aligned.
    #[error("buffer {0} is not aligned")]
    Misaligned(usize),
    /// A buffer leaves the arena.
    #[error("buffer {0} leaves the arena")]
    Outside(usize),
    /// Two buffers that are alive at the same time share bytes.
    #[error("buffers {0} and {1} overlap in time and space")]
    Overlap(usize, usize),
}

/// Checks that `plan` places `buffers` inside the arena, aligned, and apart while alive together.
///
/// # Errors
/// The first violation found.
pub fn check(buffers: &[Buffer], plan: &Plan) -> Result<(), PlanError> {
    if plan.offsets.len() != buffers.len() {
        return Err(PlanError::Count { offsets: plan.offsets.len(), buffers: buffers.len() });
    }
    for (i, (a, &at)) in buffers.iter().zip(&plan.offsets).enumerate() {
        if at % a.align != 0 {
            return Err(PlanError::Misaligned(i));
        }
        if at.checked_add(a.bytes).is_none_or(|end| end > plan.arena_bytes) {
            return Err(PlanError::Outside(i));
        }
        for (j, (b, &other)) in buffers.iter().zip(&plan.offsets).enumerate().take(i) {
            if a.overlaps(b) && at < other + b.bytes && other < at + a.bytes {
                return Err(PlanError::Overlap(j, i));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(bytes: usize, first: usize, last: usize) -> Buffer {
        Buffer { bytes, align: 64, first, last }
    }

    #[test]
    fn finds_every_violation() {
        let two = [buffer(64, 0, 2), buffer(64, 2, 3)];
        let plan = |offsets: &[usize], arena_bytes| Plan { offsets: offsets.to_vec(), arena_bytes, lower_bound: 0 };
        assert_eq!(check(&two, &plan(&[0, 64], 128)), Ok(()));
        assert_eq!(check(&two, &plan(&[0], 128)), Err(PlanError::Count { offsets: 1, buffers: 2 }));
        assert_eq!(check(&two, &plan(&[0, 32], 128)), Err(PlanError::Misaligned(1)));
        assert_eq!(check(&two, &plan(&[0, 128], 128)), Err(PlanError::Outside(1)));
        assert_eq!(check(&two, &plan(&[0, 0], 128)), Err(PlanError::Overlap(0, 1)));
        let apart = [buffer(64, 0, 1), buffer(64, 2, 3)];
        assert_eq!(check(&apart, &plan(&[0, 0], 64)), Ok(()));
    }
}
