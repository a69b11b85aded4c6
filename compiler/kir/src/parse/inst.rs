//! Plain instructions: names of operators, their types, operands and immediates.

use super::{ParseErrorKind, Parser, Result, type_named};
use crate::kernel::{Inst, Value};
use crate::op::*;
use crate::tile::{TileOp, TileProduct, TileShape};
use crate::types::Type;
use smallvec::SmallVec;

/// Finds the operator of a kind that has a name.
fn named<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|&o| name(o) == text)
}

/// Operators without parts in their name.
fn simple(word: &str) -> Option<Op> {
    let op = match word {
        "fma" => Op::Fma,
        "select" => Op::Select,
        "dot2" => Op::Dot2,
        "fma_f16" => Op::FmaF16,
        "pack_f16" => Op::PackF16,
        "widen_f16_lo" => Op::WidenF16Lo,
        "widen_f16_hi" => Op::WidenF16Hi,
        "splat" => Op::Splat,
        "concat" => Op::Concat,
        "unpack_lo" => Op::UnpackLo,
        "unpack_hi" => Op::UnpackHi,
        "pack_s" => Op::PackS,
        "pack_u" => Op::PackU,
        "table16" => Op::Table16,
        "table256" => Op::Table256,
        "ptr_add" => Op::PtrAdd,
        _ => {
            return named(UnOp::ALL, UnOp::name, word)
                .map(Op::Un)
                .or_else(|| named(BinOp::ALL, BinOp::name, word).map(Op::Bin))
                .or_else(|| named(ConvertOp::ALL, ConvertOp::name, word).map(Op::Convert));
        }
    };
    Some(op)
}

impl Parser<'_> {
    /// The rest of a plain instruction after its name `word`, with the types of its results.
    pub(super) fn plain(&mut self, word: &str, at: usize) -> Result<(Inst, Vec<Type>)> {
        let (head, tail) = word.split_once('.').unwrap_or((word, ""));
        let unknown = ParseErrorKind::Operator(word.chars().take(40).collect());
        if let Some(op) = simple(word) {
            let ty = self.ty()?;
            let args = self.values()?;
            return Ok(inst(op, args, &[ty]));
        }
        match head {
            "const" => match type_named(tail) {
                Some(ty) => self.constant(ty),
                None => self.error_at(at, unknown),
            },
            "cmp" => {
                let Some(op) = named(CmpOp::ALL, CmpOp::name, tail) else { return self.error_at(at, unknown) };
                let (type_at, ty) = (self.at, self.ty()?);
                let args = self.values()?;
                // The printed type is the operands'.
                if args.first().is_some_and(|&a| self.kernel.ty(a) != ty) {
                    let found = format!("`{ty}`");
                    return self.error_at(type_at, ParseErrorKind::Expected { expected: "the operands' type", found });
                }
                Ok(inst(Op::Cmp(op), args, &[ty.mask()]))
            }
            "dot4" => match named(DotSigns::ALL, DotSigns::name, tail) {
                Some(signs) => self.operands(Op::Dot4(signs)),
                None => self.error_at(at, unknown),
            },
            "mmla" => match named(DotSigns::ALL, DotSigns::name, tail) {
                Some(signs) => self.operands(Op::Mmla(signs)),
                None => self.error_at(at, unknown),
            },
            "reduce" => match named(ReduceOp::ALL, ReduceOp::name, tail) {
                Some(op) => self.operands(Op::Reduce(op)),
                None => self.error_at(at, unknown),
            },
            "load" | "load_splat" | "gather" | "store" => match self.memory(head, tail)? {
                Some(done) => Ok(done),
                None => self.error_at(at, unknown),
            },
            "prefetch" => {
                let Some(locality) = named(Locality::ALL, Locality::name, tail) else { return self.error_at(at, unknown) };
                let (addr, args) = self.address()?;
                Ok(inst(Op::Prefetch(addr, locality), args, &[]))
            }
            "tile_config" | "tile_zero" | "tile_load" | "tile_store" | "tile_dot" => match self.tile(head, tail)? {
                Some(done) => Ok(done),
                None => self.error_at(at, unknown),
            },
            "extract_lane" | "insert_lane" | "extract_part" if tail.is_empty() => self.indexed(head),
            "shuffle" if tail.is_empty() => {
                let ty = self.ty()?;
                let args = self.values()?;
                let map = self.list(|p| p.small("a lane"))?;
                Ok(inst(Op::Shuffle(map), args, &[ty]))
            }
            "scratch" if tail.is_empty() => {
                self.keyword("ptr", "`ptr`")?;
                let bytes = self.small("a size of 32 bits")?;
                self.keyword("align", "`align`")?;
                let align = self.small("an alignment")?;
                Ok(inst(Op::Scratch { bytes, align }, vec![], &[Type::PTR]))
            }
            _ => self.error_at(at, unknown),
        }
    }

    /// Type and operands.
    fn operands(&mut self, op: Op) -> Result<(Inst, Vec<Type>)> {
        let ty = self.ty()?;
        let args = self.values()?;
        Ok(inst(op, args, &[ty]))
    }

    /// Type, operands and a last number, all separated by commas.
    fn indexed(&mut self, head: &str) -> Result<(Inst, Vec<Type>)> {
        let ty = self.ty()?;
        let mut args = vec![self.value()?];
        self.punct(',', "`,`")?;
        if head == "insert_lane" {
            args.push(self.value()?);
            self.punct(',', "`,` and the lane")?;
        }
        let i = self.small("a lane or part")?;
        let op = match head {
            "extract_lane" => Op::ExtractLane(i),
            "insert_lane" => Op::InsertLane(i),
            _ => Op::ExtractPart(i),
        };
        Ok(inst(op, args, &[ty]))
    }

    /// Numbers in parentheses.
    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.punct('(', "`(`")?;
        let mut items = vec![one(self)?];
        while self.accept(',')? {
            items.push(one(self)?);
        }
        self.punct(')', "`,` or `)`")?;
        Ok(items)
    }

    fn constant(&mut self, ty: Type) -> Result<(Inst, Vec<Type>)> {
        let op = match self.token {
            super::Token::Number(bits) => {
                self.advance()?;
                Op::Const(bits)
            }
            _ if ty.is_vector() => Op::ConstVec(self.list(|p| p.number("bits of a lane"))?),
            _ => return self.expected("bits of the constant"),
        };
        Ok(inst(op, vec![], &[ty]))
    }

    /// `[%base + %index*scale + disp]`
    fn address(&mut self) -> Result<(AddrMode, Vec<Value>)> {
        self.punct('[', "`[` and an address")?;
        let mut args = vec![self.value()?];
        let mut mode = AddrMode { scale: 0, disp: 0 };
        loop {
            if self.accept(']')? {
                return Ok((mode, args));
            }
            let negative = self.token == super::Token::Punct('-');
            if !negative && self.token != super::Token::Punct('+') {
                return self.expected("`+`, `-` or `]`");
            }
            self.advance()?;
            if !negative && mode.scale == 0 && matches!(self.token, super::Token::Value(_)) {
                args.push(self.value()?);
                self.punct('*', "`*` and a scale")?;
                let at = self.at;
                mode.scale = self.small("1, 2, 4 or 8")?;
                if !matches!(mode.scale, 1 | 2 | 4 | 8) {
                    let value = u64::from(mode.scale);
                    return self.error_at(at, ParseErrorKind::OutOfRange { value, expected: "1, 2, 4 or 8" });
                }
                continue;
            }
            let at = self.at;
            let value = self.number("a constant offset")?;
            let disp = i64::try_from(value).ok().and_then(|v| i32::try_from(if negative { -v } else { v }).ok());
            let Some(disp) = disp else {
                return self.error_at(at, ParseErrorKind::OutOfRange { value, expected: "an offset of 32 bits" });
            };
            mode.disp = disp;
            self.punct(']', "`]`")?;
            return Ok((mode, args));
        }
    }

    /// Operators on tiles; `None` where the name's tail is unknown.
    fn tile(&mut self, head: &str, tail: &str) -> Result<Option<(Inst, Vec<Type>)>> {
        let mut args = vec![];
        let op = match head {
            "tile_dot" => {
                let Some(product) = named(TileProduct::ALL, TileProduct::name, tail) else { return Ok(None) };
                let acc = self.small("a tile")?;
                self.punct(',', "`,`")?;
                let a = self.small("a tile")?;
                self.punct(',', "`,`")?;
                TileOp::Dot { product, acc, a, b: self.small("a tile")? }
            }
            _ if !tail.is_empty() => return Ok(None),
            "tile_config" => TileOp::Config(self.list(|p| {
                let rows = p.small("a number of rows")?;
                p.keyword("x", "`x`")?;
                Ok(TileShape { rows, row_bytes: p.small("bytes of a row")? })
            })?),
            "tile_zero" => TileOp::Zero(self.small("a tile")?),
            _ => {
                let (tile, at) = (self.small("a tile")?, self.at);
                let (AddrMode { scale, disp }, mut address) = self.address()?;
                if scale != 0 {
                    return self.error_at(at, ParseErrorKind::OutOfRange { value: u64::from(scale), expected: "an address without index" });
                }
                self.punct(',', "`,` and a stride")?;
                args.append(&mut address);
                args.push(self.value()?);
                if head == "tile_load" { TileOp::Load { tile, disp } } else { TileOp::Store { tile, disp } }
            }
        };
        Ok(Some(inst(Op::Tile(op), args, &[])))
    }

    /// Loads, gathers and stores; `None` where the name's tail is unknown.
    fn memory(&mut self, head: &str, tail: &str) -> Result<Option<(Inst, Vec<Type>)>> {
        let (mem, narrow) = if head == "store" { tail.split_once('.').unwrap_or((tail, "?")) } else { (tail, "wrap") };
        let Some(mem) = named(&Mem::ALL, Mem::name, mem) else { return Ok(None) };
        let Some(narrow) = named(Narrow::ALL, Narrow::name, narrow) else { return Ok(None) };
        let types = if head == "store" { vec![] } else { vec![self.ty()?] };
        let (addr, mut args) = self.address()?;
        let mut m = MemOp { mem, addr, active: Active::All };
        if matches!(head, "load" | "store") {
            if self.accept_word("first")? {
                self.punct('(', "`(`")?;
                m.active = Active::First(self.small("a number of lanes")?);
                self.punct(')', "`)`")?;
            } else if self.accept_word("mask")? {
                self.punct('(', "`(`")?;
                args.push(self.value()?);
                m.active = Active::Mask;
                self.punct(')', "`)`")?;
            }
        }
        let op = match head {
            "load" => Op::Load(m),
            "load_splat" => Op::LoadSplat(m),
            "gather" => Op::Gather(m),
            _ => {
                self.punct(',', "`,` and the data")?;
                args.push(self.value()?);
                Op::Store(m, narrow)
            }
        };
        Ok(Some(inst(op, args, &types)))
    }
}

fn inst(op: Op, args: Vec<Value>, types: &[Type]) -> (Inst, Vec<Type>) {
    (Inst { op, args: SmallVec::from_vec(args), results: SmallVec::new(), blocks: vec![] }, types.to_vec())
}

/// Names of all operators in the text form. What depends on types (`const`, `load`, `store`, …) stands without its suffix.
pub fn mnemonics() -> Vec<String> {
    let mut names: Vec<String> = vec![];
    let mut add = |prefix: &str, parts: Vec<&str>| names.extend(parts.iter().map(|p| format!("{prefix}{p}")));
    add("", UnOp::ALL.iter().map(|o| o.name()).collect());
    add("", BinOp::ALL.iter().map(|o| o.name()).collect());
    add("", ConvertOp::ALL.iter().map(|o| o.name()).collect());
    add("cmp.", CmpOp::ALL.iter().map(|o| o.name()).collect());
    add("dot4.", DotSigns::ALL.iter().map(|o| o.name()).collect());
    add("mmla.", DotSigns::ALL.iter().map(|o| o.name()).collect());
    add("reduce.", ReduceOp::ALL.iter().map(|o| o.name()).collect());
    add("prefetch.", Locality::ALL.iter().map(|o| o.name()).collect());
    add("", vec!["const", "fma", "select", "dot2", "splat", "extract_lane", "insert_lane", "extract_part", "concat", "shuffle"]);
    add("", vec!["fma_f16", "pack_f16", "widen_f16_lo", "widen_f16_hi"]);
    add("", vec!["unpack_lo", "unpack_hi", "pack_s", "pack_u", "table16", "table256", "ptr_add", "scratch"]);
    add("tile_dot.", TileProduct::ALL.iter().map(|o| o.name()).collect());
    add("", vec!["tile_config", "tile_zero", "tile_load", "tile_store"]);
    add("", vec!["load", "load_splat", "gather", "store", "for", "if", "while"]);
    names
}
