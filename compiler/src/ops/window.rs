//! Windows over NHWC images: sizes, strides, dilations and padding of convolutions and pools.

use crate::error::{CompileError, Unsupported};
use crate::ops::call::Call;

/// Geometry of a window that slides over the rows and columns of images. Pairs are (height, width).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Images.
    pub batch: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Output height and width.
    pub output: [usize; 2],
    /// Height and width of the window, in taps.
    pub kernel: [usize; 2],
    /// Distance of neighbouring windows.
    pub stride: [usize; 2],
    /// Distance of neighbouring taps.
    pub dilation: [usize; 2],
    /// Rows above and columns to the left of the image.
    pub pad: [usize; 2],
}

impl Window {
    /// The window of an operator with the attributes `padding`, `stride_h`, `stride_w` and, where `dilated`, `dilation_h_factor` and
    /// `dilation_w_factor`, over an input of `[batch, height, width]`.
    ///
    /// Padding `EXPLICIT`, which the pass `fold-pad` makes, takes `pad_top`, `pad_left`, `pad_bottom` and `pad_right`.
    pub fn new(call: &Call<'_>, input: [usize; 3], kernel: [usize; 2], dilated: bool) -> Result<Window, CompileError> {
        let stride = [call.size_attr("stride_h", 0)?, call.size_attr("stride_w", 0)?];
        let dilation = if dilated { [call.size_attr("dilation_h_factor", 1)?, call.size_attr("dilation_w_factor", 1)?] } else { [1, 1] };
        let [batch, height, width] = input;
        let mut output = [0; 2];
        let mut pad = [0; 2];
        for (d, size) in [height, width].into_iter().enumerate() {
            let reach = (kernel[d].max(1) - 1).checked_mul(dilation[d]).and_then(|r| r.checked_add(1));
            let reach = reach
                .filter(|_| kernel[d] > 0 && size > 0)
                .ok_or_else(|| call.invalid(format!("a window of {kernel:?} over {height} x {width}")))?;
            (output[d], pad[d]) = match call.attrs.name("padding", "SAME") {
                "SAME" => {
                    let out = size.div_ceil(stride[d]);
                    let total = ((out - 1) * stride[d] + reach).saturating_sub(size);
                    (out, total / 2)
                }
                "VALID" => ((size + stride[d]).saturating_sub(reach) / stride[d], 0),
                "EXPLICIT" => {
                    let names = [["pad_top", "pad_bottom"], ["pad_left", "pad_right"]][d];
                    let [before, after] = names.map(|n| usize::try_from(call.attrs.int(n, 0)).unwrap_or(0));
                    ((size + before + after + stride[d]).saturating_sub(reach) / stride[d], before)
                }
                other => return Err(call.unsupported(Unsupported::Option("padding".into(), other.into()))),
            };
            if output[d] == 0 {
                return Err(call.invalid(format!("a window of {kernel:?} does not fit into {height} x {width}")));
            }
        }
        Ok(Window { batch, input: [height, width], output, kernel, stride, dilation, pad })
    }

    /// Output pixels of all images.
    pub fn pixels(&self) -> usize {
        self.batch * self.output[0] * self.output[1]
    }

    /// The input row and column of tap (`ky`, `kx`) of the window at output (`oy`, `ox`), where it lies in the image.
    pub fn tap(&self, oy: usize, ox: usize, ky: usize, kx: usize) -> Option<(usize, usize)> {
        let at = |d: usize, o: usize, k: usize| {
            (o * self.stride[d] + k * self.dilation[d]).checked_sub(self.pad[d]).filter(|i| *i < self.input[d])
        };
        Some((at(0, oy, ky)?, at(1, ox, kx)?))
    }
}
