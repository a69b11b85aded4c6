//! STABLEHLO_RNG_BIT_GENERATOR: random bits and the next state, as a function of a state; Philox 4x32-10 and Threefry 2x32-20.
//!
//! Words are taken in order, each block from a counter that goes up by one; of the counter the lower half alone comes back in the state. Sources: Salmon
//! et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11); TFLite `kernels/rng_bit_generator.cc`, `kernels/rng_util.cc`.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{Int32, Int64, UInt32, UInt64};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::random::Philox;
use crate::ops::value::Value;

/// STABLEHLO_RNG_BIT_GENERATOR.
pub(super) const RNG_BIT_GENERATOR: Operator = Operator::new(infer, Eval::Direct(eval));

/// Whether the call asks for Threefry; Philox is the default.
pub(crate) fn is_threefry(call: &Call<'_>) -> bool {
    call.attrs.name("algorithm", "DEFAULT") == "THREEFRY"
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 2)?;
    call.dtype_among(0, &[UInt64])?;
    let [words] = call.dims::<1>(0)?;
    if !(words == 2 || words == 3 && !is_threefry(call)) {
        return Err(call.invalid(format!("a state of {words} words")));
    }
    let out = call.output(1)?;
    if !matches!(out.dtype, Int32 | Int64 | UInt32 | UInt64) {
        return Err::<_, CompileError>(call.unsupported(Unsupported::Types(format!("bits as {}", out.dtype))));
    }
    Ok(vec![call.result(0, UInt64, [words])?, call.result(1, out.dtype, out.shape.clone())?])
}

/// Two random words for a key and a counter.
fn threefry([k0, k1]: [u32; 2], [mut x, mut y]: [u32; 2]) -> [u32; 2] {
    let keys = [k0, k1, k0 ^ k1 ^ 0x1BD1_1BDA];
    (x, y) = (x.wrapping_add(k0), y.wrapping_add(k1));
    for round in 0..5u32 {
        for turn in [[13, 15, 26, 6], [17, 29, 16, 24]][round as usize % 2] {
            x = x.wrapping_add(y);
            y = y.rotate_left(turn) ^ x;
        }
        let at = |i: u32| keys[(round + i) as usize % 3];
        (x, y) = (x.wrapping_add(at(1)), y.wrapping_add(at(2)).wrapping_add(round + 1));
    }
    [x, y]
}

fn eval(args: &Args<'_>) -> Results {
    let state: Vec<u64> = args.ints(0)?.into_iter().map(|v| v as u64).collect();
    let bytes = args.types[1].bytes();
    let count = (bytes / 4).div_ceil(if is_threefry(args.call) { 2 } else { 4 });
    let mut words: Vec<u32> = vec![];
    if is_threefry(args.call) {
        let key = [state[0] as u32, (state[0] >> 32) as u32];
        words.extend((0..count as u64).map(|i| state[1].wrapping_add(i)).flat_map(|c| threefry(key, [c as u32, (c >> 32) as u32])));
    } else {
        let mut blocks = Philox::new(state[0], *state.get(2).unwrap_or(&state[0]), state[1]);
        words.extend((0..count).flat_map(|_| blocks.words()));
    }
    words.truncate(bytes / 4);
    let mut next = state.clone();
    next[1] = state[1].wrapping_add(count as u64);
    let bits: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    Ok(vec![Value::new(args.types[0].clone(), next), Value::new(args.types[1].clone(), bits)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threefry_gives_the_published_vectors() {
        // Random123, `kat_vectors`: threefry2x32 20 with all zeros and all ones.
        assert_eq!(threefry([0; 2], [0; 2]), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(threefry([u32::MAX; 2], [u32::MAX; 2]), [0x1cb9_96fc, 0xbb00_2be7]);
    }
}
