//! A library without the standard library, allocation or operating system: one C function that classifies a digit, with all its
//! memory in a `static`.

#![no_std]

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

tflc_runtime::include_model!(mod digits_int8);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The model's memory, for one caller at a time.
struct Shared {
    busy: AtomicBool,
    model: UnsafeCell<digits_int8::Model>,
}

// SAFETY: `busy` lets one caller at a time reach the model.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared { busy: AtomicBool::new(false), model: UnsafeCell::new(digits_int8::Model::new()) };

/// The digit that 32 by 32 pixels show, from 0 to 255 each; negative where the classifier is busy or fails.
///
/// # Safety
/// `pixels` points to 1024 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn classify(pixels: *const u8) -> i32 {
    if pixels.is_null() || SHARED.busy.swap(true, Ordering::Acquire) {
        return -1;
    }
    // SAFETY: the caller promises 1024 bytes.
    let pixels = unsafe { &*pixels.cast::<[[u8; 32]; 32]>() };
    let mut image: digits_int8::Input0 = [[[[0; 1]; 32]; 32]; 1];
    for (row, pixels) in image[0].iter_mut().zip(pixels) {
        for (stored, &pixel) in row.iter_mut().zip(pixels) {
            stored[0] = digits_int8::INPUT0.quantize(f32::from(pixel) / 255.0);
        }
    }
    // SAFETY: `busy` was free, and is taken.
    let model = unsafe { &mut *SHARED.model.get() };
    let digit = match model.run(&image) {
        Ok([scores]) => scores.iter().enumerate().max_by_key(|(_, score)| **score).map_or(-1, |(digit, _)| digit as i32),
        Err(_) => -2,
    };
    SHARED.busy.store(false, Ordering::Release);
    digit
}
