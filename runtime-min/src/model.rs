//! A compiled model by its descriptor: inputs and outputs by position and name, and checked runs.
//!
//! A [`Model`] is the proof that a descriptor was checked; it holds nothing but its address. It trusts that the bytes come from tflc: the
//! one unsafe step is [`Model::from_descriptor`].

use crate::abi::{self, ABI_VERSION, BoundInvoke, Descriptor, MAGIC, NO_AXIS, Parallel, SPLIT_WEIGHTS, Status, Workers};
use crate::element::{DType, Quantized};
use core::ffi::CStr;
use core::fmt;
use core::ptr::NonNull;

/// Most inputs, or outputs, of a run through [`Model::run`], which keeps their addresses on its stack.
const MOST_BUFFERS: usize = 64;

/// Address of a checked descriptor, from which everything that it refers to is reached.
#[derive(Clone, Copy, Debug)]
struct Base(NonNull<Descriptor>);

// SAFETY: descriptors are read-only and stay loaded as long as the program, as `Model::from_descriptor` was promised.
unsafe impl Send for Base {}
// SAFETY: as above.
unsafe impl Sync for Base {}

impl core::ops::Deref for Base {
    type Target = Descriptor;

    fn deref(&self) -> &Descriptor {
        // SAFETY: `Model::from_descriptor` checked that this is a descriptor, and was promised that it stays.
        unsafe { self.0.as_ref() }
    }
}

/// A compiled model.
#[derive(Clone, Copy)]
pub struct Model {
    descriptor: Base,
}

/// An input or output.
#[derive(Clone, Copy)]
pub struct Tensor {
    descriptor: Base,
    tensor: &'static abi::Tensor,
}

/// The inputs or outputs of a model, in order.
#[derive(Clone, Debug)]
pub struct Tensors {
    descriptor: Base,
    list: core::slice::Iter<'static, abi::Tensor>,
}

fn at<T>(descriptor: Base, distance: u32) -> *const T {
    descriptor.0.as_ptr().cast_const().cast::<u8>().wrapping_add(distance as usize).cast()
}

fn text(descriptor: Base, distance: u32) -> &'static str {
    // SAFETY: `Model::from_descriptor` was promised a descriptor of tflc, whose strings end with a zero and are UTF-8.
    unsafe { CStr::from_ptr(at(descriptor, distance)).to_str().unwrap_or("") }
}

impl Model {
    /// The model with a descriptor, as `NAME_model()` gives it.
    ///
    /// # Errors
    /// [`Status::UnsupportedCpu`] for null, [`Status::WrongAbi`] for another version.
    ///
    /// # Safety
    /// `descriptor` is null or points to eight readable bytes; where they are those of a descriptor, it came from code made by tflc that
    /// stays loaded as long as the program.
    pub unsafe fn from_descriptor(descriptor: *const Descriptor) -> Result<Model, Status> {
        let base = NonNull::new(descriptor.cast_mut()).ok_or(Status::UnsupportedCpu)?;
        // SAFETY: the caller promises these two words.
        let (magic, version) = unsafe { ((&raw const (*descriptor).magic).read(), (&raw const (*descriptor).abi_version).read()) };
        if magic != MAGIC || version != ABI_VERSION {
            return Err(Status::WrongAbi);
        }
        Ok(Model { descriptor: Base(base) })
    }

    /// Name.
    pub fn name(&self) -> &'static str {
        text(self.descriptor, self.descriptor.name)
    }

    /// Name of the CPU level that the code is for.
    pub fn cpu(&self) -> &'static str {
        text(self.descriptor, self.descriptor.cpu)
    }

    /// Size of the arena in bytes.
    pub fn arena_bytes(&self) -> usize {
        self.descriptor.arena_bytes as usize
    }

    /// Size of the state in bytes.
    pub fn state_bytes(&self) -> usize {
        self.descriptor.state_bytes as usize
    }

    /// Size and CRC-32 of the weights where they are in a file of their own.
    pub fn split_weights(&self) -> Option<(usize, u32)> {
        let d = self.descriptor;
        (d.flags & SPLIT_WEIGHTS != 0).then_some((d.weights_bytes as usize, d.weights_crc32))
    }

    /// Inputs, in order.
    pub fn inputs(&self) -> Tensors {
        self.tensors(self.descriptor.inputs, self.descriptor.input_count)
    }

    /// Outputs, in order.
    pub fn outputs(&self) -> Tensors {
        self.tensors(self.descriptor.outputs, self.descriptor.output_count)
    }

    fn tensors(&self, distance: u32, count: u32) -> Tensors {
        // SAFETY: a descriptor of tflc has so many tensors there, aligned.
        let list = unsafe { core::slice::from_raw_parts(at::<abi::Tensor>(self.descriptor, distance), count as usize) };
        Tensors { descriptor: self.descriptor, list: list.iter() }
    }

    /// Key of the signature that this is; empty for the model itself.
    pub fn key(&self) -> &'static str {
        text(self.descriptor, self.descriptor.key)
    }

    /// The model by the names of a signature, and of its graph where that is another one: code, weights and memory are the same.
    pub fn signature(&self, key: &str) -> Option<Model> {
        self.signatures().find(|s| s.key() == key)
    }

    /// All signatures, as [`Model::signature`] gives them.
    pub fn signatures(&self) -> impl ExactSizeIterator<Item = Model> + use<> {
        let base = self.descriptor;
        // SAFETY: a descriptor of tflc has so many signatures there, aligned.
        let list = unsafe { core::slice::from_raw_parts(at::<abi::Signature>(base, base.signatures), base.signature_count as usize) };
        list.iter().map(move |s| {
            let descriptor = base.0.as_ptr().cast::<u8>().wrapping_offset(s.model as isize).cast();
            // A distance from an address that is not null leads to another descriptor of the same object.
            Model { descriptor: Base(NonNull::new(descriptor).unwrap_or(base.0)) }
        })
    }

    /// Computes the outputs from the inputs: dense little-endian bytes. Where weights are split, they are the last input.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] where buffers are too many, missing or of the wrong size, or memory is misaligned;
    /// [`Status::ArenaTooSmall`], [`Status::StateTooSmall`]; and those of the model.
    pub fn run(
        &self,
        arena: &mut [u8],
        state: &mut [u8],
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
        workers: Option<Workers<'_>>,
    ) -> Result<(), Status> {
        let d = self.descriptor;
        let weights = self.split_weights().map(|(bytes, _)| bytes as u64);
        let mut wanted = self.inputs().map(|t| t.bytes() as u64).chain(weights);
        let fits = inputs.len() <= MOST_BUFFERS
            && outputs.len() <= MOST_BUFFERS
            && inputs.iter().all(|b| wanted.next() == Some(b.len() as u64))
            && wanted.next().is_none()
            && outputs.len() == d.output_count as usize
            && outputs.iter().zip(self.outputs()).all(|(b, t)| b.len() == t.bytes());
        if !fits {
            return Err(Status::InvalidArgument);
        }
        if arena.len() < self.arena_bytes() {
            return Err(Status::ArenaTooSmall);
        }
        if state.len() < self.state_bytes() {
            return Err(Status::StateTooSmall);
        }
        let (mut ins, mut outs) = ([core::ptr::null::<u8>(); MOST_BUFFERS], [core::ptr::null_mut::<u8>(); MOST_BUFFERS]);
        ins.iter_mut().zip(inputs).for_each(|(p, b)| *p = b.as_ptr());
        outs.iter_mut().zip(outputs.iter_mut()).for_each(|(p, b)| *p = b.as_mut_ptr());
        let parallel = Workers::address(workers);
        // SAFETY: sizes were checked, mutable slices overlap nothing, and `invoke` itself checks alignments.
        unsafe { self.invoke(arena.as_mut_ptr(), state.as_mut_ptr(), ins.as_ptr(), outs.as_ptr(), parallel) }
    }

    /// Runs the code without checking sizes.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for null or misaligned arguments; those of the model.
    ///
    /// # Safety
    /// `arena` and `state` point to as many bytes as the model asks for, `inputs` and `outputs` to as many pointers as it has inputs and
    /// outputs, each to a buffer of its size (or null); outputs overlap nothing; `parallel` is null or keeps its promise.
    pub unsafe fn invoke(
        &self,
        arena: *mut u8,
        state: *mut u8,
        inputs: *const *const u8,
        outputs: *const *mut u8,
        parallel: *const Parallel,
    ) -> Result<(), Status> {
        let code = self.descriptor.0.as_ptr().cast_const().cast::<u8>().wrapping_offset(self.descriptor.invoke as isize);
        // SAFETY: a descriptor of tflc has the distance to a function of this type.
        let code: BoundInvoke = unsafe { core::mem::transmute::<*const u8, BoundInvoke>(code) };
        // SAFETY: the caller vouches for the arguments.
        Status::from_code(unsafe { code(arena, state, inputs, outputs, parallel) }).ok()
    }
}

impl Tensor {
    /// Name in the model.
    pub fn name(&self) -> &'static str {
        text(self.descriptor, self.tensor.name)
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        DType::from_code(self.tensor.dtype)
    }

    /// Dimensions.
    pub fn shape(&self) -> &'static [u64] {
        // SAFETY: a descriptor of tflc has so many dimensions there, aligned.
        unsafe { core::slice::from_raw_parts(at(self.descriptor, self.tensor.shape), self.tensor.rank as usize) }
    }

    /// Size of a value in bytes; where it is known only at run time, the most.
    pub fn bytes(&self) -> usize {
        self.tensor.bytes as usize
    }

    /// The first axis whose length is known only at run time.
    pub fn open_axis(&self) -> Option<usize> {
        (self.tensor.axis != NO_AXIS).then_some(self.tensor.axis as usize)
    }

    /// The length of an axis after a run that left `arena`; the elements are the first ones of the buffer, without gaps. Without such an axis, nothing.
    pub fn dimension(&self, axis: usize, arena: &[u8]) -> Option<usize> {
        let known = usize::try_from(*self.shape().get(axis)?).ok()?;
        let Some(behind) = self.open_axis().and_then(|open| axis.checked_sub(open)) else { return Some(known) };
        let at = arena.get(usize::try_from(self.tensor.length).ok()?.checked_add(behind * 8)?..)?;
        usize::try_from(i64::from_le_bytes(*at.first_chunk()?)).ok().map(|n| n.min(known))
    }

    /// Quantisation, where there is one scale.
    pub fn quantized(&self) -> Option<Quantized> {
        let (scale, zero_point) = (self.tensor.scale, self.tensor.zero_point);
        (scale != 0.0).then_some(Quantized { scale, zero_point })
    }
}

impl Iterator for Tensors {
    type Item = Tensor;

    fn next(&mut self) -> Option<Tensor> {
        self.list.next().map(|tensor| Tensor { descriptor: self.descriptor, tensor })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.list.size_hint()
    }
}

impl ExactSizeIterator for Tensors {}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({} for {})", self.name(), self.cpu())
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.name(), self.dtype(), self.shape())
    }
}
