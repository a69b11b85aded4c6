//! What a target offers to templates, as plain data.
//!
//! A template reads `Caps` to pick its register tile and instruction kinds; it never asks which processor that is.

use crate::types::{Elem, Type};

/// Kind of four-element 8-bit dot product that a target has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dot4 {
    /// None: widen to 16 bits and use the two-element dot product.
    None,
    /// Unsigned times signed only (x86 VNNI).
    UnsignedSigned,
    /// Signed times signed and unsigned times unsigned, (AArch64 dotprod), also unsigned times signed.
    AnySign,
}

/// Capabilities of a target's vector unit and caches.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Caps {
    /// Width of a full vector register in bytes: 16, 32 or 64.
    pub vector_bytes: u32,
    /// Number of vector registers that a kernel may use.
    pub vector_registers: u32,
    /// There are no vectors: kernels are taken apart by [`crate::scalarize`], and a vector register stands for four scalar ones.
    pub scalars: bool,
    /// Fused multiply-add on f32 and f64 lanes; without it templates multiply and add.
    pub fma: bool,
    /// Masked loads and stores with a run-time mask for every memory width; without it only compile-time partial ones.
    pub masks: bool,
    /// Four-element 8-bit dot product.
    pub dot4: Dot4,
    /// Matrix products of bytes.
    pub mmla: bool,
    /// Tiles and their products, of bytes and of bfloat16.
    pub tiles: bool,
    /// Stores that saturate are cheaper than two clamps of a float.
    pub saturates: bool,
    /// Products of floats with weights of binary16 are accumulated in binary16: arithmetic on halves is there and wanted.
    pub f16: bool,
    /// Two-element 16-bit dot product as one or two instructions; without it, it takes both operands apart.
    pub dot2: bool,
    /// Vector gather from memory.
    pub gather: bool,
    /// Looking bytes up in a table of 256 takes few instructions; without it, so many that each should do a full register of bytes.
    pub tables: bool,
    /// Size of the first-level data cache in bytes.
    pub l1_bytes: u32,
    /// Size of the second-level cache in bytes.
    pub l2_bytes: u32,
}

impl Caps {
    /// Number of lanes of a full register of `elem`.
    pub fn lanes(&self, elem: Elem) -> u16 {
        (self.vector_bytes * 8 / elem.bits().max(8)) as u16
    }

    /// x86-64 baseline (SSE2) through the Cranelift backend.
    pub fn x86_64_baseline() -> Caps {
        Caps {
            vector_bytes: 16,
            vector_registers: 16,
            scalars: false,
            fma: false,
            masks: false,
            dot4: Dot4::None,
            mmla: false,
            tiles: false,
            saturates: true,
            f16: false,
            dot2: true,
            gather: false,
            tables: false,
            l1_bytes: 32 << 10,
            l2_bytes: 256 << 10,
        }
    }

    /// x86-64-v3: AVX2 and FMA. Second-level caches are those of the last processors that have no more; the first ones had half as much.
    pub fn x86_64_v3() -> Caps {
        Caps { vector_bytes: 32, fma: true, gather: true, l2_bytes: 512 << 10, ..Caps::x86_64_baseline() }
    }

    /// x86-64-v3 with AVX-VNNI.
    pub fn x86_64_v3_vnni() -> Caps {
        Caps { dot4: Dot4::UnsignedSigned, ..Caps::x86_64_v3() }
    }

    /// x86-64-v4: AVX-512 F, BW, DQ, VL.
    pub fn x86_64_v4() -> Caps {
        Caps { vector_bytes: 64, vector_registers: 32, masks: true, l1_bytes: 32 << 10, l2_bytes: 1 << 20, ..Caps::x86_64_v3() }
    }

    /// x86-64-v4 with VNNI and VBMI.
    pub fn x86_64_v4_vnni() -> Caps {
        Caps { dot4: Dot4::UnsignedSigned, tables: true, ..Caps::x86_64_v4() }
    }

    /// x86-64-v4 with VNNI and AMX.
    pub fn x86_64_v4_amx() -> Caps {
        Caps { tiles: true, l1_bytes: 48 << 10, l2_bytes: 2 << 20, ..Caps::x86_64_v4_vnni() }
    }

    /// AArch64 with Advanced SIMD.
    pub fn aarch64() -> Caps {
        Caps {
            vector_bytes: 16,
            vector_registers: 32,
            scalars: false,
            fma: true,
            masks: false,
            dot4: Dot4::None,
            mmla: false,
            tiles: false,
            saturates: true,
            f16: false,
            dot2: true,
            gather: false,
            tables: false,
            l1_bytes: 32 << 10,
            l2_bytes: 512 << 10,
        }
    }

    /// RISC-V with the vector extension: registers of at least 128 bits, of which 128 are used.
    pub fn riscv64_vectors() -> Caps {
        Caps { dot2: false, saturates: false, l2_bytes: 256 << 10, ..Caps::aarch64() }
    }

    /// RISC-V with scalars only, 32 registers for floats.
    pub fn riscv64() -> Caps {
        Caps { vector_registers: 8, scalars: true, tables: true, ..Caps::riscv64_vectors() }
    }

    /// AArch64 with the dotprod extension.
    pub fn aarch64_dotprod() -> Caps {
        Caps { dot4: Dot4::AnySign, ..Caps::aarch64() }
    }

    /// AArch64 with the dotprod and i8mm extensions.
    pub fn aarch64_i8mm() -> Caps {
        Caps { mmla: true, ..Caps::aarch64_dotprod() }
    }

    /// AArch64 with arithmetic on halves, which kernels are to use.
    pub fn aarch64_f16() -> Caps {
        Caps { f16: true, ..Caps::aarch64() }
    }

    /// WebAssembly with 128-bit vectors. Its engines have 16 vector registers on x86-64 and 32 on AArch64: the smaller number counts.
    pub fn wasm32() -> Caps {
        Caps { vector_registers: 16, fma: false, l2_bytes: 256 << 10, ..Caps::aarch64() }
    }

    /// WebAssembly with relaxed SIMD.
    pub fn wasm32_relaxed() -> Caps {
        Caps { fma: true, ..Caps::wasm32() }
    }
}

/// Whether a target with these capabilities has registers for values of type `ty`.
///
/// Legal are the scalars `i32 i64 f32 f64 ptr bool`; vectors as wide as a full vector register, or half or a quarter of it but at least 16
/// bytes; and the masks of those vectors' lane counts. Narrower data lives in memory only: loads extend, stores narrow.
pub fn legal(ty: Type, caps: &Caps) -> bool {
    let width = |bytes: u32| bytes >= 16 && [1, 2, 4].iter().any(|d| bytes * d == caps.vector_bytes);
    match ty.elem {
        _ if !ty.is_valid() => false,
        _ if !ty.is_vector() => true,
        // A mask is legal where some vector of as many lanes is.
        Elem::Bool => [1, 2, 4, 8].iter().any(|b| width(u32::from(ty.lanes) * b)),
        _ => ty.bits().is_multiple_of(8) && width(ty.bits() / 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_types_are_full_half_and_quarter_registers() {
        let of = |caps: &Caps| -> Vec<String> {
            let all = Elem::ALL.iter().flat_map(|&e| (1..=256).map(move |l| Type::vector(e, l)));
            all.filter(|&t| legal(t, caps)).map(|t| t.to_string()).collect()
        };
        let text = |caps: &Caps| of(caps).join(" ");
        assert_eq!(
            text(&Caps::x86_64_baseline()),
            "bool boolx2 boolx4 boolx8 boolx16 i8x16 i16x8 i32 i32x4 i64 i64x2 f32 f32x4 f64 f64x2 ptr"
        );
        assert_eq!(
            text(&Caps::x86_64_v3()),
            "bool boolx2 boolx4 boolx8 boolx16 boolx32 i8x16 i8x32 i16x8 i16x16 i32 i32x4 i32x8 i64 i64x2 i64x4 f32 f32x4 f32x8 f64 f64x2 f64x4 ptr"
        );
        assert!(legal(Type::vector(Elem::F32, 4), &Caps::x86_64_v4()));
        assert!(!legal(Type::vector(Elem::I8, 8), &Caps::x86_64_v4()));
        assert!(!legal(Type::vector(Elem::F32, 16), &Caps::x86_64_v3()));
    }
}
