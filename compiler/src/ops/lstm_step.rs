//! One step of an LSTM with float activations.
//!
//! `i, f, o = sigmoid(Wx + Rh + p*c + b)`, `g = act(Wx + Rh + b)`, `c = clip(f*c + i*g)`, `h = clip(P (o * act(c)) + b)`; with layer
//! normalisation each sum is normalised, scaled and then biased. Source: TFLite `kernels/lstm_eval.cc`.

use crate::ops::lstm::{Layout, Sizes, inputs};
use crate::ops::operator::{Args, EvalError};
use crate::ops::recurrent::{Activate, Batch, Inputs, Matrix, clip};

/// Weights of one gate.
struct Gate {
    input: Matrix,
    aux: Option<Matrix>,
    recurrent: Matrix,
    peephole: Option<Vec<f32>>,
    bias: Vec<f32>,
    norm: Option<Vec<f32>>,
}

/// All weights of a direction.
pub(super) struct Cell {
    /// Input (absent where coupled), forget, cell, output.
    gates: [Option<Gate>; 4],
    projection: Option<(Matrix, Option<Vec<f32>>)>,
    sizes: Sizes,
    activation: Activate,
    cell_clip: f32,
    proj_clip: f32,
    inputs: Inputs,
}

impl Cell {
    /// The weights of a call whose layout has been checked.
    pub(super) fn new(args: &Args<'_>, l: &Layout, s: &Sizes) -> Result<Cell, EvalError> {
        let call = args.call;
        let matrix = |i: usize| args.optional(i).map(|v| Matrix::new(call, v)).transpose();
        // 8-bit vectors are floats times their scale.
        let vector = |i: usize| -> Result<Option<Vec<f32>>, EvalError> {
            let Some(v) = args.optional(i) else { return Ok(None) };
            if v.ty.dtype == crate::ir::DType::Float32 {
                return Ok(Some(args.floats(i)?.into_owned()));
            }
            let scale = crate::ops::recurrent::scale(call, &v.ty)?;
            Ok(Some(v.bytes().iter().map(|q| scale * (*q as i8) as f32).collect()))
        };
        let peephole = [Some(l.peephole[0]), Some(l.peephole[1]), None, Some(l.peephole[2])];
        let gate = |g: usize| -> Result<Option<Gate>, EvalError> {
            let Some(input) = matrix(l.input[g])? else { return Ok(None) };
            Ok(Some(Gate {
                input,
                aux: matrix(l.aux[g])?,
                recurrent: matrix(l.recurrent[g])?.ok_or_else(|| args.error("recurrent weights are missing"))?,
                peephole: peephole[g].map(vector).transpose()?.flatten(),
                bias: vector(l.bias[g])?.ok_or_else(|| args.error("a bias is missing"))?,
                norm: vector(l.norm[g])?,
            }))
        };
        let projection = match matrix(l.projection[0])? {
            Some(m) => Some((m, vector(l.projection[1])?)),
            None => None,
        };
        Ok(Cell {
            gates: [gate(0)?, gate(1)?, gate(2)?, gate(3)?],
            projection,
            sizes: *s,
            activation: Activate::parse(call)?,
            cell_clip: call.attrs.float("cell_clip", 0.0),
            proj_clip: call.attrs.float("proj_clip", 0.0),
            inputs: inputs(call),
        })
    }

    fn batch(&self, rows: Vec<f32>, columns: usize, m: &Matrix) -> Batch {
        Batch::new(rows, columns, m.is_integer().then_some(self.inputs))
    }

    /// One step: `x` and `aux` are rows of inputs, one for each sequence; states are updated.
    pub(super) fn step(&self, x: Vec<f32>, aux: Option<Vec<f32>>, output: &mut [f32], cells: &mut [f32]) {
        let s = &self.sizes;
        let Some(forget) = &self.gates[1] else { return };
        let x = self.batch(x, s.input, &forget.input);
        let aux = aux.zip(forget.aux.as_ref()).map(|(a, m)| (a.len() / s.batch.max(1), a, m)).map(|(n, a, m)| self.batch(a, n, m));
        let h = self.batch(output.to_vec(), s.output, &forget.recurrent);
        let sums = |g: &Option<Gate>, cells: &[f32], act: Activate| -> Option<Vec<f32>> {
            let g = g.as_ref()?;
            let mut v: Vec<f32> = if g.norm.is_some() { vec![0.0; s.batch * s.cell] } else { g.bias.repeat(s.batch) };
            g.input.accumulate(&x, &mut v);
            if let (Some(m), Some(a)) = (&g.aux, &aux) {
                m.accumulate(a, &mut v);
            }
            g.recurrent.accumulate(&h, &mut v);
            if let Some(p) = &g.peephole {
                for (v, c) in v.chunks_exact_mut(s.cell.max(1)).zip(cells.chunks_exact(s.cell.max(1))) {
                    v.iter_mut().zip(p).zip(c).for_each(|((v, p), c)| *v += p * c);
                }
            }
            if let Some(n) = &g.norm {
                v.chunks_exact_mut(s.cell.max(1)).for_each(|row| normalize(row, n, &g.bias));
            }
            v.iter_mut().for_each(|v| *v = act.apply(*v));
            Some(v)
        };
        let input = sums(&self.gates[0], cells, Activate::Logistic);
        let Some(forget) = sums(&self.gates[1], cells, Activate::Logistic) else { return };
        let Some(update) = sums(&self.gates[2], cells, self.activation) else { return };
        for (i, c) in cells.iter_mut().enumerate() {
            let gate = input.as_ref().map_or(1.0 - forget[i], |g| g[i]);
            *c = clip(forget[i] * *c + update[i] * gate, self.cell_clip);
        }
        let Some(gate) = sums(&self.gates[3], cells, Activate::Logistic) else { return };
        let hidden: Vec<f32> = cells.iter().zip(&gate).map(|(c, g)| g * self.activation.apply(*c)).collect();
        match &self.projection {
            None => output.copy_from_slice(&hidden),
            Some((m, bias)) => {
                match bias {
                    Some(b) => output.copy_from_slice(&b.repeat(s.batch)),
                    None => output.fill(0.0),
                }
                m.accumulate(&self.batch(hidden, s.cell, m), output);
                output.iter_mut().for_each(|v| *v = clip(*v, self.proj_clip));
            }
        }
    }
}

/// `(v - mean) / sqrt(variance + 1e-8) * coefficient + bias`.
fn normalize(row: &mut [f32], coefficients: &[f32], bias: &[f32]) {
    let n = row.len() as f32;
    let mean = row.iter().sum::<f32>() / n;
    let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n;
    let inverse = 1.0 / (variance + 1e-8).sqrt();
    for ((v, c), b) in row.iter_mut().zip(coefficients).zip(bias) {
        *v = (*v - mean) * inverse * c + b;
    }
}
