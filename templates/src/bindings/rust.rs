//! The Rust module of one model: typed inputs and outputs, memory included, no allocation, `no_std`.

use super::identifier::{comment, distinct, literal, rust, snake};
use super::{Interface, Ports, Signature, Tensor};
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
    let methods = methods(interface);
    out.push_str(&types(&interface.ports)?);
    for m in methods.iter().filter(|m| m.module.is_some()) {
        let (module, doc) = (m.name.as_str(), format!("Inputs and outputs of the signature {}.", literal(&m.signature.key)));
        let types = types(m.ports)?.lines().map(|l| format!("    {l}\n")).collect::<String>();
        let _ = writeln!(out, "/// {}\npub mod {module} {{\n{types}}}", comment(&doc));
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
    for m in &methods {
        method(&mut out, m)?;
    }
    run_into(&mut out, interface, &methods[0]);
    for m in methods.iter().filter(|m| m.module.is_some()) {
        run_into(&mut out, interface, m);
    }
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

/// Types and quantisation of inputs and outputs.
fn types(ports: &Ports) -> Result<String, BindingsError> {
    let mut out = String::new();
    for (what, list) in [("Input", &ports.inputs), ("Output", &ports.outputs)] {
        for (i, t) in list.iter().enumerate() {
            tensor(&mut out, what, i, t)?;
        }
    }
    Ok(out)
}

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

/// A method that runs an entry point.
struct Method<'a> {
    name: String,
    doc: String,
    signature: Signature,
    ports: &'a Ports,
    /// The module with its types, where that is not the model's own; it is called like the method.
    module: Option<String>,
}

impl Method<'_> {
    fn ty(&self, what: &str, i: usize) -> String {
        match &self.module {
            Some(module) => format!("{module}::{what}{i}"),
            None => format!("{what}{i}"),
        }
    }

    /// What names the method that takes places for the outputs, and lengths.
    fn prefix(&self) -> String {
        self.module.as_ref().map(|m| format!("{m}_")).unwrap_or_default()
    }

    fn into(&self) -> String {
        self.module.as_ref().map_or_else(|| "run_into".to_string(), |m| format!("{m}_into"))
    }
}

/// `run`, and a method for each signature that names every input and output once.
fn methods(interface: &Interface) -> Vec<Method<'_>> {
    let ports = &interface.ports;
    let names = |prefix: &str, n: usize| (0..n).map(|i| (format!("{prefix}{i}"), i)).collect();
    let positional = Signature {
        key: "run".into(),
        inputs: names("input", ports.inputs.len()),
        outputs: names("output", ports.outputs.len()),
        own: None,
    };
    let doc = "Computes the outputs from the inputs.".to_string();
    let mut methods = vec![Method { name: "run".into(), doc, signature: positional, ports, module: None }];
    // Names that the module has already; those of signatures get a number where they are taken.
    let taken = ["run", "run_into", "reset", "new", "descriptor"].into_iter().map(String::from);
    let identifiers = distinct(taken.chain(interface.signatures.iter().map(|s| rust(&s.key)))).split_off(5);
    for (s, name) in interface.signatures.iter().zip(identifiers) {
        let ports = s.own.as_ref().unwrap_or(ports);
        if !complete(ports, s) {
            continue;
        }
        let (module, doc) = match s.own {
            Some(_) => (Some(name.clone()), format!("The signature {}.", literal(&s.key))),
            None => (None, format!("The signature {}: [`Model::run`] with its names.", literal(&s.key))),
        };
        methods.push(Method { name, doc, signature: s.clone(), ports, module });
    }
    methods
}

/// Whether a signature names every input and output once.
fn complete(ports: &Ports, s: &Signature) -> bool {
    let all = |list: &[(String, usize)], n: usize| {
        let mut seen: Vec<usize> = list.iter().map(|(_, i)| *i).collect();
        seen.sort_unstable();
        seen == (0..n).collect::<Vec<_>>()
    };
    all(&s.inputs, ports.inputs.len()) && all(&s.outputs, ports.outputs.len())
}

fn method(out: &mut String, m: &Method<'_>) -> Result<(), BindingsError> {
    let (s, ports) = (&m.signature, m.ports);
    let params = distinct(s.inputs.iter().map(|(n, _)| rust(n)));
    let typed: Vec<String> = params.iter().zip(&s.inputs).map(|(p, (_, i))| format!("{p}: &{}", m.ty("Input", *i))).collect();
    let results: Vec<String> = s.outputs.iter().map(|(_, i)| m.ty("Output", *i)).collect();
    let result = if let [one] = &results[..] { one.clone() } else { format!("({})", results.join(", ")) };
    let named: Vec<String> = s.outputs.iter().map(|(n, i)| format!("`{}` ([`{}`])", snake(n), m.ty("Output", *i))).collect();
    let _ = writeln!(out, "\n    /// {} Gives {}.\n    ///\n    /// # Errors\n    /// As [`Model::run_into`].", m.doc, named.join(", "));
    let receiver: Vec<String> = std::iter::once("&mut self".to_string()).chain(typed).collect();
    let _ = writeln!(out, "    pub fn {}({}) -> Result<{result}, ::tflc_runtime::Status> {{", m.name, receiver.join(", "));
    for (i, t) in ports.outputs.iter().enumerate() {
        let _ = writeln!(out, "        let mut out{i}: {} = {};", m.ty("Output", i), zero(t)?);
    }
    // Arguments of `run_into` are in the order of the graph.
    let mut args: Vec<String> = vec![String::new(); ports.inputs.len()];
    s.inputs.iter().zip(&params).for_each(|((_, i), p)| args[*i].clone_from(p));
    args.extend((0..ports.outputs.len()).map(|i| format!("&mut out{i}")));
    args.push("None".into());
    let _ = writeln!(out, "        self.{}({})?;", m.into(), args.join(", "));
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

/// The method that takes places for the outputs, and those that give the lengths of open ones.
fn run_into(out: &mut String, interface: &Interface, m: &Method<'_>) {
    let ports = m.ports;
    let inputs = (0..ports.inputs.len()).map(|i| format!("input{i}: &{}", m.ty("Input", i)));
    let outputs = (0..ports.outputs.len()).map(|i| format!("output{i}: &mut {}", m.ty("Output", i)));
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
    pub fn {}({}) -> Result<(), ::tflc_runtime::Status> {{
        let model = {};",
        m.into(),
        params.join(", "),
        entry(m)
    );
    let mut ins: Vec<String> = (0..ports.inputs.len()).map(|i| format!("(&raw const *input{i}).cast()")).collect();
    if interface.split_weights.is_some() {
        let _ = writeln!(
            out,
            "        if self.weights.len() != WEIGHTS_BYTES {{\n            return Err(::tflc_runtime::Status::InvalidArgument);\n        }}"
        );
        ins.push("self.weights.as_ptr()".into());
    }
    let outs: Vec<String> = (0..ports.outputs.len()).map(|i| format!("(&raw mut *output{i}).cast()")).collect();
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
    for (i, t) in ports.outputs.iter().enumerate().filter(|(_, t)| t.open_axis.is_some()) {
        let _ = writeln!(
            out,
            "
    /// Shape of the last [`{}`]: its elements are the first ones without gaps, and what lies behind them means nothing. Before the first run there are none.
    pub fn {}output{i}_shape(&self) -> [usize; {}] {{
        let output = |model: ::tflc_runtime::Model| model.outputs().nth({i});
        let output = (|| Ok::<_, ::tflc_runtime::Status>({}))().ok().and_then(output);
        ::core::array::from_fn(|axis| output.as_ref().and_then(|t| t.dimension(axis, self.arena.bytes())).unwrap_or(0))
    }}",
            m.ty("Output", i),
            m.prefix(),
            t.shape.len(),
            entry(m)
        );
    }
}

/// The descriptor of an entry point, as an expression that may end the function with an error.
fn entry(m: &Method<'_>) -> String {
    match &m.module {
        None => "descriptor()?".into(),
        Some(_) => format!("descriptor()?.signature({}).ok_or(::tflc_runtime::Status::WrongAbi)?", literal(&m.signature.key)),
    }
}
