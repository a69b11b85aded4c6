//! Places buffers greedily in several orders and keeps the smallest arena.
//!
//! For each order, a buffer goes to the lowest offset where it fits between the buffers already placed that are alive with it
//! (greedy by size is the order of TFLite and XNNPACK). When the best of the orders misses the lower bound, a bounded
//! local search moves the buffers that reach the top of the arena to the front of the order. Deterministic.

use super::{Buffer, Plan};
use std::cmp::Reverse;

/// Orders tried by the local search, for models with few enough buffers.
const SEARCH_ROUNDS: usize = 60;
/// Local search is left out above this number of buffers: a round is quadratic.
const SEARCH_LIMIT: usize = 600;

/// Plans the arena of `buffers`.
pub fn plan(buffers: &[Buffer]) -> Plan {
    let lower_bound = lower_bound(buffers);
    let mut orders: Vec<Vec<usize>> = Vec::new();
    let ids = || (0..buffers.len()).collect::<Vec<_>>();
    let duration = |b: &Buffer| b.last - b.first + 1;
    let mut by_size = ids();
    by_size.sort_by_key(|&i| (Reverse(buffers[i].bytes), Reverse(duration(&buffers[i])), i));
    orders.push(by_size);
    let mut by_area = ids();
    by_area.sort_by_key(|&i| (Reverse(buffers[i].bytes.saturating_mul(duration(&buffers[i]))), i));
    orders.push(by_area);
    let mut by_duration = ids();
    by_duration.sort_by_key(|&i| (Reverse(duration(&buffers[i])), Reverse(buffers[i].bytes), i));
    orders.push(by_duration);
    let mut by_start = ids();
    by_start.sort_by_key(|&i| (buffers[i].first, Reverse(buffers[i].bytes), i));
    orders.push(by_start);

    let mut best: Option<(Plan, Vec<usize>)> = None;
    for order in orders {
        let p = place(buffers, &order, lower_bound);
        if best.as_ref().is_none_or(|(b, _)| p.arena_bytes < b.arena_bytes) {
            best = Some((p, order));
        }
    }
    let (mut plan, mut order) = best.unwrap_or_default();
    if buffers.len() <= SEARCH_LIMIT {
        for _ in 0..SEARCH_ROUNDS {
            if plan.arena_bytes <= lower_bound {
                break;
            }
            // The buffer that reaches highest goes first.
            let Some(top) = order.iter().position(|&i| plan.offsets[i] + buffers[i].bytes == plan.arena_bytes) else { break };
            if top == 0 {
                break;
            }
            let mut next = order.clone();
            let id = next.remove(top);
            next.insert(top / 2, id);
            let p = place(buffers, &next, lower_bound);
            if p.arena_bytes <= plan.arena_bytes {
                plan = p;
            }
            order = next;
        }
    }
    plan
}

/// The most bytes alive at one step, each buffer rounded up to its alignment.
fn lower_bound(buffers: &[Buffer]) -> usize {
    let mut events: Vec<(usize, bool, usize)> = Vec::with_capacity(buffers.len() * 2);
    for b in buffers {
        events.push((b.first, true, b.bytes));
        events.push((b.last + 1, false, b.bytes));
    }
    events.sort_by_key(|&(step, start, _)| (step, start));
    let (mut live, mut most) = (0, 0);
    for (_, start, bytes) in events {
        if start {
            live += bytes
        } else {
            live -= bytes
        }
        most = most.max(live);
    }
    most
}

/// Places buffers in `order`, each at the lowest offset that is free while it lives.
fn place(buffers: &[Buffer], order: &[usize], lower_bound: usize) -> Plan {
    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(order.len()); // sorted by offset
    let mut arena_bytes = 0;
    for &i in order {
        let b = &buffers[i];
        let mut at = 0;
        if b.bytes > 0 {
            for &j in &placed {
                let other = &buffers[j];
                if !b.overlaps(other) {
                    continue;
                }
                if at + b.bytes <= offsets[j] {
                    break;
                }
                at = at.max((offsets[j] + other.bytes).next_multiple_of(b.align));
            }
            let position = placed.partition_point(|&j| offsets[j] < at);
            placed.insert(position, i);
        }
        offsets[i] = at;
        arena_bytes = arena_bytes.max(at + b.bytes);
    }
    Plan { offsets, arena_bytes, lower_bound }
}

#[cfg(test)]
mod tests {
    use super::super::checker::check;
    use super::*;

    #[test]
    fn a_chain_needs_two_neighbours() {
        let buffers: Vec<Buffer> =
            [100, 200, 50, 300].iter().enumerate().map(|(i, &bytes)| Buffer { bytes, align: 1, first: i, last: i + 1 }).collect();
        let p = plan(&buffers);
        check(&buffers, &p).unwrap();
        assert_eq!(p.lower_bound, 350);
        assert_eq!(p.arena_bytes, 350);
    }

    #[test]
    fn random_plans_pass_the_checker() {
        let mut seed = 1u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for _ in 0..50 {
            let buffers: Vec<Buffer> = (0..60)
                .map(|_| {
                    let first = random(50) as usize;
                    Buffer { bytes: random(1000) as usize, align: 1 << random(7), first, last: first + random(12) as usize }
                })
                .collect();
            let p = plan(&buffers);
            check(&buffers, &p).unwrap();
            assert!(p.arena_bytes >= p.lower_bound);
        }
    }
}
