//! From a verified file to the graph IR: names become attributes, indices become checked ids, buffers become shared constants.
//!
//! Generic over all operators: options are read by reflection, under the schema's field names. What the file says is checked for sense here
//! (indices, sizes of constants, order of operators); what operators make of it is checked by their inference. All
//! operators that cannot be compiled are reported at once.

use super::schema::{BlockwiseQuantization, CustomQuantization, MultiAxisQuantization, Ref, SignatureDef, SubGraph, Tensor as FileTensor};
use super::{ModelFile, mediapipe, reflect, sparse};
use crate::error::{CompileError, Place, Unsupported};
use crate::ir::{
    Affine, AttrValue, Attrs, Bytes, DType, Graph, GraphId, Location, Model, Node, OpKind, Quantization, Signature, Tensor, TensorId,
    TensorType, verify,
};
use crate::ops::{Call, delegate, propagate_types, support};

/// The most elements of a tensor's declared shape.
const MAX_ELEMENTS: usize = 1 << 32;

/// Imports a model file.
///
/// # Errors
/// `InvalidModel` where the file makes no sense, `Unsupported` with everything that cannot be compiled.
pub fn import(file: &ModelFile) -> Result<Model, CompileError> {
    let source = file.model();
    let mut model = Model { description: source.description().to_string(), ..Model::default() };
    for (i, graph) in source.subgraphs().iter().enumerate() {
        model.graphs.push(Importer { file, index: i as u32, graph }.graph(source.subgraphs().len())?);
    }
    if model.graphs.is_empty() {
        return Err(CompileError::invalid(Place::default(), "there are no subgraphs"));
    }
    for signature in source.signature_defs().iter() {
        model.signatures.push(signature_of(&model, signature)?);
    }
    for entry in source.metadata().iter() {
        if let Some(bytes) = file.buffer(entry.buffer())? {
            model.metadata.push((entry.name().to_string(), bytes));
        }
    }
    verify::verify(&model).map_err(|e| CompileError::invalid(Place::default(), e.to_string()))?;
    check_support(&model)?;
    delegate::mark(&mut model);
    propagate_types(&mut model)?.supported()?;
    Ok(model)
}

/// Collects all operators that do not exist here.
fn check_support(model: &Model) -> Result<(), CompileError> {
    let mut missing = vec![];
    for (g, graph) in model.graphs.iter().enumerate() {
        for (i, node) in graph.nodes.iter().enumerate() {
            match support(&Call::of(model, GraphId(g as u32), node, i)) {
                Ok(()) => {}
                Err(CompileError::Unsupported(list)) => missing.extend(list),
                Err(e) => return Err(e),
            }
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(CompileError::Unsupported(missing)) }
}

struct Importer<'a> {
    file: &'a ModelFile,
    index: u32,
    graph: Ref<'a, SubGraph>,
}

impl Importer<'_> {
    fn place(&self) -> Place {
        Place { subgraph: Some(self.index), ..Place::default() }
    }

    fn at_operator(&self, index: usize, name: &str) -> Place {
        Place { operator: Some((index as u32, name.to_string())), ..self.place() }
    }

    fn at_tensor(&self, index: usize, tensor: Ref<'_, FileTensor>) -> Place {
        Place { tensor: Some((index as u32, tensor.name().to_string())), ..self.place() }
    }

    fn graph(&self, graphs: usize) -> Result<Graph, CompileError> {
        let mut out = Graph { name: self.graph.name().to_string(), ..Graph::default() };
        for (i, tensor) in self.graph.tensors().iter().enumerate() {
            out.tensors.push(self.tensor(i, tensor)?);
        }
        out.inputs = self.ids(self.graph.inputs().iter(), &self.place(), "input")?;
        out.outputs = self.ids(self.graph.outputs().iter(), &self.place(), "output")?;
        for (i, _) in self.graph.operators().iter().enumerate() {
            let node = self.node(i, graphs)?;
            out.nodes.push(node);
        }
        for t in &out.inputs {
            open_dimensions(&mut out.tensors[t.index()]);
        }
        self.check_order(&out)?;
        mediapipe::rewrite(&mut out);
        Ok(out)
    }

    fn tensor(&self, index: usize, source: Ref<'_, FileTensor>) -> Result<Tensor, CompileError> {
        let invalid = |reason: String| CompileError::invalid(self.at_tensor(index, source), reason);
        let dtype = DType::from_code(source.dtype().0).ok_or_else(|| invalid(format!("unknown element type {:?}", source.dtype())))?;
        let mut shape = Vec::with_capacity(source.shape().len());
        let mut elements = 1usize;
        for d in source.shape().iter() {
            // -1 stands for an open dimension in old files; one is what LiteRT allocates at first.
            let size = if d == -1 { 1 } else { usize::try_from(d).map_err(|_| invalid(format!("shape {:?}", source.shape().to_vec())))? };
            elements = elements
                .checked_mul(size.max(1))
                .filter(|&n| n <= MAX_ELEMENTS)
                .ok_or_else(|| invalid(format!("shape {:?} has too many elements", source.shape().to_vec())))?;
            shape.push(size);
        }
        let signature: Vec<i64> = source.shape_signature().iter().map(i64::from).collect();
        let declared: Vec<i64> = source.shape().iter().map(i64::from).collect();
        let signature = if signature.len() == declared.len() { signature } else { declared };
        let open = signature.iter().any(|&d| d < 0);
        let quant = self.quantization(index, source, &shape)?;
        let mut tensor = Tensor {
            name: source.name().to_string(),
            ty: TensorType { dtype, shape, quant },
            data: None,
            variable: source.is_variable(),
            signature: open.then_some(signature),
        };
        if let Some(data) = self.file.tensor_data(self.index as usize, index)?
            && !tensor.variable
        {
            tensor.data = Some(self.constant(index, source, &tensor.ty, data)?);
        }
        Ok(tensor)
    }

    /// The dense bytes of a constant.
    fn constant(&self, index: usize, source: Ref<'_, FileTensor>, ty: &TensorType, data: Bytes) -> Result<Bytes, CompileError> {
        let place = || self.at_tensor(index, source);
        if let Some(sparsity) = source.sparsity() {
            return sparse::expand(sparsity, ty, &data)
                .map(Bytes::from)
                .map_err(|reason| CompileError::invalid(place(), format!("sparse encoding: {reason}")));
        }
        if ty.dtype.bits() != 0 && data.len() != ty.bytes() {
            return Err(CompileError::invalid(
                place(),
                format!("{} bytes of data; {} {:?} takes {}", data.len(), ty.dtype, ty.shape, ty.bytes()),
            ));
        }
        Ok(data)
    }

    fn quantization(&self, index: usize, source: Ref<'_, FileTensor>, shape: &[usize]) -> Result<Quantization, CompileError> {
        let invalid = |reason: String| CompileError::invalid(self.at_tensor(index, source), reason);
        let Some(q) = source.quantization() else { return Ok(Quantization::None) };
        let tensor_id = |i: i32| u32::try_from(i).ok().filter(|&i| (i as usize) < self.graph.tensors().len()).map(TensorId);
        if let Some(details) = q.details().get::<BlockwiseQuantization>() {
            let scales = tensor_id(details.scales()).ok_or_else(|| invalid(format!("scales in tensor {}", details.scales())))?;
            let zero_points = if details.zero_points() < 0 { None } else { tensor_id(details.zero_points()) };
            let block_size = usize::try_from(details.block_size()).ok().filter(|&b| b > 0);
            let block_size = block_size.ok_or_else(|| invalid(format!("blocks of {} elements", details.block_size())))?;
            return Ok(Quantization::Blockwise { scales, zero_points, block_size });
        }
        if let Some(details) = q.details().get::<MultiAxisQuantization>() {
            let axes = details.quantized_dimensions().iter().map(|d| usize::try_from(d).ok().filter(|&d| d < shape.len()));
            let axes = axes.collect::<Option<Vec<_>>>().ok_or_else(|| invalid("quantised along an axis that is not there".to_string()))?;
            let numbers = |tensor: i32| self.numbers(tensor).ok_or_else(|| invalid(format!("scales or zero points in tensor {tensor}")));
            let scale: Vec<f32> = numbers(details.scales())?.into_iter().map(|v| v as f32).collect();
            let zero_point = match details.zero_points() {
                none if none < 0 => vec![0; scale.len()],
                tensor => numbers(tensor)?.into_iter().map(|v| v as i64).collect(),
            };
            return Ok(Quantization::MultiAxis { scale, zero_point, axes });
        }
        if let Some(details) = q.details().get::<CustomQuantization>() {
            return Ok(Quantization::Custom(details.reflect().get("custom").map_or_else(Vec::new, bytes_of).into()));
        }
        let scale = q.scale().to_vec();
        if scale.is_empty() {
            return Ok(Quantization::None);
        }
        let mut zero_point = q.zero_point().to_vec();
        zero_point.resize(scale.len(), 0);
        let axis =
            usize::try_from(q.quantized_dimension()).map_err(|_| invalid(format!("quantised along axis {}", q.quantized_dimension())))?;
        if scale.len() > 1 && axis >= shape.len() {
            return Err(invalid(format!("{} scales along axis {axis} of {} dimensions", scale.len(), shape.len())));
        }
        Ok(Quantization::Affine(Affine { scale, zero_point, axis }))
    }

    /// Elements of a constant tensor of a float or integer type, by index.
    fn numbers(&self, tensor: i32) -> Option<Vec<f64>> {
        let index = usize::try_from(tensor).ok()?;
        let source = self.graph.tensors().get(index)?;
        let data = self.file.tensor_data(self.index as usize, index).ok()??;
        let all = match DType::from_code(source.dtype().0)? {
            DType::Float32 => data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            DType::Float16 => data.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f64()).collect(),
            DType::Int32 => data.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
            DType::Int64 => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            DType::Int8 => data.iter().map(|b| f64::from(*b as i8)).collect(),
            _ => return None,
        };
        Some(all)
    }

    fn id(&self, index: i32, place: &Place, what: &str) -> Result<TensorId, CompileError> {
        let id = u32::try_from(index).ok().filter(|&i| (i as usize) < self.graph.tensors().len());
        id.map(TensorId).ok_or_else(|| {
            CompileError::invalid(place.clone(), format!("{what} is tensor {index}; there are {}", self.graph.tensors().len()))
        })
    }

    fn ids(&self, indices: impl Iterator<Item = i32>, place: &Place, what: &str) -> Result<Vec<TensorId>, CompileError> {
        indices.map(|i| self.id(i, place, what)).collect()
    }

    fn node(&self, index: usize, graphs: usize) -> Result<Node, CompileError> {
        let source = self.graph.operators().get(index).unwrap_or_default();
        let code = self.file.model().operator_codes().get(source.opcode_index() as usize);
        let code =
            code.ok_or_else(|| CompileError::invalid(self.at_operator(index, "?"), format!("operator code {}", source.opcode_index())))?;
        let op = OpKind::from_code(code.operator().0)
            .ok_or_else(|| CompileError::unsupported(self.at_operator(index, &format!("{:?}", code.operator())), Unsupported::Operator))?;
        let place = self.at_operator(index, op.name());
        let mut attrs = Attrs::new();
        if let Some(options) = source.reflect_options() {
            for field in options.fields() {
                if let Some(value) = self.attribute(field.def.name, field.value, &place, graphs)? {
                    attrs.set(field.def.name, value);
                }
            }
        }
        if op == OpKind::Custom {
            attrs.set("custom_code", AttrValue::Str(code.custom_code().to_string()));
            if let Some(options) = self.file.custom_options(self.index as usize, index)? {
                attrs.set("custom_options", AttrValue::Bytes(options));
            }
        }
        attrs.set("version", AttrValue::Int(i64::from(code.version())));
        let optional = |i: i32| if i == -1 { Ok(None) } else { self.id(i, &place, "an operand").map(Some) };
        Ok(Node {
            op,
            inputs: source.inputs().iter().map(optional).collect::<Result<_, _>>()?,
            outputs: self.ids(source.outputs().iter(), &place, "a result")?,
            attrs,
            tail: None,
            intermediates: self.ids(source.intermediates().iter(), &place, "an intermediate")?,
            location: Location { subgraph: self.index, operator: index as u32 },
        })
    }

    /// An option as an attribute; nested tables have none.
    fn attribute(&self, name: &str, value: reflect::Value<'_>, place: &Place, graphs: usize) -> Result<Option<AttrValue>, CompileError> {
        use reflect::Value;
        Ok(Some(match value {
            Value::Int(v) if name.ends_with("_subgraph_index") => {
                let graph = u32::try_from(v).ok().filter(|&g| (g as usize) < graphs);
                AttrValue::Graph(GraphId(
                    graph.ok_or_else(|| CompileError::invalid(place.clone(), format!("{name} = {v}; there are {graphs} subgraphs")))?,
                ))
            }
            Value::Bool(v) => AttrValue::Bool(v),
            Value::Int(v) => AttrValue::Int(v),
            Value::UInt(v) => AttrValue::Int(v as i64),
            Value::Float(v) => AttrValue::Float(v),
            Value::Enum(def, v) => match def.name_of(v) {
                Some(name) => AttrValue::Enum(name.to_string()),
                None => AttrValue::Int(v),
            },
            Value::Str(v) => AttrValue::Str(v.to_string()),
            Value::List(list) => {
                let floats: Vec<f32> = list.iter().filter_map(|v| if let Value::Float(f) = v { Some(f) } else { None }).collect();
                if floats.is_empty() {
                    AttrValue::Ints(list.iter().filter_map(reflect::Value::as_i64).collect())
                } else {
                    AttrValue::Floats(floats)
                }
            }
            Value::Blob(Some(bytes)) => AttrValue::Bytes(bytes.to_vec().into()),
            Value::Blob(None) | Value::Table(_) | Value::Tables(_) | Value::Union(..) => return Ok(None),
        }))
    }

    /// Checks that each tensor is computed at most once, and before it is read.
    fn check_order(&self, graph: &Graph) -> Result<(), CompileError> {
        let mut ready: Vec<bool> = graph.tensors.iter().map(|t| t.data.is_some() || t.variable).collect();
        let mut computed = vec![false; graph.tensors.len()];
        for t in &graph.inputs {
            ready[t.index()] = true;
        }
        // Tensors that nothing computes are read as they are allocated: empty operands of some operators.
        let produced: Vec<bool> = {
            let mut p = vec![false; graph.tensors.len()];
            graph.nodes.iter().flat_map(|n| &n.outputs).for_each(|t| p[t.index()] = true);
            p
        };
        for (i, node) in graph.nodes.iter().enumerate() {
            let invalid = |reason: String| Err(CompileError::invalid(self.at_operator(i, node.op.name()), reason));
            for t in node.inputs.iter().flatten() {
                if !ready[t.index()] && produced[t.index()] {
                    return invalid(format!("operand tensor {} is computed later, or by the operator itself", t.0));
                }
            }
            for t in &node.outputs {
                if std::mem::replace(&mut computed[t.index()], true) {
                    return invalid(format!("tensor {} is computed twice", t.0));
                }
                if graph.tensor(*t).data.is_some() {
                    return invalid(format!("result tensor {} is a constant", t.0));
                }
                if graph.inputs.contains(t) {
                    return invalid(format!("result tensor {} is an input of the graph", t.0));
                }
                ready[t.index()] = true;
            }
        }
        Ok(())
    }
}

/// Inputs with open or empty dimensions are compiled for size 1 there, which is what LiteRT allocates at first.
fn open_dimensions(tensor: &mut Tensor) {
    if tensor.ty.shape.contains(&0) {
        let declared = tensor.ty.shape.iter().map(|&d| if d == 0 { -1 } else { d as i64 }).collect();
        tensor.signature.get_or_insert(declared);
        tensor.ty.shape.iter_mut().for_each(|d| *d = (*d).max(1));
    }
}

fn bytes_of(value: reflect::Value<'_>) -> Vec<u8> {
    match value {
        reflect::Value::Blob(Some(b)) => b.to_vec(),
        reflect::Value::List(list) => list.iter().filter_map(|v| v.as_i64()).map(|v| v as u8).collect(),
        _ => vec![],
    }
}

fn signature_of(model: &Model, source: Ref<'_, SignatureDef>) -> Result<Signature, CompileError> {
    let key = source.signature_key().to_string();
    let invalid = |reason: String| CompileError::invalid(Place::default(), format!("signature {key:?}: {reason}"));
    let graph = source.subgraph_index();
    let Some(target) = model.graphs.get(graph as usize) else {
        return Err(invalid(format!("subgraph {graph}; there are {}", model.graphs.len())));
    };
    let names = |list: super::schema::Refs<'_, super::schema::TensorMap>| -> Result<Vec<(String, TensorId)>, CompileError> {
        list.iter()
            .map(|m| {
                if (m.tensor_index() as usize) < target.tensors.len() {
                    Ok((m.name().to_string(), TensorId(m.tensor_index())))
                } else {
                    Err(invalid(format!("tensor {}; there are {}", m.tensor_index(), target.tensors.len())))
                }
            })
            .collect()
    };
    Ok(Signature { graph: GraphId(graph), inputs: names(source.inputs())?, outputs: names(source.outputs())?, key: key.clone() })
}
