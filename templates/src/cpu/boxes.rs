//! Boxes of a tensor whose starts are known only at run time: gathered into another tensor, or combined with it.
//!
//! One box for each row of starts. Gathering clamps the starts so that boxes fit, so every row writes its part of the result and rows are the work units;
//! scattering drops elements that fall outside, and has one work unit, since boxes may overlap. Source: the StableHLO specification, `gather` and `scatter`.

use super::gather::copy_bytes;
use super::scalar::get_int;
use super::scatter::{Meet, combine};
use crate::expr::Storage;
use tflc_kir::{Builder, Caps, CmpOp, Kernel, Value};

/// A dimension of rows: one of starts and of the small tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RowDim {
    /// Size.
    pub size: usize,
    /// Stride in the small tensor, in elements.
    pub small: i64,
    /// Stride in the starts, in elements.
    pub starts: i64,
}

/// A dimension of the large tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BoxDim {
    /// Size of the large tensor.
    pub size: usize,
    /// Size of a box.
    pub window: usize,
    /// Stride in the large tensor, in elements.
    pub large: i64,
    /// Stride in the small tensor, in elements; unused where the window is 1.
    pub small: i64,
    /// Where a row of starts holds the start along this dimension, in elements; 0 is the start where it does not.
    pub start: Option<i64>,
}

/// What becomes of boxes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Job {
    /// The small tensor is made of them.
    Gather,
    /// The small tensor is combined into them.
    Scatter(Meet),
}

/// Specification: `small[row, offset] = large[start[row] + offset]`, or the other way round.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BoxesSpec {
    /// Dimensions of the rows, outermost first.
    pub rows: Vec<RowDim>,
    /// Dimensions of the large tensor, outermost first.
    pub dims: Vec<BoxDim>,
    /// Type of the elements; gathering looks at its size alone.
    pub storage: Storage,
    /// Whether starts are 64 bits wide (else 32).
    pub wide: bool,
    /// What is done.
    pub job: Job,
}

impl BoxesSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        match (self.job, self.rows.first()) {
            (Job::Gather, Some(d)) => d.size as u64,
            _ => 1,
        }
    }

    /// Elements that one unit moves.
    pub fn unit_elements(&self) -> usize {
        let all: usize = self.rows.iter().map(|d| d.size).chain(self.dims.iter().map(|d| d.window)).product();
        all / (self.units() as usize).max(1)
    }

    /// Builds the kernel: parameters are the tensor that is read, starts, and the tensor that is written.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("boxes");
        let [from, starts, to] = ["from", "starts", "to"].map(|n| b.ptr_param(n));
        let zero = b.i64(0);
        match (self.job, self.rows.split_first()) {
            (Job::Gather, Some((first, rest))) => {
                let (begin, end) = (b.begin(), b.end());
                b.for_loop(begin, end, 1, &[], |b, i, _| {
                    let (small, at) = (b.mul_const(i, first.small), b.mul_const(i, first.starts));
                    self.row(b, caps, [from, starts, to], rest, small, at);
                    vec![]
                });
            }
            _ => self.row(&mut b, caps, [from, starts, to], &self.rows, zero, zero),
        }
        b.finish()
    }

    /// The rows of `dims`, from the element `small` of the small tensor and `at` of the starts on.
    fn row(&self, b: &mut Builder, caps: &Caps, args: [Value; 3], dims: &[RowDim], small: Value, at: Value) {
        if let Some((d, rest)) = dims.split_first() {
            b.for_const(0, d.size as i64, 1, &[], |b, i, _| {
                let (more, further) = (b.mul_const(i, d.small), b.mul_const(i, d.starts));
                let (small, at) = (b.add(small, more), b.add(at, further));
                self.row(b, caps, args, rest, small, at);
                vec![]
            });
            return;
        }
        let starts: Vec<Option<Value>> = self
            .dims
            .iter()
            .map(|d| {
                let place = b.add_const(at, d.start?);
                let v = get_int(b, self.wide, args[1], place);
                Some(if self.job == Job::Gather {
                    let (least, most) = (b.i64(0), b.i64((d.size - d.window) as i64));
                    let v = b.max(v, least);
                    b.min(v, most)
                } else {
                    v
                })
            })
            .collect();
        let large = b.i64(0);
        self.nest(b, caps, args, 0, &starts, large, small);
    }

    /// How many elements from dimension `d` on lie side by side in both tensors; `None` where they do not.
    fn run(&self, d: usize) -> Option<usize> {
        let mut length = 1;
        for dim in self.dims[d..].iter().rev() {
            let checked = self.job != Job::Gather && dim.start.is_some();
            if checked || (dim.window > 1 && (dim.large != length as i64 || dim.small != length as i64)) {
                return None;
            }
            length *= dim.window;
        }
        Some(length)
    }

    #[allow(clippy::too_many_arguments)]
    fn nest(&self, b: &mut Builder, caps: &Caps, args: [Value; 3], d: usize, starts: &[Option<Value>], large: Value, small: Value) {
        // Starts of the dimensions that a run covers are its place.
        if let Some(length) = self.run(d) {
            let mut large = large;
            for (dim, start) in self.dims[d..].iter().zip(&starts[d..]) {
                if let Some(start) = start {
                    let more = b.mul_const(*start, dim.large);
                    large = b.add(large, more);
                }
            }
            let bytes = self.storage.bytes() as i64;
            let (large, small) = (b.mul_const(large, bytes), b.mul_const(small, bytes));
            let (source, target) = if self.job == Job::Gather { (large, small) } else { (small, large) };
            let (source, target) = (b.ptr_add(args[0], source), b.ptr_add(args[2], target));
            match self.job {
                Job::Gather => copy_bytes(b, caps, source, target, length * bytes as usize),
                Job::Scatter(meet) => combine(b, caps, self.storage, meet, length, source, target),
            }
            return;
        }
        let dim = self.dims[d];
        b.for_const(0, dim.window as i64, 1, &[], |b, i, _| {
            let place = match starts[d] {
                Some(start) => b.add(start, i),
                None => i,
            };
            let (far, near) = (b.mul_const(place, dim.large), b.mul_const(i, dim.small));
            let (large, small) = (b.add(large, far), b.add(small, near));
            if self.job == Job::Gather || dim.start.is_none() {
                self.nest(b, caps, args, d + 1, starts, large, small);
            } else {
                let size = b.i64(dim.size as i64);
                let inside = b.cmp(CmpOp::LtU, place, size);
                b.if_then(inside, |b| self.nest(b, caps, args, d + 1, starts, large, small));
            }
            vec![]
        });
    }
}
