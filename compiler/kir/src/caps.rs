//! What a target offers to templates, as plain data.
//!
//! A template reads `Caps` to pick its register tile and instruction kinds; it never asks which processor that is.

use crate::types::Elem;

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
    /// Fused multiply-add on f32 and f64 lanes; without it templates multiply and add.
    pub fma: bool,
    /// Masked loads and stores with a run-time mask for every memory width; without it only compile-time partial ones.
    pub masks: bool,
    /// Four-element 8-bit dot product.
    pub dot4: Dot4,
    /// Two-element 16-bit dot product as one or two instructions.
    pub dot2: bool,
    /// Vector gather from memory.
    pub gather: bool,
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
            fma: false,
            masks: false,
            dot4: Dot4::None,
            dot2: true,
            gather: false,
            l1_bytes: 32 << 10,
            l2_bytes: 256 << 10,
        }
    }

    /// x86-64-v3: AVX2 and FMA.
    pub fn x86_64_v3() -> Caps {
        Caps { vector_bytes: 32, fma: true, gather: true, ..Caps::x86_64_baseline() }
    }

    /// x86-64-v4: AVX-512 F, BW, DQ, VL.
    pub fn x86_64_v4() -> Caps {
        Caps { vector_bytes: 64, vector_registers: 32, masks: true, l1_bytes: 32 << 10, l2_bytes: 1 << 20, ..Caps::x86_64_v3() }
    }

    /// x86-64-v4 with VNNI.
    pub fn x86_64_v4_vnni() -> Caps {
        Caps { dot4: Dot4::UnsignedSigned, ..Caps::x86_64_v4() }
    }

    /// AArch64 with Advanced SIMD.
    pub fn aarch64() -> Caps {
        Caps {
            vector_bytes: 16,
            vector_registers: 32,
            fma: true,
            masks: false,
            dot4: Dot4::None,
            dot2: true,
            gather: false,
            l1_bytes: 32 << 10,
            l2_bytes: 512 << 10,
        }
    }

    /// AArch64 with the dotprod extension.
    pub fn aarch64_dotprod() -> Caps {
        Caps { dot4: Dot4::AnySign, ..Caps::aarch64() }
    }
}
