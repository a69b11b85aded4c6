//! Runs the steps of a program.

use super::decode::{Code, Plain, Program, Slot};
use super::memory::{Fault, Memory};
use super::tiles::Tiles;
use super::{Arg, Trap, lanes, vectors};
use crate::op::*;
use crate::types::Elem;
use half::{bf16, f16};

/// What a plain instruction may run into.
pub(super) enum Stop {
    Fault(Fault),
    Undefined,
}

impl From<Fault> for Stop {
    fn from(f: Fault) -> Stop {
        Stop::Fault(f)
    }
}

impl Program<'_> {
    /// Runs the kernel over the work units `[begin, end)` and gives its status, 0 where it returns none.
    ///
    /// # Errors
    /// [`Trap`] where the arguments do not match or something undefined happens. Stores made before that stay.
    pub fn run(&self, args: &[Arg], memory: &mut Memory<'_>, begin: i64, end: i64) -> Result<i32, Trap> {
        let mut slots = self.slots.clone();
        self.enter(args, begin, end, &mut slots)?;
        let buffers = memory.len();
        for &(at, bytes) in &self.scratch {
            slots[at as usize] = memory.add_scratch(bytes as usize);
        }
        let ended = self.steps(&mut slots, memory);
        memory.truncate(buffers);
        ended?;
        Ok(self.status.map_or(0, |at| slots[at as usize] as i32))
    }

    fn enter(&self, args: &[Arg], begin: i64, end: i64, slots: &mut [u64]) -> Result<(), Trap> {
        let params = &self.kernel.params;
        let kernel = || self.kernel.name.clone();
        if args.len() != params.len() {
            return Err(Trap::ArgCount { kernel: kernel(), expected: params.len(), got: args.len() });
        }
        for (a, p) in args.iter().zip(params) {
            let expected = self.kernel.ty(p.value);
            if a.ty() != expected {
                return Err(Trap::ArgType { kernel: kernel(), param: p.name.clone(), expected, got: a.ty() });
            }
        }
        let values = args.iter().map(|a| a.slot()).chain([begin as u64, end as u64]);
        for (&at, v) in self.entry.iter().zip(values) {
            slots[at as usize] = v;
        }
        Ok(())
    }

    fn steps(&self, slots: &mut [u64], memory: &mut Memory<'_>) -> Result<(), Trap> {
        let mut pc = 0;
        let mut held: Vec<u64> = Vec::new();
        let mut tiles = Tiles::default();
        let mut fuel = self.fuel;
        while let Some(code) = self.code.get(pc) {
            fuel = fuel.checked_sub(1).ok_or_else(|| Trap::OutOfFuel { kernel: self.kernel.name.clone() })?;
            let mut next = pc + 1;
            match code {
                Code::Plain(Plain { op: Op::Tile(op), args, .. }) => {
                    let [base, stride] = [args[0], args[1]].map(|s| slots.get(s.at as usize).copied().unwrap_or(0));
                    tiles.run(op, base, stride, memory).map_err(|f| self.trap(pc, f.into()))?;
                }
                Code::Plain(p) => plain(p, slots, memory).map_err(|s| self.trap(pc, s))?,
                Code::Copy(pairs) => match &pairs[..] {
                    [(from, to)] => slots.copy_within(from.range(), to.at as usize),
                    _ => {
                        held.clear();
                        pairs.iter().for_each(|(from, _)| held.extend_from_slice(&slots[from.range()]));
                        let mut rest = &held[..];
                        for (_, to) in pairs {
                            let (first, more) = rest.split_at(usize::from(to.lanes));
                            slots[to.range()].copy_from_slice(first);
                            rest = more;
                        }
                    }
                },
                Code::Jump(to) => next = *to as usize,
                Code::JumpIfNot(cond, to) if slots[*cond as usize] == 0 => next = *to as usize,
                Code::JumpIfNot(..) => {}
                Code::ForHead { i, end, exit } => {
                    if slots[*i as usize] as i64 >= slots[*end as usize] as i64 {
                        next = *exit as usize;
                    }
                }
                Code::ForNext { i, step, head } => {
                    let i = &mut slots[*i as usize];
                    *i = (*i as i64).checked_add(*step).ok_or_else(|| self.trap(pc, Stop::Undefined))? as u64;
                    next = *head as usize;
                }
            }
            pc = next;
        }
        Ok(())
    }

    #[cold]
    fn trap(&self, pc: usize, stop: Stop) -> Trap {
        let index = self.origin[pc] as usize;
        let inst = crate::print::print_inst(self.kernel, index);
        let kernel = self.kernel.name.clone();
        match stop {
            Stop::Fault(fault) => Trap::Memory { kernel, inst, index, fault },
            Stop::Undefined => Trap::Undefined { kernel, inst, index },
        }
    }
}

fn plain(p: &Plain<'_>, slots: &mut [u64], memory: &mut Memory<'_>) -> Result<(), Stop> {
    if let Op::Store(m, narrow) = p.op {
        return store(p, m, *narrow, slots, memory);
    }
    // Operands were defined before the result and so lie below it.
    let (src, dst) = slots.split_at_mut(p.dst.at as usize);
    let dst = &mut dst[..usize::from(p.dst.lanes)];
    let arg = |i: usize| &src[p.args[i].range()];
    let elem = p.dst.elem;
    match p.op {
        Op::Un(o) => lanes::unary(*o, elem, dst, arg(0)),
        Op::Bin(o) => lanes::binary(*o, elem, dst, arg(0), arg(1)).ok_or(Stop::Undefined)?,
        Op::Fma => lanes::fma(elem, dst, arg(0), arg(1), arg(2)),
        Op::Cmp(o) => lanes::compare(*o, p.args[0].elem, dst, arg(0), arg(1)),
        Op::Select => lanes::select(dst, arg(0), arg(1), arg(2)),
        Op::Convert(o) => lanes::convert(*o, p.args[0].elem, elem, dst, arg(0)),
        Op::Dot4(s) => vectors::dot4(*s, dst, arg(0), arg(1), arg(2)),
        Op::Mmla(s) => vectors::mmla(*s, dst, arg(0), arg(1), arg(2)),
        Op::Dot2 => vectors::dot2(dst, arg(0), arg(1), arg(2)),
        Op::FmaF16 => vectors::fma_f16(dst, arg(0), arg(1), arg(2)),
        Op::PackF16 => vectors::pack_f16(dst, arg(0), arg(1)),
        Op::WidenF16Lo => vectors::widen_f16(dst, &arg(0)[..dst.len()]),
        Op::WidenF16Hi => vectors::widen_f16(dst, &arg(0)[dst.len()..]),
        Op::Splat => dst.fill(arg(0)[0] & elem.bit_mask()),
        Op::ExtractLane(i) => dst[0] = arg(0)[usize::from(*i)],
        Op::InsertLane(i) => {
            dst.copy_from_slice(arg(0));
            dst[usize::from(*i)] = arg(1)[0] & elem.bit_mask();
        }
        Op::ExtractPart(i) => {
            let n = dst.len();
            dst.copy_from_slice(&arg(0)[usize::from(*i) * n..][..n]);
        }
        Op::Concat => {
            let (lo, hi) = dst.split_at_mut(arg(0).len());
            lo.copy_from_slice(arg(0));
            hi.copy_from_slice(arg(1));
        }
        Op::Shuffle(map) => {
            let (a, b) = (arg(0), arg(1));
            for (d, &i) in dst.iter_mut().zip(map) {
                let i = usize::from(i);
                *d = if i < a.len() { a[i] } else { b[i - a.len()] };
            }
        }
        Op::UnpackLo => vectors::unpack(elem, 0, dst, arg(0), arg(1)),
        Op::UnpackHi => vectors::unpack(elem, 1, dst, arg(0), arg(1)),
        Op::PackS => vectors::pack(p.args[0].elem, lanes::Range::Signed, dst, arg(0), arg(1)),
        Op::PackU => vectors::pack(p.args[0].elem, lanes::Range::Unsigned, dst, arg(0), arg(1)),
        Op::Table16 => vectors::table16(dst, arg(0), arg(1)),
        Op::Table256 => {
            let table = arg(0)[0];
            for (d, &i) in dst.iter_mut().zip(arg(1)) {
                *d = u64::from(memory.read(table.wrapping_add(i), 1)?[0]);
            }
        }
        Op::Reduce(o) => dst[0] = vectors::reduce(*o, p.args[0].elem, arg(0)),
        Op::Load(m) => {
            let address = address(p, m.addr, src);
            match m.active {
                Active::All => load_run(m.mem, elem, address, dst, memory)?,
                Active::First(n) => {
                    let (first, rest) = dst.split_at_mut(usize::from(n));
                    load_run(m.mem, elem, address, first, memory)?;
                    rest.fill(0);
                }
                Active::Mask => {
                    let mask = arg(1 + usize::from(m.addr.scale != 0));
                    for (i, d) in dst.iter_mut().enumerate() {
                        *d = 0;
                        if mask[i] != 0 {
                            load_run(m.mem, elem, element(address, i, m.mem), std::slice::from_mut(d), memory)?;
                        }
                    }
                }
            }
        }
        Op::LoadSplat(m) => {
            load_run(m.mem, elem, address(p, m.addr, src), &mut dst[..1], memory)?;
            dst.fill(dst[0]);
        }
        Op::Gather(m) => {
            let base = arg(0)[0].wrapping_add(m.addr.disp as u64);
            for (d, &i) in dst.iter_mut().zip(arg(1)) {
                let offset = i64::from(i as u32 as i32) * i64::from(m.addr.scale);
                load_run(m.mem, elem, base.wrapping_add(offset as u64), std::slice::from_mut(d), memory)?;
            }
        }
        Op::PtrAdd => dst[0] = arg(0)[0].wrapping_add(arg(1)[0]),
        // Decoded to nothing or to other steps.
        Op::Const(_) | Op::ConstVec(_) | Op::Scratch { .. } | Op::Prefetch(..) | Op::Store(..) | Op::Tile(_) => {}
        Op::For { .. } | Op::If | Op::While => {}
    }
    Ok(())
}

fn address(p: &Plain<'_>, mode: AddrMode, slots: &[u64]) -> u64 {
    let at = |s: Slot| slots[s.at as usize];
    let index = if mode.scale == 0 { 0 } else { at(p.args[1]).wrapping_mul(u64::from(mode.scale)) };
    at(p.args[0]).wrapping_add(index).wrapping_add(mode.disp as u64)
}

fn element(address: u64, i: usize, mem: Mem) -> u64 {
    address.wrapping_add(i as u64 * u64::from(mem.bytes()))
}

/// Loads consecutive elements.
fn load_run(mem: Mem, elem: Elem, address: u64, dst: &mut [u64], memory: &Memory<'_>) -> Result<(), Fault> {
    let size = mem.bytes() as usize;
    let bytes = memory.read(address, dst.len() * size)?;
    let mask = elem.bit_mask();
    macro_rules! each {
        ($int:ty, $f:expr) => {
            for (d, b) in dst.iter_mut().zip(bytes.chunks_exact(size_of::<$int>())) {
                // Chunks have exactly the size.
                *d = $f(<$int>::from_le_bytes(b.try_into().unwrap_or_default()));
            }
        };
    }
    match mem {
        Mem::S8 => each!(i8, |v| v as i64 as u64 & mask),
        Mem::U8 => each!(u8, u64::from),
        Mem::S16 => each!(i16, |v| v as i64 as u64 & mask),
        Mem::U16 => each!(u16, u64::from),
        Mem::S32 => each!(i32, |v| v as i64 as u64 & mask),
        Mem::U32 | Mem::F32 => each!(u32, u64::from),
        Mem::I64 | Mem::F64 => each!(u64, |v| v),
        Mem::F16 => each!(u16, |v| u64::from(f16::from_bits(v).to_f32().to_bits())),
        Mem::BF16 => each!(u16, |v| u64::from(bf16::from_bits(v).to_f32().to_bits())),
    }
    Ok(())
}

fn store(p: &Plain<'_>, m: &MemOp, narrow: Narrow, slots: &[u64], memory: &mut Memory<'_>) -> Result<(), Stop> {
    let index = usize::from(m.addr.scale != 0);
    let data_at = 1 + index + usize::from(m.active == Active::Mask);
    let (data, elem) = (&slots[p.args[data_at].range()], p.args[data_at].elem);
    let address = address(p, m.addr, slots);
    match m.active {
        Active::All => store_run(m.mem, narrow, elem, address, data, memory)?,
        Active::First(n) => store_run(m.mem, narrow, elem, address, &data[..usize::from(n)], memory)?,
        Active::Mask => {
            for (i, (&on, d)) in slots[p.args[1 + index].range()].iter().zip(data).enumerate() {
                if on != 0 {
                    store_run(m.mem, narrow, elem, element(address, i, m.mem), std::slice::from_ref(d), memory)?;
                }
            }
        }
    }
    Ok(())
}

/// Stores consecutive elements.
fn store_run(mem: Mem, narrow: Narrow, elem: Elem, address: u64, data: &[u64], memory: &mut Memory<'_>) -> Result<(), Fault> {
    let size = mem.bytes() as usize;
    let bytes = memory.write(address, data.len() * size)?;
    let range = match mem {
        Mem::S8 | Mem::S16 | Mem::S32 | Mem::I64 => lanes::Range::Signed,
        _ => lanes::Range::Unsigned,
    };
    let saturate = narrow == Narrow::Saturate && elem.is_int() && elem.bits() > mem.bytes() * 8;
    for (b, &v) in bytes.chunks_exact_mut(size).zip(data) {
        let bits = match mem {
            Mem::F16 => u64::from(f16::from_f32(f32::from_bits(v as u32)).to_bits()),
            Mem::BF16 => u64::from(bf16::from_f32(f32::from_bits(v as u32)).to_bits()),
            _ if saturate => lanes::saturate(lanes::signed(v, elem.bits()), mem.bytes() * 8, range),
            _ => v,
        };
        b.copy_from_slice(&bits.to_le_bytes()[..size]);
    }
    Ok(())
}
