//! Sliding windows: padding, strides and dilations of convolutions and pooling.

use crate::error::{CompileError, Unsupported};
use crate::ops::call::Call;

/// How borders are padded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Padding {
    /// The output has `ceil(input / stride)` elements.
    Same,
    /// No padding.
    Valid,
}

impl Padding {
    /// The attribute `padding`.
    pub fn parse(call: &Call<'_>) -> Result<Padding, CompileError> {
        match call.attrs.name("padding", "SAME") {
            "SAME" => Ok(Padding::Same),
            "VALID" => Ok(Padding::Valid),
            other => Err(call.unsupported(Unsupported::Option("padding".into(), other.into()))),
        }
    }
}

/// One axis of a sliding window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Axis {
    /// Elements of the input.
    pub input: usize,
    /// Elements of the filter.
    pub filter: usize,
    /// Step between windows.
    pub stride: usize,
    /// Step inside a window.
    pub dilation: usize,
    /// Elements of padding before the input.
    pub pad: usize,
    /// Elements of the output.
    pub output: usize,
}

impl Axis {
    /// The axis, with its output size. Source: TFLite `kernels/padding.h`.
    pub fn new(call: &Call<'_>, padding: Padding, input: usize, filter: usize, stride: usize, dilation: usize) -> Result<Axis, CompileError> {
        let spread = filter.checked_sub(1).and_then(|f| f.checked_mul(dilation)).and_then(|f| f.checked_add(1));
        let effective = spread.filter(|e| *e <= 1 << 31).ok_or_else(|| call.invalid(format!("a filter of {filter}, dilated by {dilation}")))?;
        let output = match padding {
            Padding::Same => input.div_ceil(stride),
            Padding::Valid if input < effective => 0,
            Padding::Valid => (input - effective) / stride + 1,
        };
        let needed = (output.max(1) - 1).checked_mul(stride).and_then(|n| n.checked_add(effective));
        let needed = needed.ok_or_else(|| call.invalid(format!("stride {stride}")))?;
        let pad = if padding == Padding::Same { needed.saturating_sub(input) / 2 } else { 0 };
        Ok(Axis { input, filter, stride, dilation, pad, output })
    }

    /// The elements of the filter that lie inside the input for the output element `o`, and the input element of the first.
    pub fn inside(&self, o: usize) -> (std::ops::Range<usize>, usize) {
        let origin = o * self.stride;
        let first = if origin >= self.pad { 0 } else { (self.pad - origin).div_ceil(self.dilation) };
        let room = (self.input + self.pad).saturating_sub(origin);
        let last = room.div_ceil(self.dilation).min(self.filter);
        if first >= last {
            return (0..0, 0);
        }
        (first..last, origin + first * self.dilation - self.pad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_stay_inside() {
        for (input, filter, stride, dilation, pad, output) in [(7, 3, 2, 1, 1, 4), (5, 3, 1, 2, 2, 5), (2, 5, 1, 1, 2, 2), (3, 2, 3, 4, 1, 1)] {
            let a = Axis { input, filter, stride, dilation, pad, output };
            for o in 0..output {
                let (range, first) = a.inside(o);
                let expected: Vec<usize> = (0..filter)
                    .filter_map(|f| (o * stride + f * dilation).checked_sub(pad).filter(|i| *i < input))
                    .collect();
                assert_eq!(range.clone().map(|f| first + (f - range.start) * dilation).collect::<Vec<_>>(), expected, "{a:?} {o}");
            }
        }
    }
}
