//! The Rust module of one model: typed inputs and outputs, memory included, no allocation, `no_std`.

use super::identifier::{comment, distinct, literal, rust, snake};
use super::{Interface, Signature, Tensor};
use std::fmt::Write as _;

/// Why there is no module for a model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BindingsError {
    /// An input or output has elements that no Rust type is laid out like.
    Element {
        /// Its name.
        tensor: String,
        /// Element type.
        dtype: String,
    },
}

impl std::fmt::Display for BindingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BindingsError::Element { tensor, dtype } = self;
        write!(
            f,
            "tensor {tensor:?} has elements of type {dtype}, which no Rust type is laid out like; use the descriptor with tflc_runtime::Model"
        )
    }
}

impl std::error::Error for BindingsError {}

/// Rust's type for elements: those that have none are given by their bits.
fn element(dtype: &str) -> Option<&'static str> {
    Some(match dtype {
        "float32" => "f32",
        "float64" => "f64",
        "float16" | "bfloat16" | "uint16" => "u16",
        "int8" => "i8",
        "uint8" | "bool" => "u8",
        "int16" => "i16",
        "int32" => "i32",
        "uint32" => "u32",
        "int64" => "i64",
        "uint64" => "u64",
        "complex64" => "[f32; 2]",
        "complex128" => "[f64; 2]",
        _ => return None,
    })
}

fn array(t: &Tensor) -> Result<String, BindingsError> {
    let element = element(&t.dtype).ok_or_else(|| BindingsError::Element { tensor: t.name.clone(), dtype: t.dtype.clone() })?;
    Ok(t.shape.iter().rev().fold(element.to_string(), |ty, d| format!("[{ty}; {d}]")))
}

/// The source of the module, to be included into one: see `tflc_runtime::include_model!`.
///
/// # Errors
/// Where an input or output has elements that Rust has no type for.
pub fn module(interface: &Interface) -> Result<String, BindingsError> {
    let mut out = String::new();
    for (what, list) in [("Input", &interface.inputs), ("Output", &interface.outputs)] {
        for (i, t) in list.iter().enumerate() {
            tensor(&mut out, what, i, t)?;
        }
    }
    let name = &interface.name;
    let _ = writeln!(out, "/// Scratch memory of a run in bytes.\npub const ARENA_BYTES: usize = {};", interface.arena_bytes);
    let _ = writeln!(out, "/// Variables in bytes.\npub const STATE_BYTES: usize = {};", interface.state_bytes);
    if let Some((bytes, crc)) = interface.split_weights {
        let _ = writeln!(out, "/// Size of the weights in bytes; they are in `{name}.weights`.\npub const WEIGHTS_BYTES: usize = {bytes};");
        let _ = writeln!(out, "/// CRC-32 of the weights.\npub const WEIGHTS_CRC32: u32 = 0x{crc:08X};");
    }
    let _ = writeln!(out, "\nunsafe extern \"C\" {{\n    safe fn {name}_model() -> *const ::tflc_runtime::Descriptor;\n}}");
    let _ = writeln!(
        out,
        "
/// The compiled model by its descriptor: names, types and shapes at run time.
///
/// # Errors
/// Where the processor has none of the CPU levels: {cpus}.
pub fn descriptor() -> Result<::tflc_runtime::Model, ::tflc_runtime::Status> {{
    // SAFETY: the function is that of the object which was compiled together with this module.
    unsafe {{ ::tflc_runtime::Model::from_descriptor({name}_model()) }}
}}
",
        cpus = interface.cpus.join(", ")
    );
    let about = if interface.description.is_empty() { name } else { &interface.description };
    let _ = writeln!(out, "/// {}", comment(about));
    out.push_str(MODEL);
    if interface.split_weights.is_some() {
        out.push_str("    weights: &'static [u8],\n");
    }
    out.push_str("}\n\nimpl Model {\n");
    constructor(&mut out, interface);
    method(&mut out, "run", "Computes the outputs from the inputs.", interface, &positional(interface))?;
    for s in &interface.signatures {
        if rust(&s.key) != "run" && complete(interface, s) {
            let doc = format!("The signature {}: [`Model::run`] with its names.", literal(&s.key));
            method(&mut out, &rust(&s.key), &doc, interface, s)?;
        }
    }
    run_into(&mut out, interface);
    out.push_str(RESET);
    out.push_str("}\n");
    if interface.split_weights.is_none() {
        out.push_str("\nimpl Default for Model {\n    fn default() -> Model {\n        Model::new()\n    }\n}\n");
    }
    Ok(out)
}

const MODEL: &str = "///
/// It holds the memory that runs need; code and weights are shared by all of them. [`Model::new`] may stand in a `static`, which keeps a
/// large arena off the stack.
#[derive(Clone, Debug)]
pub struct Model {
    arena: ::tflc_runtime::Aligned<ARENA_BYTES>,
    state: ::tflc_runtime::Aligned<STATE_BYTES>,
";

const RESET: &str = "
    /// Sets all variables back to zero.
    pub fn reset(&mut self) {
        self.state.bytes_mut().fill(0);
    }
";

fn tensor(out: &mut String, what: &str, i: usize, t: &Tensor) -> Result<(), BindingsError> {
    let _ = writeln!(out, "/// {what} {i}, `{}`: {} {:?}.", comment(&t.name).replace('`', "'"), t.dtype, t.shape);
    let _ = writeln!(out, "pub type {what}{i} = {};", array(t)?);
    if let Some((scale, zero_point)) = t.quantized {
        let upper = what.to_ascii_uppercase();
        let _ = writeln!(out, "/// Quantisation of [`{what}{i}`]: `real = scale * (stored - zero_point)`.");
        let _ = writeln!(
            out,
            "pub const {upper}{i}: ::tflc_runtime::Quantized = ::tflc_runtime::Quantized {{ scale: {scale:?}, zero_point: {zero_point} }};"
        );
    }
    Ok(())
}

fn constructor(out: &mut String, interface: &Interface) {
    let (zeroed, zeroed_state) = ("::tflc_runtime::Aligned::zeroed()", "::tflc_runtime::Aligned::zeroed()");
    if interface.split_weights.is_some() {
        let _ = writeln!(
            out,
            "    /// An instance with variables at zero, and the content of the weights file, aligned to 64 bytes; a run refuses other weights.
    pub const fn new(weights: &'static [u8]) -> Model {{
        Model {{ arena: {zeroed}, state: {zeroed_state}, weights }}
    }}"
        );
    } else {
        let _ = writeln!(
            out,
            "    /// An instance with variables at zero.
    pub const fn new() -> Model {{
        Model {{ arena: {zeroed}, state: {zeroed_state} }}
    }}"
        );
    }
}

/// The inputs and outputs by position, as a signature.
fn positional(interface: &Interface) -> Signature {
    let names = |prefix: &str, n: usize| (0..n).map(|i| (format!("{prefix}{i}"), i)).collect();
    Signature { key: "run".into(), inputs: names("input", interface.inputs.len()), outputs: names("output", interface.outputs.len()) }
}

/// Whether a signature names every input and output once.
fn complete(interface: &Interface, s: &Signature) -> bool {
    let all = |list: &[(String, usize)], n: usize| {
        let mut seen: Vec<usize> = list.iter().map(|(_, i)| *i).collect();
        seen.sort_unstable();
        seen == (0..n).collect::<Vec<_>>()
    };
    all(&s.inputs, interface.inputs.len()) && all(&s.outputs, interface.outputs.len())
}

fn method(out: &mut String, name: &str, doc: &str, interface: &Interface, s: &Signature) -> Result<(), BindingsError> {
    let params = distinct(s.inputs.iter().map(|(n, _)| rust(n)));
    let typed: Vec<String> = params.iter().zip(&s.inputs).map(|(p, (_, i))| format!("{p}: &Input{i}")).collect();
    let results: Vec<String> = s.outputs.iter().map(|(_, i)| format!("Output{i}")).collect();
    let result = if let [one] = &results[..] { one.clone() } else { format!("({})", results.join(", ")) };
    let named: Vec<String> = s.outputs.iter().map(|(n, i)| format!("`{}` ([`Output{i}`])", snake(n))).collect();
    let _ = writeln!(out, "\n    /// {doc} Gives {}.\n    ///\n    /// # Errors\n    /// As [`Model::run_into`].", named.join(", "));
    let receiver: Vec<String> = std::iter::once("&mut self".to_string()).chain(typed).collect();
    let _ = writeln!(out, "    pub fn {name}({}) -> Result<{result}, ::tflc_runtime::Status> {{", receiver.join(", "));
    for (i, t) in interface.outputs.iter().enumerate() {
        let _ = writeln!(out, "        let mut out{i}: Output{i} = {};", zero(t)?);
    }
    // Arguments of `run_into` are in the order of the graph.
    let mut args: Vec<String> = vec![String::new(); interface.inputs.len()];
    s.inputs.iter().zip(&params).for_each(|((_, i), p)| args[*i].clone_from(p));
    args.extend((0..interface.outputs.len()).map(|i| format!("&mut out{i}")));
    args.push("None".into());
    let _ = writeln!(out, "        self.run_into({})?;", args.join(", "));
    let values: Vec<String> = s.outputs.iter().map(|(_, i)| format!("out{i}")).collect();
    let value = if let [one] = &values[..] { one.clone() } else { format!("({})", values.join(", ")) };
    let _ = writeln!(out, "        Ok({value})\n    }}");
    Ok(())
}

fn zero(t: &Tensor) -> Result<String, BindingsError> {
    let element = element(&t.dtype).ok_or_else(|| BindingsError::Element { tensor: t.name.clone(), dtype: t.dtype.clone() })?;
    let zero = match element {
        "f32" | "f64" => "0.0",
        e if e.starts_with('[') => "[0.0; 2]",
        _ => "0",
    };
    Ok(t.shape.iter().rev().fold(zero.to_string(), |v, d| format!("[{v}; {d}]")))
}

fn run_into(out: &mut String, interface: &Interface) {
    let inputs = (0..interface.inputs.len()).map(|i| format!("input{i}: &Input{i}"));
    let outputs = (0..interface.outputs.len()).map(|i| format!("output{i}: &mut Output{i}"));
    let last = "workers: Option<::tflc_runtime::Workers<'_>>".to_string();
    let params: Vec<String> = std::iter::once("&mut self".to_string()).chain(inputs).chain(outputs).chain([last]).collect();
    let _ = writeln!(
        out,
        "
    /// Computes the outputs from the inputs in place, in the calling thread or on a thread pool; results do not depend on that.
    ///
    /// # Errors
    /// Where the processor lacks what the model was compiled for, or an index in an input is out of range.
    #[allow(clippy::too_many_arguments)]
    pub fn run_into({}) -> Result<(), ::tflc_runtime::Status> {{
        let model = descriptor()?;",
        params.join(", ")
    );
    let mut ins: Vec<String> = (0..interface.inputs.len()).map(|i| format!("(&raw const *input{i}).cast()")).collect();
    if interface.split_weights.is_some() {
        let _ = writeln!(
            out,
            "        if self.weights.len() != WEIGHTS_BYTES {{\n            return Err(::tflc_runtime::Status::InvalidArgument);\n        }}"
        );
        ins.push("self.weights.as_ptr()".into());
    }
    let outs: Vec<String> = (0..interface.outputs.len()).map(|i| format!("(&raw mut *output{i}).cast()")).collect();
    let _ = writeln!(out, "        let inputs: [*const u8; {}] = [{}];", ins.len(), ins.join(", "));
    let _ = writeln!(out, "        let outputs: [*mut u8; {}] = [{}];", outs.len(), outs.join(", "));
    let _ = writeln!(
        out,
        "        let parallel = ::tflc_runtime::Workers::address(workers);
        let (arena, state) = (self.arena.bytes_mut().as_mut_ptr(), self.state.bytes_mut().as_mut_ptr());
        // SAFETY: the types have the sizes of the model's tensors, arena and state those that its largest level needs, and what is
        // borrowed mutably overlaps nothing.
        unsafe {{ model.invoke(arena, state, inputs.as_ptr(), outputs.as_ptr(), parallel) }}
    }}"
    );
}
