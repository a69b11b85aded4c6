//! AArch64 instructions that Cranelift lacks, written as others that stand in for them until the code is finished.
//!
//! Cranelift allocates registers for `fmla` of f32 vectors, by vector or by element, and for conversions between f32 and f64; the instructions here have the same
//! operands in the same fields, so that replacing the other bits of the word is all there is to do, and nothing moves. Which words those are says
//! Cranelift: every stand-in is emitted at a source location of its own, and the finished code knows the range of each location. Multiply-adds and
//! conversions that mean themselves lie outside of these ranges and stay as they are. One that Cranelift drops, because nobody uses its result, has no range; one whose
//! range does not hold exactly one such word is an error.
//!
//! Encodings: Arm Architecture Reference Manual for A-profile (DDI 0487), "Advanced SIMD vector x indexed element", "Advanced SIMD three-register
//! extension", "Advanced SIMD three same (FP16)", "Advanced SIMD two-register miscellaneous".

use super::emit::{Emitter, Val};
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{DataFlowGraph, Inst, InstBuilder, InstructionData, Opcode, SourceLoc, ValueDef};
use cranelift_codegen::{Final, MachSrcLoc};
use tflc_kir::DotSigns;

/// An instruction that another stands in for.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct StandIn {
    mnemonic: &'static str,
    form: Form,
    /// The bits that are neither register nor index.
    bits: u32,
}

/// Where an instruction has its registers and its index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// `v.4s, v.4s, v.s[i]`: L is bit 21, M:Rm are bits 16 to 20, H is bit 11, Rn is bits 5 to 9, Rd bits 0 to 4.
    Element,
    /// `v.4s, v.4s, v.4s`: Rm is bits 16 to 20, Rn bits 5 to 9, Rd bits 0 to 4.
    Vectors,
    /// `v.2d, v.2s`: Rn is bits 5 to 9, Rd bits 0 to 4.
    Widen,
    /// `v.2s, v.2d`: the same.
    Narrow,
}

impl Form {
    const ALL: [Form; 4] = [Form::Element, Form::Vectors, Form::Widen, Form::Narrow];

    /// What Cranelift emits in this form (`fmla`, `fcvtl` or `fcvtn`), and the mask of the bits that are neither register nor index.
    const fn emitted(self) -> (u32, u32) {
        match self {
            Form::Element => (0x4F80_1000, 0xFFC0_F400),
            Form::Vectors => (0x4E20_CC00, 0xFFE0_FC00),
            Form::Widen => (0x0E61_7800, 0xFFFF_FC00),
            Form::Narrow => (0x0E61_6800, 0xFFFF_FC00),
        }
    }

    /// Its mnemonic, and an operand that tells it from others of that name.
    const fn listed(self) -> (&'static str, &'static str) {
        match self {
            Form::Element | Form::Vectors => ("fmla ", ".4s"),
            Form::Widen => ("fcvtl ", ".2d"),
            Form::Narrow => ("fcvtn ", ".2d"),
        }
    }
}

const fn element(mnemonic: &'static str, bits: u32) -> StandIn {
    StandIn { mnemonic, form: Form::Element, bits }
}

const fn vectors(mnemonic: &'static str, bits: u32) -> StandIn {
    StandIn { mnemonic, form: Form::Vectors, bits }
}

/// Multiply-adds of halves.
static FMLA_HALVES: StandIn = vectors("fmla.8h", 0x4E40_0C00);
/// The lower four halves as floats.
static FCVTL_HALVES: StandIn = StandIn { mnemonic: "fcvtl.4h", form: Form::Widen, bits: 0x0E21_7800 };
/// Four floats as halves, in the lower half of a vector.
static FCVTN_HALVES: StandIn = StandIn { mnemonic: "fcvtn.4h", form: Form::Narrow, bits: 0x0E21_6800 };
static SDOT_ELEMENT: StandIn = element("sdot", 0x4F80_E000);
static UDOT_ELEMENT: StandIn = element("udot", 0x6F80_E000);
/// The vector is unsigned, the element signed.
static USDOT_ELEMENT: StandIn = element("usdot", 0x4F80_F000);
/// The vector is signed, the element unsigned.
static SUDOT_ELEMENT: StandIn = element("sudot", 0x4F00_F000);
/// Dot products of unsigned bytes, vector by vector.
pub(super) static UDOT: StandIn = vectors("udot", 0x6E80_9400);
static SMMLA: StandIn = vectors("smmla", 0x4E80_A400);
static UMMLA: StandIn = vectors("ummla", 0x6E80_A400);
static USMMLA: StandIn = vectors("usmmla", 0x4E80_AC00);

/// The matrix product of bytes of these signs.
pub(super) fn matrix_product(signs: DotSigns) -> &'static StandIn {
    match signs {
        DotSigns::Signed => &SMMLA,
        DotSigns::Unsigned => &UMMLA,
        DotSigns::UnsignedSigned => &USMMLA,
    }
}

impl Emitter<'_, '_> {
    /// A dot product by element, where one of the factors is four bytes in every lane that Cranelift can take from an element.
    pub(super) fn dot4_by_element(&mut self, signs: DotSigns, acc: Val, a: Val, b: Val) -> Option<Val> {
        let (vector, element, of_mixed_signs) = match (self.element(a), self.element(b)) {
            (_, Some(element)) => (a, element, &USDOT_ELEMENT),
            (Some(element), None) => (b, element, &SUDOT_ELEMENT),
            _ => return None,
        };
        let what = match signs {
            DotSigns::Signed => &SDOT_ELEMENT,
            DotSigns::Unsigned => &UDOT_ELEMENT,
            DotSigns::UnsignedSigned => of_mixed_signs,
        };
        let (vector, element) = (self.hidden(vector), self.cast(F32X4, element));
        Some(self.stand_in(what, acc, vector, element))
    }

    /// An accumulating instruction of whole vectors.
    pub(super) fn stand_in_of_vectors(&mut self, what: &'static StandIn, acc: Val, a: Val, b: Val) -> Val {
        let (a, b) = (self.hidden(a), self.hidden(b));
        self.stand_in(what, acc, a, b)
    }

    /// `a b + c` of halves.
    pub(super) fn fma_f16(&mut self, a: Val, b: Val, c: Val) -> Val {
        let v = self.stand_in_of_vectors(&FMLA_HALVES, c, a, b);
        self.cast(I16X8, v)
    }

    /// The lower four halves of a vector as floats.
    pub(super) fn widen_f16(&mut self, a: Val) -> Val {
        let a = self.cast(F32X4, a);
        let v = self.located(&FCVTL_HALVES, |e| e.b.ins().fvpromote_low(a));
        self.cast(F32X4, v)
    }

    /// The floats of a vector as halves, in its lower half.
    pub(super) fn narrow_f16(&mut self, v: Val) -> Val {
        let v = self.cast(F64X2, v);
        self.located(&FCVTN_HALVES, |e| e.b.ins().fvdemote(v))
    }

    /// The floats of two vectors as halves.
    pub(super) fn pack_f16(&mut self, a: Val, b: Val) -> Val {
        let [a, b] = [a, b].map(|v| {
            let v = self.narrow_f16(v);
            self.cast(I64X2, v)
        });
        let both = self.unpack(I64X2, a, b, false);
        self.cast(I16X8, both)
    }

    fn stand_in(&mut self, what: &'static StandIn, acc: Val, a: Val, b: Val) -> Val {
        let acc = self.cast(F32X4, acc);
        let v = self.located(what, |e| e.b.ins().fma(a, b, acc));
        self.cast(I32X4, v)
    }

    /// Emits an instruction that stands for another.
    fn located(&mut self, what: &'static StandIn, emit: impl FnOnce(&mut Self) -> Val) -> Val {
        // Location 0 may stand for none.
        self.stand_ins.push(what);
        self.b.set_srcloc(SourceLoc::new(self.stand_ins.len() as u32));
        let v = emit(self);
        self.b.set_srcloc(SourceLoc::default());
        v
    }

    /// The shuffle or splat behind bit casts that Cranelift folds into `fmla` by element.
    fn element(&self, v: Val) -> Option<Val> {
        let dfg = &self.b.func.dfg;
        let mut v = v;
        loop {
            let ValueDef::Result(inst, _) = dfg.value_def(v) else { return None };
            let args = dfg.inst_args(inst);
            match dfg.insts[inst].opcode() {
                Opcode::Bitcast => v = args[0],
                // An integer would have to be moved to a vector register first: then it may as well be copied to all lanes.
                Opcode::Splat => return (dfg.value_type(v) == F32X4).then_some(v),
                Opcode::Shuffle => {
                    let (pattern, one) = (shuffle_pattern(dfg, inst)?, args[0] == args[1]);
                    let word = pattern[0] / 4;
                    let splat = (0..16u8).all(|i| pattern[usize::from(i)] == word * 4 + i % 4);
                    return (one && word < 4 && splat).then_some(v);
                }
                _ => return None,
            }
        }
    }

    /// A vector as f32 lanes, in which Cranelift does not see a splat.
    fn hidden(&mut self, v: Val) -> Val {
        let v = self.cast(I64X2, v);
        let v = self.cast(I32X4, v);
        self.cast(F32X4, v)
    }
}

fn shuffle_pattern(dfg: &DataFlowGraph, inst: Inst) -> Option<&[u8]> {
    let InstructionData::Shuffle { imm, .. } = dfg.insts[inst] else { return None };
    dfg.immediates.get(imm).map(|bytes| bytes.as_slice())
}

/// Puts the instructions in where others stand for them; gives where they are.
///
/// # Errors
/// Where a stand-in is not the instruction that it ought to be: a bug.
pub(super) fn replace(
    code: &mut [u8],
    ranges: &[MachSrcLoc<Final>],
    all: &[&'static StandIn],
) -> Result<Vec<(usize, &'static StandIn)>, String> {
    let mut done = vec![];
    for range in ranges.iter().filter(|r| !r.loc.is_default()) {
        let what = *all.get(range.loc.bits() as usize - 1).ok_or("an unknown source location")?;
        let (written, fixed) = what.form.emitted();
        let (start, end) = (range.start as usize, range.end as usize);
        let words = code.get_mut(start..end).ok_or("a source location outside of the code")?.as_chunks_mut::<4>().0;
        let mut found = words.iter_mut().enumerate().filter(|(_, w)| u32::from_le_bytes(**w) & fixed == written);
        let (Some((at, word)), None) = (found.next(), found.next()) else {
            return Err(format!("nothing stands in for {} at {start}..{end}", what.mnemonic));
        };
        *word = (u32::from_le_bytes(*word) & !fixed | what.bits).to_le_bytes();
        done.push((start + at * 4, what));
    }
    Ok(done)
}

/// Renames the stand-ins in Cranelift's listing of `code`, which is as it was before [`replace`]; operands keep Cranelift's notation.
pub(super) fn rename(listing: &str, code: &[u8], replaced: &[(usize, &'static StandIn)]) -> String {
    let words = code.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w)).enumerate();
    let mut emitted = words.filter(|(_, w)| Form::ALL.iter().any(|f| w & f.emitted().1 == f.emitted().0));
    let line = |line: &str| {
        let body = line.trim_start();
        let form = Form::ALL.iter().find(|f| body.starts_with(f.listed().0) && body.contains(f.listed().1));
        let at = form.and_then(|_| emitted.next()).map(|(i, _)| i * 4);
        match (form, replaced.iter().find(|r| Some(r.0) == at)) {
            (Some(form), Some((_, what))) => line.replacen(form.listed().0.trim_end(), what.mnemonic, 1),
            _ => line.to_string(),
        }
    };
    listing.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
}
