//! Checks expressions: operands before users, types that fit the operators, inputs and results that exist.
//!
//! In: any [`Expr`]. Out: nothing, or the first rule that it breaks. Linear; says nothing about what an expression means.

use super::{Binary, Cast, Compare, Const, Expr, Id, Node, Storage, Ty, Unary};

/// The rule that an expression breaks; nodes are named as in the text form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExprError {
    /// A node refers to a node that does not come before it.
    Order {
        /// Node.
        node: u32,
        /// What it refers to.
        operand: u32,
    },
    /// An input that the expression lacks.
    Input {
        /// Node.
        node: u32,
        /// Position of the input.
        input: u32,
    },
    /// The operator does not take or give these types.
    Types {
        /// Node.
        node: u32,
        /// Name of the operator.
        op: &'static str,
        /// Types of the operands.
        operands: Vec<Ty>,
    },
    /// A table has other than 256 entries.
    Table {
        /// Node.
        node: u32,
        /// Entries.
        entries: usize,
    },
    /// The result is no node.
    Result(u32),
    /// The result's type is not the one that its memory type is computed as.
    ResultType {
        /// Type of the result.
        ty: Ty,
        /// Memory type of the result.
        output: Storage,
    },
}

impl std::error::Error for ExprError {}

impl std::fmt::Display for ExprError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExprError::Order { node, operand } => write!(f, "${node} refers to ${operand}, which does not come before it"),
            ExprError::Input { node, input } => write!(f, "${node} refers to in{input}, which does not exist"),
            ExprError::Types { node, op, operands } => {
                let types: Vec<&str> = operands.iter().map(|t| t.name()).collect();
                write!(f, "${node}: `{op}` of ({})", types.join(", "))
            }
            ExprError::Table { node, entries } => write!(f, "${node}: a table of {entries} entries instead of 256"),
            ExprError::Result(r) => write!(f, "the result ${r} does not exist"),
            ExprError::ResultType { ty, output } => write!(f, "the result is {} but is stored as {}", ty.name(), output.name()),
        }
    }
}

impl Node {
    /// The nodes that this one refers to, in order.
    pub fn operands(&self) -> impl Iterator<Item = Id> + use<> {
        let all = match *self {
            Node::Input(_) | Node::Const(_) => [None; 3],
            Node::Unary(_, a) | Node::Cast(_, _, a) | Node::Table { index: a, .. } => [Some(a), None, None],
            Node::Binary(_, a, b) | Node::Compare(_, a, b) => [Some(a), Some(b), None],
            Node::MulAdd(a, b, c) | Node::Select(a, b, c) => [Some(a), Some(b), Some(c)],
        };
        all.into_iter().flatten()
    }
}

impl Expr {
    /// Checks that the expression obeys every rule of the language.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn verify(&self) -> Result<(), ExprError> {
        let mut types: Vec<Ty> = Vec::with_capacity(self.nodes.len());
        for (i, n) in self.nodes.iter().enumerate() {
            let node = i as u32;
            let mut operands = vec![];
            for Id(operand) in n.operands() {
                operands.push(*types.get(operand as usize).ok_or(ExprError::Order { node, operand })?);
            }
            let ty = match n {
                Node::Input(input) => self.inputs.get(*input as usize).ok_or(ExprError::Input { node, input: *input })?.ty(),
                Node::Table { table, .. } if table.len() != 256 => return Err(ExprError::Table { node, entries: table.len() }),
                _ => match result_type(n, &operands) {
                    Ok(ty) => ty,
                    Err(op) => return Err(ExprError::Types { node, op, operands }),
                },
            };
            types.push(ty);
        }
        let ty = *types.get(self.result.0 as usize).ok_or(ExprError::Result(self.result.0))?;
        if ty == self.output.ty() { Ok(()) } else { Err(ExprError::ResultType { ty, output: self.output }) }
    }
}

/// Type of a node from those of its operands, or the name of the operator that does not take them.
fn result_type(node: &Node, operands: &[Ty]) -> Result<Ty, &'static str> {
    use Ty::{Bool, F32, F64, I32, I64};
    let fits = |ok: bool, ty: Ty, op: &'static str| if ok { Ok(ty) } else { Err(op) };
    match (node, operands) {
        (Node::Const(c), []) => Ok(c.ty()),
        (Node::Unary(op, _), [a]) => {
            let ok = match op {
                Unary::Neg | Unary::Abs => *a != Bool,
                Unary::Not => !matches!(a, F32 | F64),
                _ => *a == F32,
            };
            fits(ok, *a, op.name())
        }
        (Node::Binary(op, ..), [a, b]) => {
            let ok = match op {
                Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Min | Binary::Max => *a != Bool,
                Binary::Rem => !matches!(a, Bool | F64),
                Binary::Pow | Binary::Atan2 => *a == F32,
                Binary::And | Binary::Or | Binary::Xor => !matches!(a, F32 | F64),
                Binary::Shl | Binary::Shr => matches!(a, I32 | I64),
                Binary::MulRoundHi => *a == I32,
            };
            fits(ok && a == b, *a, op.name())
        }
        (Node::MulAdd(..), _) => fits(operands == [F32; 3], F32, "mul_add"),
        (Node::Compare(op, ..), [a, b]) => fits(a == b && (*a != Bool || matches!(op, Compare::Eq | Compare::Ne)), Bool, op.symbol()),
        (Node::Select(..), [c, a, b]) => fits(*c == Bool && a == b, *a, "select"),
        (Node::Cast(Cast::Value, to, _), [_]) => Ok(*to),
        (Node::Cast(Cast::RoundEven, to, _), [a]) => fits((*a, *to) == (F32, I32), *to, "nearest"),
        (Node::Cast(Cast::Bits, to, _), [a]) => fits(matches!((*a, *to), (F32 | I32, F32 | I32)), *to, "bits"),
        (Node::Table { .. }, [a]) => fits(*a == I32, I32, "table"),
        _ => Err("operator"),
    }
}

impl Const {
    /// Type of the constant.
    pub const fn ty(self) -> Ty {
        match self {
            Const::F32(_) => Ty::F32,
            Const::F64(_) => Ty::F64,
            Const::I32(_) => Ty::I32,
            Const::I64(_) => Ty::I64,
            Const::Bool(_) => Ty::Bool,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(inputs: &[Storage], nodes: Vec<Node>, output: Storage) -> Result<(), ExprError> {
        let result = Id(nodes.len() as u32 - 1);
        Expr { inputs: inputs.to_vec(), nodes, result, output }.verify()
    }

    #[test]
    fn rules_are_checked() {
        use Storage::{Bool, F32, I8, I32};
        assert_eq!(Expr::identity(I8).verify(), Ok(()));
        assert_eq!(of(&[F32], vec![Node::Unary(Unary::Neg, Id(0))], F32), Err(ExprError::Order { node: 0, operand: 0 }));
        assert_eq!(of(&[F32], vec![Node::Input(1)], F32), Err(ExprError::Input { node: 0, input: 1 }));
        assert_eq!(of(&[F32], vec![Node::Input(0)], I8), Err(ExprError::ResultType { ty: Ty::F32, output: I8 }));
        let two = |op| vec![Node::Input(0), Node::Input(1), op];
        let bad = of(&[F32, I32], two(Node::Binary(Binary::Add, Id(0), Id(1))), F32).unwrap_err();
        assert_eq!(bad.to_string(), "$2: `add` of (f32, i32)");
        assert_eq!(of(&[I32, I8], two(Node::Compare(Compare::Lt, Id(0), Id(1))), Bool), Ok(()));
        assert!(of(&[F32, I32], two(Node::Cast(Cast::RoundEven, Ty::I32, Id(1))), I32).is_err());
        let table = Node::Table { table: std::sync::Arc::new(vec![0; 255]), signed_result: true, index: Id(0) };
        assert_eq!(of(&[I8], vec![Node::Input(0), table], I8), Err(ExprError::Table { node: 1, entries: 255 }));
        assert_eq!(Expr { inputs: vec![], nodes: vec![], result: Id(0), output: F32 }.verify(), Err(ExprError::Result(0)));
    }
}
