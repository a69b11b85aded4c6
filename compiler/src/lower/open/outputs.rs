//! Open outputs: their elements packed in front of the caller's buffer, and their lengths where the caller finds them.

use super::lengths::Lengths;
use super::moves::pack;
use crate::error::{CompileError, Unsupported};
use crate::ir::{Graph, Open};
use crate::lower::context::{Cx, Operand};
use crate::lower::storage::{Slot, SlotRegion};

/// Which outputs of a graph have gaps between their elements, and so are computed elsewhere than in the caller's buffer.
pub(in crate::lower) fn packed_outputs(graph: &Graph) -> Vec<bool> {
    let gaps = |t: &crate::ir::TensorId| {
        let shape = &graph.ty(*t).shape;
        graph.open_axes(*t).iter().any(|o| shape[..o.axis as usize].iter().any(|n| *n != 1))
    };
    graph.outputs.iter().map(gaps).collect()
}

/// Behind the last node: packs outputs with gaps, and gives for each open output its first open axis and where the lengths of the axes from there on are.
pub(in crate::lower) fn finish(cx: &mut Cx<'_, '_>) -> Result<Vec<(usize, usize, Operand)>, CompileError> {
    let mut all = vec![];
    let packed = packed_outputs(cx.graph);
    for (i, t) in cx.graph.outputs.iter().copied().enumerate() {
        let first = match cx.graph.open.get(&t) {
            Some(Open::Along(axes)) => axes.first().map_or(0, |o| o.axis as usize),
            Some(Open::Unknown) => return Err(cx.unsupported(Unsupported::DynamicShape)),
            None => continue,
        };
        let ty = cx.ty(t);
        let now = cx.shared.now;
        let mut slot =
            |bytes: usize, region: SlotRegion| Operand::Slot(cx.shared.add_slot(Slot { bytes, region, first: now, last: now }), 0);
        let lengths = slot((ty.shape.len() - first) * 8, SlotRegion::Arena);
        let to = packed[i].then(|| slot(ty.bytes(), SlotRegion::Output(i as u32)));
        let mut l = Lengths::default();
        for d in first..ty.shape.len() {
            let v = l.axis(cx, t, d)?;
            l.store(v, lengths, d - first);
        }
        match to {
            Some(to) => pack(cx, l, t, to)?,
            None => l.call(cx),
        }
        all.push((i, first, lengths));
    }
    Ok(all)
}
