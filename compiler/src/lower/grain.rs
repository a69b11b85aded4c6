//! How many work units make a task for a thread: enough to pay for handing it over.

/// Work of one task in nanoseconds: about ten times what a dispatch costs.
const TASK_NS: f64 = 20_000.0;

/// Units of a task where one unit takes about `unit_ns` nanoseconds; all of them where two tasks are not worth it.
pub(super) fn grain(units: u64, unit_ns: f64) -> u64 {
    let units = units.max(1);
    if units as f64 * unit_ns < 2.0 * TASK_NS {
        return units;
    }
    ((TASK_NS / unit_ns.max(1e-3)) as u64).clamp(1, units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_work_is_one_task_and_large_work_is_cut_to_tasks_of_twenty_microseconds() {
        assert_eq!(grain(100, 10.0), 100);
        assert_eq!(grain(1000, 1000.0), 20);
        assert_eq!(grain(64, 1e6), 1);
        assert_eq!(grain(0, 1.0), 1);
    }
}
