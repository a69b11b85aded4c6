//! Runs compiled kernels on buffers that end at inaccessible pages.

use crate::backend::Code;
use crate::jit::{host_target, memory::CodeMemory, runs_here};
use crate::target::{Cpu, Target, X86Level};
use memmap2::MmapMut;
use std::ffi::{c_int, c_void};

const PAGE: usize = 4096;

unsafe extern "C" {
    fn mprotect(address: *mut c_void, bytes: usize, protection: c_int) -> c_int;
}

/// Bytes between inaccessible pages, up against the one behind.
pub(super) struct Guarded {
    map: MmapMut,
    start: usize,
    len: usize,
}

impl Guarded {
    pub(super) fn new(bytes: &[u8]) -> Guarded {
        let inner = bytes.len().next_multiple_of(PAGE).max(PAGE);
        let mut map = MmapMut::map_anon(inner + 2 * PAGE).expect("pages");
        let start = PAGE + inner - bytes.len();
        map[PAGE..PAGE + inner].fill(0xee);
        map[start..start + bytes.len()].copy_from_slice(bytes);
        for guard in [0, PAGE + inner] {
            // SAFETY: the page belongs to the mapping just made, and nothing refers to it.
            let failed = unsafe { mprotect(map.as_mut_ptr().add(guard).cast(), PAGE, 0) };
            assert_eq!(failed, 0);
        }
        Guarded { map, start, len: bytes.len() }
    }

    pub(super) fn address(&self) -> u64 {
        self.map.as_ptr() as u64 + self.start as u64
    }

    /// The bytes; checks that those in front were left alone.
    pub(super) fn bytes(&self) -> Vec<u8> {
        assert!(self.map[PAGE..self.start].iter().all(|&b| b == 0xee), "a store in front of the buffer");
        self.map[self.start..self.start + self.len].to_vec()
    }
}

/// Whether this processor runs code of a level.
pub(super) fn runs(level: X86Level) -> bool {
    runs_here(&Target::on(Cpu::X86(level), host_target().os))
}

/// The code as this processor runs it: as it is, or for AVX-VNNI taken apart into AVX2; none where the level is out of reach.
pub(super) fn runnable(code: &Code, level: X86Level) -> Option<Code> {
    if runs(level) {
        return Some(code.clone());
    }
    (level == X86Level::V3Vnni && runs(X86Level::V3)).then(|| super::vnni::without_vnni(code))
}

/// Calls compiled code.
pub(super) fn call(code: &Code, args: &[u64], begin: i64, end: i64) -> i32 {
    let memory = CodeMemory::new(&code.bytes).expect("executable memory");
    // SAFETY: the memory holds a function of this type, made from a kernel that takes these arguments and stays inside its buffers.
    unsafe {
        let f: extern "sysv64" fn(*const u64, i64, i64) -> i32 = std::mem::transmute(memory.address(0));
        f(args.as_ptr(), begin, end)
    }
}

/// The level's capabilities, with everything that the backend can also do by other means.
pub(super) fn full_caps(level: X86Level) -> tflc_kir::Caps {
    let caps = Target::new(Cpu::X86(level)).caps();
    tflc_kir::Caps { masks: true, gather: true, dot2: true, dot4: tflc_kir::Dot4::AnySign, ..caps }
}

/// The levels that have this backend.
pub(super) const LEVELS: [X86Level; 5] = [X86Level::V3, X86Level::V3Vnni, X86Level::V4, X86Level::V4Vnni, X86Level::V4Amx];
