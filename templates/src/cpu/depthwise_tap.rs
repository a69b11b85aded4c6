//! Depthwise convolution one tap at a time: f32, and int8 in i32 lanes where dot products do not apply.
//!
//! Weights of a row of taps stay in registers where they fit, and each input column is then loaded once for all output pixels of the tile. Packed
//! weights hold, for each block of output channels, one vector per tap; 8-bit weights less their zero point take 16 bits.

use crate::cpu::depthwise::{Class, DepthwiseSpec, Line, classes};
use crate::cpu::epilogue::{Output, Place, indexed};
use crate::cpu::mac::WeightFormat;
use crate::cpu::tiling::RowSplit;
use std::ops::Range;
use tflc_kir::{Addr, Builder, Caps, Elem, Mem, Type, Value};

/// How output channels of a block read input channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Channels {
    /// One to one.
    Same,
    /// Each input lane serves `multiplier` output lanes; a block is a whole number of them.
    Spread,
    /// One input channel serves all lanes.
    Splat,
}

/// The way for one spec and target.
pub(crate) struct TapPath<'a> {
    spec: &'a DepthwiseSpec,
    fma: bool,
    lanes: u16,
    pub(crate) mr: usize,
    channels: Channels,
    /// Output channels of a full block.
    block: usize,
    classes: Vec<Class<Vec<Range<usize>>>>,
    /// Whether the weights of a row of taps stay in registers.
    resident: bool,
}

/// A block of output channels while a tile is built.
struct Block {
    /// First input channel and first output channel (`I64`).
    input: Value,
    output: Value,
    weights: Value,
    active: usize,
}

/// An output row while its tiles are built: the input row of its first tap, the taps inside the image, and its first output pixel.
struct Row {
    a: Value,
    ky: (Value, Value),
    pixel: Value,
}

impl<'a> TapPath<'a> {
    pub(crate) fn new(spec: &'a DepthwiseSpec, caps: &Caps) -> TapPath<'a> {
        let lanes = caps.lanes(Elem::F32);
        let l = usize::from(lanes);
        let (channels, block) = match spec.multiplier {
            1 => (Channels::Same, l),
            m if m <= l => (Channels::Spread, l / m * m),
            _ => (Channels::Splat, l),
        };
        // Scalars of integers share their registers with addresses.
        let taken = 2 + usize::from(!caps.fma || !spec.is_float()) + if caps.scalars { 1 + usize::from(!spec.is_float()) } else { 0 };
        let registers = caps.vector_registers as usize - taken;
        let kw = spec.kernel[1];
        let resident = kw + 4 <= registers;
        let most = if resident { (registers - kw).min(8) } else { registers.min(8) };
        let split = RowSplit::new(spec.output[1], most);
        let x = spec.axis(1);
        let classes = classes(split, |at, mr| (0..kw).map(|kx| x.inside(at, mr, kx)).collect());
        TapPath { spec, fma: caps.fma, lanes, mr: split.mr, channels, block, classes, resident }
    }

    /// Full blocks in a stretch of channels that the block loop walks, and the channels of the rest.
    fn blocks(&self) -> (usize, usize) {
        let n = if self.channels == Channels::Splat { self.spec.multiplier } else { self.spec.channels() };
        (n / self.block, n % self.block)
    }

    fn ty(&self) -> Type {
        Type::vector(if self.spec.is_float() { Elem::F32 } else { Elem::I32 }, self.lanes)
    }

    /// Memory element of packed weights: 8-bit ones less their zero point take 16 bits.
    fn weight_mem(&self) -> Mem {
        match self.spec.weights {
            WeightFormat::F32 => Mem::F32,
            WeightFormat::F16 => Mem::F16,
            _ => Mem::S16,
        }
    }

    fn vector_bytes(&self) -> usize {
        usize::from(self.lanes) * self.weight_mem().bytes() as usize
    }

    fn block_bytes(&self) -> usize {
        self.spec.kernel[0] * self.spec.kernel[1] * self.vector_bytes()
    }

    /// First channel and number of channels of each packed block.
    fn starts(&self) -> Vec<(usize, usize)> {
        let spec = self.spec;
        let (full, rest) = self.blocks();
        let mut starts = vec![];
        let stretches = if self.channels == Channels::Splat { spec.input[2] } else { 1 };
        for stretch in 0..stretches {
            let first = stretch * spec.multiplier;
            starts.extend((0..full).map(|i| (first + i * self.block, self.block)));
            if rest > 0 {
                starts.push((first + full * self.block, rest));
            }
        }
        starts
    }

    /// Size of what [`TapPath::pack`] gives, in bytes.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.starts().len() * self.block_bytes()
    }

    pub(crate) fn pack(&self, weights: &[u8]) -> Vec<u8> {
        let spec = self.spec;
        let mut out = Vec::with_capacity(self.packed_bytes());
        for (start, active) in self.starts() {
            for ky in 0..spec.kernel[0] {
                for kx in 0..spec.kernel[1] {
                    for lane in 0..usize::from(self.lanes) {
                        let at = (lane < active).then(|| spec.weight_index(ky, kx, start + lane));
                        match (spec.weights, at) {
                            (WeightFormat::F32, Some(i)) => out.extend_from_slice(&weights[i * 4..][..4]),
                            (WeightFormat::F16, Some(i)) => out.extend_from_slice(&weights[i * 2..][..2]),
                            (format, Some(i)) => out.extend_from_slice(&(format.centered(weights, i) as i16).to_le_bytes()),
                            (_, None) => out.extend_from_slice(&[0; 4][..self.weight_mem().bytes() as usize]),
                        }
                    }
                }
            }
        }
        out
    }

    pub(crate) fn line(&self, b: &mut Builder, line: &Line, output: &Output<'_>) {
        let row = self.row(b, line);
        for class in &self.classes {
            b.for_const(0, class.count as i64, 1, &[], |b, t, _| {
                let at = self.tile_at(b, class, t, &row);
                self.for_blocks(b, line.packed, &|b, block| self.tile(b, class, at, row.ky, &block, output));
                vec![]
            });
        }
    }

    /// Blocks of channels that [`TapPath::strips`] takes at a time: what the taps of a tile read of them stays in the first-level cache from one output
    /// row to the next. None where all rows under the taps do, or none would; nor where images exceed the second level: what comes from further away
    /// comes faster row by row.
    pub(crate) fn strip_blocks(&self, caps: &Caps) -> Option<usize> {
        let (spec, half) = (self.spec, caps.l1_bytes as usize / 2);
        let bytes = spec.a_storage.bytes();
        let row = spec.input[1] * spec.in_pixel * bytes;
        let shared = spec.kernel[0] > spec.stride[0] && spec.output[0] > 1 && self.channels == Channels::Same;
        let images = spec.input[0] * row + spec.output[0] * spec.output[1] * spec.ldc * spec.epilogue.out_bytes() as usize;
        if !shared || spec.kernel[0] * row <= half || images > caps.l2_bytes as usize * 3 / 2 {
            return None;
        }
        let block = spec.kernel[0] * spec.axis(1).readers(self.mr).len() * self.block * bytes;
        let of_line = 64usize.div_ceil(self.block * bytes);
        let most = half / block / of_line * of_line;
        // Equal parts: a last one of few blocks would cost as much for each row as the others.
        let parts = self.blocks().0.div_ceil(most.max(1)).max(1);
        Some(self.blocks().0.div_ceil(parts).next_multiple_of(of_line)).filter(|_| most > 0)
    }

    /// Output rows `range`, tile by tile: all rows of a tile and `blocks` blocks of channels before the next ones.
    pub(crate) fn strips(
        &self,
        b: &mut Builder,
        range: (Value, Value),
        blocks: usize,
        packed: Value,
        line: &dyn Fn(&mut Builder, Value) -> Line,
        output: &Output<'_>,
    ) {
        let (full, rest) = self.blocks();
        let rows =
            |b: &mut Builder, class: &Class<Vec<Range<usize>>>, t: Value, body: &dyn Fn(&mut Builder, (Value, Value), (Value, Value))| {
                b.for_loop(range.0, range.1, 1, &[], |b, unit, _| {
                    let line = line(b, unit);
                    let row = self.row(b, &line);
                    let at = self.tile_at(b, class, t, &row);
                    body(b, at, row.ky);
                    vec![]
                });
            };
        let zero = b.i64(0);
        for class in &self.classes {
            b.for_const(0, class.count as i64, 1, &[], |b, t, _| {
                b.for_const(0, full as i64, blocks as i64, &[], |b, first, _| {
                    let (stop, all) = (b.add_const(first, blocks as i64), b.i64(full as i64));
                    let stop = b.min(stop, all);
                    rows(b, class, t, &|b, at, ky| {
                        b.for_loop(first, stop, 1, &[], |b, i, _| {
                            let block = self.block_at(b, packed, zero, i, self.block);
                            self.tile(b, class, at, ky, &block, output);
                            vec![]
                        });
                    });
                    vec![]
                });
                if rest > 0 {
                    rows(b, class, t, &|b, at, ky| {
                        let i = b.i64(full as i64);
                        let block = self.block_at(b, packed, zero, i, rest);
                        self.tile(b, class, at, ky, &block, output);
                    });
                }
                vec![]
            });
        }
    }

    fn row(&self, b: &mut Builder, line: &Line) -> Row {
        let spec = self.spec;
        let pixel_bytes = self.pixel_bytes();
        let top = b.mul_const(line.image, spec.input[0] as i64);
        let y = b.mul_const(line.y, spec.stride[0] as i64);
        let top = b.add(top, y);
        let top = b.add_const(top, -(spec.pad[0] as i64));
        let offset = b.mul_const(top, spec.input[1] as i64 * pixel_bytes);
        let a = b.ptr_add(line.a, offset);
        Row { a, ky: spec.axis(0).taps(b, line.y), pixel: line.pixel }
    }

    /// The input and the first output pixel of tile `t` of a class.
    fn tile_at(&self, b: &mut Builder, class: &Class<Vec<Range<usize>>>, t: Value, row: &Row) -> (Value, Value) {
        let pixel_bytes = self.pixel_bytes();
        let x = b.mul_const(t, class.mr as i64);
        let x = b.add_const(x, class.x as i64);
        let pixel = b.add(row.pixel, x);
        let at = b.mul_const(x, self.spec.stride[1] as i64 * pixel_bytes);
        let at = b.add_const(at, -(self.spec.pad[1] as i64) * pixel_bytes);
        (b.ptr_add(row.a, at), pixel)
    }

    fn pixel_bytes(&self) -> i64 {
        (self.spec.in_pixel * self.spec.a_storage.bytes()) as i64
    }

    /// Emits `body` for every block of output channels.
    fn for_blocks(&self, b: &mut Builder, packed: Value, body: &dyn Fn(&mut Builder, Block)) {
        let (full, rest) = self.blocks();
        let stretches = if self.channels == Channels::Splat { self.spec.input[2] } else { 1 };
        b.for_const(0, stretches as i64, 1, &[], |b, stretch, _| {
            b.for_const(0, full as i64, 1, &[], |b, i, _| {
                let block = self.block_at(b, packed, stretch, i, self.block);
                body(b, block);
                vec![]
            });
            if rest > 0 {
                let i = b.i64(full as i64);
                let block = self.block_at(b, packed, stretch, i, rest);
                body(b, block);
            }
            vec![]
        });
    }

    /// Block `i` of a stretch.
    fn block_at(&self, b: &mut Builder, packed: Value, stretch: Value, i: Value, active: usize) -> Block {
        let (full, rest) = self.blocks();
        let first = b.mul_const(stretch, (full + usize::from(rest > 0)) as i64);
        let index = b.add(first, i);
        let offset = b.mul_const(index, self.block_bytes() as i64);
        let weights = b.ptr_add(packed, offset);
        let base = b.mul_const(stretch, self.spec.multiplier as i64);
        let output = b.mul_const(i, self.block as i64);
        let output = b.add(base, output);
        let input = match self.channels {
            Channels::Same => output,
            Channels::Spread => b.mul_const(i, (self.block / self.spec.multiplier) as i64),
            Channels::Splat => stretch,
        };
        Block { input, output, weights, active }
    }

    fn tile(
        &self,
        b: &mut Builder,
        class: &Class<Vec<Range<usize>>>,
        (a, pixel): (Value, Value),
        ky: (Value, Value),
        block: &Block,
        output: &Output<'_>,
    ) {
        let spec = self.spec;
        let vectors = [block.active as u16];
        // Each accumulator loads the bias itself: a shared value costs a copy.
        let start = |b: &mut Builder| match output.start(b, block.output, &vectors) {
            Some(bias) => bias[0],
            None => b.inst(tflc_kir::Op::Const(0), self.ty(), &[]),
        };
        let acc: Vec<Value> = (0..class.mr).map(|_| start(b)).collect();
        let line_bytes = (spec.dilation[0] * spec.input[1] * spec.in_pixel * spec.a_storage.bytes()) as i64;
        let row_bytes = (spec.kernel[1] * self.vector_bytes()) as i64;
        let row = |b: &mut Builder, ky: Value, acc: &[Value]| {
            let (line, taps) = (b.mul_const(ky, line_bytes), b.mul_const(ky, row_bytes));
            let (a, weights) = (b.ptr_add(a, line), b.ptr_add(block.weights, taps));
            let a = indexed(b, a, block.input, spec.a_storage.bytes() as i64);
            let mut acc = acc.to_vec();
            if self.resident {
                self.row_by_columns(b, class, a, weights, block, &mut acc)
            } else {
                self.row_by_taps(b, class, a, weights, block, &mut acc)
            }
            acc
        };
        let acc = match (b.known(ky.0), b.known(ky.1)) {
            (Some(0), Some(1)) => row(b, ky.0, &acc),
            _ => b.for_loop(ky.0, ky.1, 1, &acc, |b, ky, acc| row(b, ky, acc)),
        };
        let place = Place { row: pixel, row_step: 1, col: block.output, rows: class.mr, vectors: &vectors };
        output.store(b, &place, &acc);
    }

    /// Taps of one row with their weights in registers: each input column is loaded once.
    fn row_by_columns(&self, b: &mut Builder, class: &Class<Vec<Range<usize>>>, a: Addr, weights: Value, block: &Block, acc: &mut [Value]) {
        let x = self.spec.axis(1);
        let w: Vec<Value> = (0..x.kernel).map(|kx| self.weight(b, weights, kx)).collect();
        for (column, readers) in x.readers(class.mr) {
            let mut input = None;
            for (r, kx) in readers.into_iter().filter(|(r, kx)| class.key[*kx].contains(r)) {
                let v = *input.get_or_insert_with(|| self.input(b, a, column, block));
                acc[r] = self.mul_add(b, v, w[kx], acc[r]);
            }
        }
    }

    /// Taps of one row with one weight at a time in a register.
    fn row_by_taps(&self, b: &mut Builder, class: &Class<Vec<Range<usize>>>, a: Addr, weights: Value, block: &Block, acc: &mut [Value]) {
        let x = self.spec.axis(1);
        for (kx, rows) in class.key.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let w = self.weight(b, weights, kx);
            for r in rows.clone() {
                let v = self.input(b, a, r * x.stride + kx * x.dilation, block);
                acc[r] = self.mul_add(b, v, w, acc[r]);
            }
        }
    }

    fn weight(&self, b: &mut Builder, weights: Value, kx: usize) -> Value {
        b.load(self.ty(), self.weight_mem(), Addr::new(weights).offset((kx * self.vector_bytes()) as i64))
    }

    /// Input column `column` of the tile, for the lanes of the block, less the zero point.
    fn input(&self, b: &mut Builder, a: Addr, column: usize, block: &Block) -> Value {
        let spec = self.spec;
        let at = a.offset((column * spec.in_pixel * spec.a_storage.bytes()) as i64);
        let mem = crate::expr::emit::mem(spec.a_storage);
        let v = match self.channels {
            Channels::Same => b.load_first(self.ty(), mem, at, block.active as u16),
            Channels::Spread => {
                let v = b.load_first(self.ty(), mem, at, (block.active / spec.multiplier) as u16);
                b.shuffle(v, v, (0..self.lanes).map(|i| i / spec.multiplier as u16).collect())
            }
            Channels::Splat => b.load_splat(self.ty(), mem, at),
        };
        if spec.a_zero_point == 0 {
            return v;
        }
        let zero = b.int(self.ty(), i64::from(spec.a_zero_point));
        b.sub(v, zero)
    }

    fn mul_add(&self, b: &mut Builder, x: Value, w: Value, acc: Value) -> Value {
        if self.fma && self.spec.is_float() {
            return b.fma(x, w, acc);
        }
        let p = b.mul(x, w);
        b.add(acc, p)
    }
}
