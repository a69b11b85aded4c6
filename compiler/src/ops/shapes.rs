//! Shape arithmetic that many operators share: broadcasting, strides, strided copies.

use crate::error::CompileError;
use crate::ops::call::Call;

/// The shape that `a` and `b` broadcast to, aligned at the last dimension.
pub fn broadcast(call: &Call<'_>, a: &[usize], b: &[usize]) -> Result<Vec<usize>, CompileError> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(call.invalid(format!("shapes {a:?} and {b:?} do not broadcast"))),
        })
        .collect()
}

/// Whether `from` broadcasts to `to`.
pub fn broadcasts_to(from: &[usize], to: &[usize]) -> bool {
    from.len() <= to.len() && from.iter().rev().zip(to.iter().rev()).all(|(f, t)| f == t || *f == 1)
}

/// Row-major strides in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut out = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        out[i - 1] = out[i] * shape[i];
    }
    out
}

/// Number of elements of a shape that has been checked.
pub fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// For each element of a shape, which one of `from` it is when that is broadcast to it.
pub fn sources(from: &[usize], to: &[usize]) -> Vec<usize> {
    let mut out = Vec::with_capacity(count(to));
    Walk::broadcast(from, to).rows(|at, stride, n| out.extend((0..n).map(|i| (at as isize + stride * i as isize) as usize)));
    out
}

/// A strided way through a buffer: sizes and strides in elements, outermost first.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Element where it starts.
    pub offset: isize,
    /// Sizes and strides; strides may be zero or negative.
    pub dims: Vec<(usize, isize)>,
}

impl Walk {
    /// All elements of a dense tensor in order.
    pub fn dense(shape: &[usize]) -> Walk {
        Walk { offset: 0, dims: shape.iter().zip(strides(shape)).map(|(n, s)| (*n, s as isize)).collect() }
    }

    /// A dense tensor of shape `from`, broadcast to `to`.
    pub fn broadcast(from: &[usize], to: &[usize]) -> Walk {
        let own = strides(from);
        let lead = to.len() - from.len();
        let dims = (0..to.len()).map(|i| (to[i], if i < lead || from[i - lead] == 1 { 0 } else { own[i - lead] as isize })).collect();
        Walk { offset: 0, dims }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.dims.iter().map(|d| d.0).product()
    }

    /// Merges dimensions that are walked as one, and drops those of size one.
    fn collapse(&self) -> Vec<(usize, isize)> {
        let mut out: Vec<(usize, isize)> = vec![];
        for (n, s) in self.dims.iter().copied().filter(|d| d.0 != 1) {
            match out.last_mut() {
                Some((m, t)) if *t == s * n as isize => (*m, *t) = (*m * n, s),
                _ => out.push((n, s)),
            }
        }
        out
    }

    /// Calls `f` with the element offset of each row along the last dimension; rows have one size and stride, which come first.
    pub fn rows(&self, mut f: impl FnMut(usize, isize, usize)) {
        if self.elements() == 0 {
            return;
        }
        let mut dims = self.collapse();
        let (n, stride) = dims.pop().unwrap_or((1, 1));
        let mut index = vec![0; dims.len()];
        let mut at = self.offset;
        loop {
            f(at as usize, stride, n);
            let mut d = dims.len();
            loop {
                if d == 0 {
                    return;
                }
                d -= 1;
                index[d] += 1;
                at += dims[d].1;
                if index[d] < dims[d].0 {
                    break;
                }
                at -= dims[d].1 * dims[d].0 as isize;
                index[d] = 0;
            }
        }
    }

    /// Copies elements of `width` bytes that the walk visits in `from` to `to`, densely.
    ///
    /// # Panics
    /// Where the walk leaves `from`, or `to` has not as many elements.
    pub fn gather(&self, from: &[u8], to: &mut [u8], width: usize) {
        assert_eq!(to.len(), self.elements() * width);
        let mut out = 0;
        self.rows(|at, stride, n| {
            let row = &mut to[out..out + n * width];
            copy_row(from, at, stride, row, width);
            out += n * width;
        });
    }

    /// Copies dense elements of `from` to the places in `to` that the walk visits.
    ///
    /// # Panics
    /// Where the walk leaves `to`.
    pub fn scatter(&self, from: &[u8], to: &mut [u8], width: usize) {
        assert_eq!(from.len(), self.elements() * width);
        let mut read = 0;
        self.rows(|at, stride, n| {
            if stride == 1 {
                to[at * width..(at + n) * width].copy_from_slice(&from[read..read + n * width]);
            } else {
                for i in 0..n {
                    let o = (at as isize + stride * i as isize) as usize * width;
                    to[o..o + width].copy_from_slice(&from[read + i * width..read + (i + 1) * width]);
                }
            }
            read += n * width;
        });
    }
}

fn copy_row(from: &[u8], at: usize, stride: isize, row: &mut [u8], width: usize) {
    fn strided<const W: usize>(from: &[u8], at: usize, stride: isize, row: &mut [u8]) {
        let from = from.as_chunks::<W>().0;
        for (i, o) in row.as_chunks_mut::<W>().0.iter_mut().enumerate() {
            *o = from[(at as isize + stride * i as isize) as usize];
        }
    }
    match (stride, width) {
        (1, _) => row.copy_from_slice(&from[at * width..at * width + row.len()]),
        (_, 1) => strided::<1>(from, at, stride, row),
        (_, 2) => strided::<2>(from, at, stride, row),
        (_, 4) => strided::<4>(from, at, stride, row),
        (_, 8) => strided::<8>(from, at, stride, row),
        _ => {
            for (i, o) in row.chunks_exact_mut(width).enumerate() {
                let a = (at as isize + stride * i as isize) as usize * width;
                o.copy_from_slice(&from[a..a + width]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_transposes_and_reverses() {
        let from: Vec<u8> = (0..6).collect();
        let mut to = vec![0; 6];
        Walk { offset: 0, dims: vec![(3, 1), (2, 3)] }.gather(&from, &mut to, 1);
        assert_eq!(to, [0, 3, 1, 4, 2, 5]);
        Walk { offset: 5, dims: vec![(2, -3), (3, -1)] }.gather(&from, &mut to, 1);
        assert_eq!(to, [5, 4, 3, 2, 1, 0]);
        Walk::broadcast(&[3, 1], &[2, 3, 1]).gather(&from[..3], &mut to, 1);
        assert_eq!(to, [0, 1, 2, 0, 1, 2]);
    }
}
