//! Windows over NHWC images: sizes, strides, dilations and padding of convolutions and pools.

use crate::error::{CompileError, Unsupported};
use crate::ops::call::Call;

/// A window may reach four times as far as the image, and this far in any case: no model needs more, and code addresses taps by 32-bit offsets.
const FARTHEST: usize = 1 << 13;

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
            if reach > 4 * size + FARTHEST {
                let value = format!("{} ({} taps over {size} elements)", dilation[d], kernel[d]);
                return Err(call.unsupported(Unsupported::Option("dilation".into(), value)));
            }
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

    /// Rows (`d` 0) or columns (1) of the image from the first tap of a window to its last.
    pub fn reach(&self, d: usize) -> usize {
        (self.kernel[d] - 1) * self.dilation[d] + 1
    }

    /// Rows or columns before and after the image that windows reach.
    pub fn border(&self, d: usize) -> [usize; 2] {
        let needed = (self.output[d] - 1) * self.stride[d] + self.reach(d);
        [self.pad[d], needed.saturating_sub(self.input[d] + self.pad[d])]
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

#[cfg(test)]
mod tests {
    use crate::ir::{AttrValue, Attrs, DType, OpKind, TensorType};
    use crate::ops::table::tests::apply;
    use crate::ops::value::Value;

    /// A convolution of three taps with a dilation over a row of five.
    fn row(dilation: i64) -> Result<Vec<f32>, String> {
        let x = Value::new(TensorType::new(DType::Float32, [1, 1, 5, 1]), vec![1.0f32, 2.0, 3.0, 4.0, 5.0]);
        let filter = Value::new(TensorType::new(DType::Float32, [1, 1, 3, 1]), vec![100.0f32, 1.0, 10.0]);
        let int = AttrValue::Int;
        let attrs = Attrs::new().with("stride_h", int(1)).with("stride_w", int(1)).with("dilation_w_factor", int(dilation));
        let out = apply(OpKind::Conv2d, attrs, &[&x, &filter], &[TensorType::new(DType::Float32, [1, 1, 5, 1])]);
        out.map(|v| v[0].to_f32().unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn taps_may_lie_outside_but_not_out_of_reach() {
        assert_eq!(row(2).unwrap(), [31.0, 42.0, 153.0, 204.0, 305.0]);
        assert_eq!(row(4000).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(row(1 << 28).unwrap_err().contains("option dilation = 268435456 (3 taps over 5 elements) is not supported"));
    }
}
