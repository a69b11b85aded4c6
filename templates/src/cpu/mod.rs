//! Kernels for processors, written in kir.
//!
//! One file per family: a spec (shape, strides, storage types, epilogue; all static), `build(&spec, &caps) -> Kernel`, packers for its weights, and
//! the number of work units. Register tiles come from [`tiling`], multiply-accumulate schemes from [`mac`], what follows an accumulator from
//! [`epilogue`]. [`table`] has a row for each family, from which tests and benchmarks expand.

pub mod arg;
pub mod arg_pool;
pub mod boxes;
pub mod bucketize;
pub mod conv;
pub mod depthwise;
mod depthwise_dot;
mod depthwise_tap;
pub mod detection;
pub mod dynamic;
pub mod epilogue;
pub mod extent;
pub mod fft;
pub mod fingerprint;
pub mod fold;
pub mod gather;
pub mod gemm;
mod heap;
pub(crate) mod implicit;
pub mod l2_norm;
pub mod lengths;
pub mod limit;
pub mod lookup;
pub mod lut;
pub mod mac;
pub mod moves;
pub mod nonzero;
pub mod peak;
pub mod places;
pub mod pointwise;
pub mod pool;
pub mod quantize_rows;
pub mod random;
pub mod reduce;
pub mod resample;
pub mod resampler;
pub mod reverse_sequence;
mod scalar;
pub mod scan;
pub mod scatter;
pub mod softmax;
pub mod softmax_i16;
pub mod suppress;
pub mod table;
pub(crate) mod tiling;
pub mod top_k;
pub mod transpose_conv;
mod units;
pub mod window;
pub mod window_copy;

#[cfg(test)]
mod tests;
