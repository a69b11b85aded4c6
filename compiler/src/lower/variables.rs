//! VAR_HANDLE, READ_VARIABLE and ASSIGN_VARIABLE: resource variables, which lie in the state of an instance.
//!
//! Which variable a handle stands for is known when compiling: handles go from VAR_HANDLE through calls, and are never computed.

use super::context::{Cx, Resource, VariableKey};
use super::movement::copy;
use crate::error::{CompileError, Unsupported};
use crate::ir::{AttrValue, Node, OpKind, TensorId};

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::VarHandle => {
            let out = node.outputs.first().copied().ok_or_else(|| cx.internal("a handle without a result"))?;
            let text = |name: &str| match node.attrs.get(name) {
                Some(AttrValue::Str(s)) => s.clone(),
                _ => String::new(),
            };
            cx.resources.insert(out, Resource::Variable(text("container"), text("shared_name")));
            Ok(())
        }
        OpKind::ReadVariable => {
            let out = node.outputs.first().copied().ok_or_else(|| cx.internal("a read without a result"))?;
            let (variable, to) = (variable(cx, node, out)?, cx.operand(out)?);
            copy(cx, variable, to, cx.ty(out).bytes());
            Ok(())
        }
        _ => {
            let value = cx.input(node, 1)?;
            let (variable, from) = (variable(cx, node, value)?, cx.operand(value)?);
            copy(cx, from, variable, cx.ty(value).bytes());
            Ok(())
        }
    }
}

/// Storage of the variable that operand 0 names; it holds values like the tensor `t`.
fn variable(cx: &mut Cx<'_, '_>, node: &Node, t: TensorId) -> Result<super::context::Operand, CompileError> {
    let handle = cx.input(node, 0)?;
    let ty = cx.ty(t);
    if ty.dtype.bits() == 0 {
        return Err(cx.unsupported(Unsupported::Types(ty.dtype.to_string())));
    }
    let Some(Resource::Variable(container, name)) = cx.resources.get(&handle).cloned() else {
        return Err(cx.unsupported(Unsupported::Types("a variable whose name is not known when compiling".into())));
    };
    let at = cx.shared.variable(VariableKey::Named(container, name.clone()), ty.bytes());
    at.ok_or_else(|| cx.unsupported(Unsupported::Shape(format!("{:?} for variable {name:?}, which has another size elsewhere", ty.shape))))
}
