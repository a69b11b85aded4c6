//! Memory in random kernels: addresses in bounds, every form of load and store.

use super::{BUFFER_BYTES, Entry, Generator, Group, OUT, Pointer, SCRATCH, SCRATCH_BYTES, TAME};
use crate::op::*;
use crate::types::{Elem, Type};
use crate::{Addr, Builder, Value};

fn buffer_bytes(buffer: usize) -> i64 {
    BUFFER_BYTES.get(buffer).copied().unwrap_or(SCRATCH_BYTES)
}

impl Generator<'_> {
    /// Adds a scratch buffer, written from end to end so that no load depends on what was there.
    pub(super) fn scratch(&mut self, b: &mut Builder) {
        let v = b.scratch(SCRATCH_BYTES as u32, 64);
        let zero = b.i64(0);
        for i in 0..SCRATCH_BYTES / 8 {
            b.store(Mem::I64, Narrow::Wrap, Addr::new(v).offset(i * 8), zero);
        }
        self.pointers.push(Pointer { v, buffer: SCRATCH, lo: 0, hi: 0 });
    }

    /// An address in a buffer at which `bytes` bytes may be accessed.
    pub(super) fn address(&mut self, b: &mut Builder, bytes: i64, buffer_ok: impl Fn(usize) -> bool) -> Option<Addr> {
        let fits = |p: &Pointer| buffer_ok(p.buffer) && p.hi - p.lo.min(0) + bytes <= buffer_bytes(p.buffer);
        let pointers: Vec<Pointer> = self.pointers.iter().copied().filter(fits).collect();
        let p = (!pointers.is_empty()).then(|| self.rng.of(&pointers))?;
        // The offset may be any in `-lo..=room`.
        let mut room = buffer_bytes(p.buffer) - p.hi - bytes;
        let mut addr = Addr::new(p.v);
        if self.rng.chance(60) {
            let scale = self.rng.of(&[1, 2, 4, 8]);
            if let Some((index, max)) = self.index(b, ((room + p.lo.min(0)) / i64::from(scale)).min(63)) {
                addr = addr.index(index, scale);
                room -= max * i64::from(scale);
            }
        }
        let disp = match self.rng.below(4) {
            0 => -p.lo,
            1 => room,
            _ => self.rng.within(-p.lo, room),
        };
        Some(addr.offset(disp))
    }

    /// Memory elements that go with a register lane.
    fn memory_elements(&self, elem: Elem) -> Vec<Mem> {
        let ok = |m: &Mem| {
            m.fits(elem)
                && match m {
                    Mem::F16 | Mem::BF16 => self.allows(Group::HalfMemory),
                    _ => m.bytes() * 8 == elem.bits() || self.allows(Group::NarrowMemory),
                }
        };
        Mem::ALL.into_iter().filter(ok).collect()
    }

    /// Active lanes, a mask operand where they need one, and the number of bytes that must be in bounds.
    fn active(&mut self, b: &mut Builder, ty: Type, mem: Mem) -> (Active, Option<Value>, i64) {
        let bytes = |n: u16| i64::from(n) * i64::from(mem.bytes());
        if ty.is_vector() && self.allows(Group::FirstMemory) && self.rng.chance(20) {
            let n = 1 + self.rng.below(u64::from(ty.lanes) - 1) as u16;
            return (Active::First(n), None, bytes(n));
        }
        if ty.is_vector() && self.allows(Group::MaskedMemory) && self.rng.chance(20) {
            if self.rng.chance(40) {
                // A constant prefix: the other lanes may lie outside the buffer.
                let n = self.rng.below(u64::from(ty.lanes) + 1) as u16;
                let mask = b.const_vec(ty.mask(), (0..ty.lanes).map(|i| u64::from(i < n)).collect());
                return (Active::Mask, Some(mask), bytes(n));
            }
            let mask = self.pick(b, ty.mask());
            return (Active::Mask, Some(mask.v), bytes(ty.lanes));
        }
        (Active::All, None, bytes(ty.lanes))
    }

    /// Loads a value of a type; floats come out tame, whatever the bytes are.
    pub(super) fn load(&mut self, b: &mut Builder, ty: Type) -> Option<Entry> {
        let elements = self.memory_elements(ty.elem);
        let mem = self.rng.of(&elements);
        let readable = |buffer| buffer != OUT;
        let v = if ty.is_vector() && self.rng.chance(20) && self.allows(Group::LoadSplat) {
            let addr = self.address(b, i64::from(mem.bytes()), readable)?;
            b.load_splat(ty, mem, addr)
        } else {
            let (active, mask, bytes) = self.active(b, ty, mem);
            let addr = self.address(b, bytes, readable)?;
            match (active, mask) {
                (Active::First(n), _) => b.load_first(ty, mem, addr, n),
                (_, Some(mask)) => b.load_masked(ty, mem, addr, mask),
                _ => b.load(ty, mem, addr),
            }
        };
        let e = Entry { v, ty, mag: if ty.elem.is_float() { f64::INFINITY } else { 0.0 }, range: None };
        Some(self.tame(b, e, TAME))
    }

    /// Stores some value somewhere.
    pub(super) fn store(&mut self, b: &mut Builder) -> Option<()> {
        let ty = self.type_where(|_| true)?;
        let data = self.pick(b, ty);
        let elements = self.memory_elements(ty.elem);
        let mem = self.rng.of(&elements);
        let narrow = self.rng.of(Narrow::ALL);
        let (active, mask, bytes) = self.active(b, ty, mem);
        let addr = self.address(b, bytes, |buffer| buffer > OUT)?;
        match (active, mask) {
            (Active::First(n), _) => b.store_first(mem, narrow, addr, data.v, n),
            (_, Some(mask)) => b.store_masked(mem, narrow, addr, data.v, mask),
            _ => b.store(mem, narrow, addr, data.v),
        }
        Some(())
    }

    /// Gathers 32- or 64-bit elements with indices of known range.
    pub(super) fn gather(&mut self, b: &mut Builder) -> Option<()> {
        let ty = self.type_where(|t| t.is_vector() && t.elem.bits() >= 32)?;
        let index_ty = ty.with_elem(Elem::I32);
        if !self.has(index_ty) {
            return None;
        }
        let mem = match ty.elem {
            Elem::F32 => Mem::F32,
            Elem::F64 => Mem::F64,
            Elem::I64 => Mem::I64,
            _ => Mem::S32,
        };
        let scale = self.rng.of(&[1, 2, 4, 8]);
        let (x, mask, low) = (self.pick(b, index_ty), b.int(index_ty, 31), b.int(index_ty, 15));
        let x = b.bin(BinOp::And, x.v, mask);
        // In -15..=16, so that negative indices come too.
        let index = b.sub(x, low);
        let span = 32 * i64::from(scale);
        let addr = self.address(b, span + i64::from(mem.bytes()), |buffer| buffer != OUT)?;
        // The address may have had an index, which may be 0, so that it is in bounds without it as well.
        let addr = Addr::new(addr.base).offset(i64::from(addr.disp) + 15 * i64::from(scale)).index(index, scale);
        let v = b.gather(ty, mem, addr);
        if ty.elem.is_float() {
            self.add_float(b, v, f64::INFINITY)
        } else {
            self.add(b, v)
        }
        Some(())
    }

    pub(super) fn table256(&mut self, b: &mut Builder) -> Option<()> {
        let ty = self.type_where(|t| t.elem == Elem::I8)?;
        let index = self.pick(b, ty);
        let addr = self.address(b, 256, |buffer| buffer != OUT)?;
        let mut table = b.ptr_add_const(addr.base, i64::from(addr.disp));
        if let Some((index, scale)) = addr.index {
            let bytes = b.mul_const(index, i64::from(scale));
            table = b.ptr_add(table, bytes);
        }
        let v = b.inst(Op::Table256, ty, &[table, index.v]);
        self.add(b, v);
        Some(())
    }

    pub(super) fn prefetch(&mut self, b: &mut Builder) -> Option<()> {
        let addr = self.address(b, 1, |_| true)?;
        let locality = self.rng.of(Locality::ALL);
        b.prefetch(addr, locality);
        Some(())
    }

    /// A pointer further into a buffer.
    pub(super) fn step_pointer(&mut self, b: &mut Builder) -> Option<()> {
        let p = self.rng.of(&self.pointers.clone());
        let room = (buffer_bytes(p.buffer) - p.hi - 64).min(63);
        if room >= 0 && self.rng.chance(40) {
            let by = self.rng.within(-20, room);
            let v = b.ptr_add_const(p.v, by);
            self.pointers.push(Pointer { v, lo: p.lo + by, hi: p.hi + by, ..p });
            return Some(());
        }
        let (offset, max) = self.index(b, room)?;
        let v = b.ptr_add(p.v, offset);
        self.pointers.push(Pointer { v, hi: p.hi + max, ..p });
        Some(())
    }

    /// Stores what there is at the end, so that it can be compared.
    pub(super) fn store_results(&mut self, b: &mut Builder) {
        let mut at = 0;
        let mut left = self.pool.clone();
        let out = self.pointers[OUT].v;
        while !left.is_empty() {
            let i = self.rng.below(left.len() as u64) as usize;
            let e = left.swap_remove(i);
            let (v, ty) = match e.ty.elem {
                Elem::Bool => {
                    let Some(ty) = self.type_where(|t| t.lanes == e.ty.lanes && t.elem.is_int()) else { continue };
                    let (yes, no) = (b.int(ty, 1), b.int(ty, 0));
                    (b.select(e.v, yes, no), ty)
                }
                _ => (e.v, e.ty),
            };
            let mem = match ty.elem {
                Elem::I8 => Mem::S8,
                Elem::I16 => Mem::S16,
                Elem::I32 => Mem::S32,
                Elem::I64 => Mem::I64,
                Elem::F32 => Mem::F32,
                _ => Mem::F64,
            };
            let bytes = i64::from(ty.bits() / 8);
            if at + bytes > BUFFER_BYTES[OUT] {
                return;
            }
            b.store(mem, Narrow::Wrap, Addr::new(out).offset(at), v);
            at += bytes;
        }
    }
}
