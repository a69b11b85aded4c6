//! PNG and JPEG files as input tensors.
//!
//! Takes a file and what the model's input looks like; gives a tensor of exactly that type and shape. Pixels are turned
//! upright (EXIF), resized to the input's height and width (triangle filter, so that shrinking averages), reduced to grey
//! where there is one channel, mapped linearly from black..white to a range (normally 0..1), and quantised by
//! `round(x / scale) + zero_point`, ties to even, clamped, where the input is quantised. Alpha is dropped unless the input
//! has four channels. Models that want other normalisation get their input as an array instead.

use crate::cli::tensor::HostTensor;
use crate::ir::DType;
use ::image::imageops::{FilterType, resize};
use ::image::{DynamicImage, ImageDecoder, ImageReader};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// Most values that an image is expanded to.
const LIMIT_VALUES: usize = 1 << 28;

/// What an image is converted to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Wanted<'a> {
    /// Element type: a float, or an integer of 8 or 16 bits.
    pub dtype: DType,
    /// `[1, H, W, C]`, `[H, W, C]`, `[1, H, W]` or `[H, W]`, with 1, 3 or 4 channels.
    pub shape: &'a [usize],
    /// Scale and zero point of a quantised input.
    pub quantization: Option<(f32, i64)>,
    /// Values of black and of white.
    pub range: (f32, f32),
}

/// Whether a file name ends as image files do.
pub fn is_image(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| ["png", "jpg", "jpeg"].contains(&e.to_ascii_lowercase().as_str()))
}

/// Reads an image file as the tensor that is wanted.
///
/// # Errors
/// Where the file is not an image that can be decoded, or the input is not one for images.
pub fn load(path: &Path, wanted: &Wanted<'_>) -> Result<HostTensor> {
    convert(decode(path).with_context(|| format!("cannot read the image {}", path.display()))?, wanted)
        .with_context(|| format!("cannot use the image {} as input", path.display()))
}

fn decode(path: &Path) -> Result<DynamicImage> {
    // The reader's own limits bound what a small file may unpack to.
    let mut decoder = ImageReader::open(path)?.with_guessed_format()?.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn convert(image: DynamicImage, wanted: &Wanted<'_>) -> Result<HostTensor> {
    let (height, width, channels) = match *wanted.shape {
        [1, h, w, c] | [h, w, c] if [1, 3, 4].contains(&c) => (h, w, c),
        [1, h, w] | [h, w] => (h, w, 1),
        _ => {
            bail!("the shape {:?} is not [1, height, width, channels] with 1, 3 or 4 channels; pass an array (.npy) instead", wanted.shape)
        }
    };
    let values = height.checked_mul(width).and_then(|n| n.checked_mul(channels)).filter(|&n| n > 0 && n <= LIMIT_VALUES);
    let values = values.with_context(|| format!("{height}x{width} pixels are none, or too many"))?;
    let (w, h) = (u32::try_from(width)?, u32::try_from(height)?);
    let filter = FilterType::Triangle;
    let same = image.width() == w && image.height() == h;
    macro_rules! pixels {
        ($pixels:expr) => {{
            let pixels = $pixels;
            if same { pixels.into_raw() } else { resize(&pixels, w, h, filter).into_raw() }
        }};
    }
    let pixels = match channels {
        1 => pixels!(image.to_luma32f()),
        3 => pixels!(image.to_rgb32f()),
        _ => pixels!(image.to_rgba32f()),
    };
    ensure!(pixels.len() == values, "the image has {} values after resizing, not {values}", pixels.len());
    let (black, white) = wanted.range;
    let real = pixels.into_iter().map(|p| if (black, white) == (0.0, 1.0) { p } else { black + p * (white - black) });
    HostTensor::new(wanted.dtype, wanted.shape, encode(real, wanted)?)
}

fn encode(real: impl Iterator<Item = f32>, wanted: &Wanted<'_>) -> Result<Vec<u8>> {
    let quantized = |q: f32| match wanted.quantization {
        Some((scale, zero_point)) => f64::from(q / scale).round_ties_even() + zero_point as f64,
        // An integer input without quantisation takes the pixels as they are in the file.
        None => (f64::from(q) * 255.0).round_ties_even(),
    };
    // Conversion from float to integer saturates.
    Ok(match wanted.dtype {
        DType::Float32 => real.flat_map(f32::to_le_bytes).collect(),
        DType::Float16 => real.flat_map(|x| half::f16::from_f32(x).to_le_bytes()).collect(),
        DType::Float64 => real.flat_map(|x| f64::from(x).to_le_bytes()).collect(),
        DType::UInt8 => real.map(|x| quantized(x) as u8).collect(),
        DType::Int8 => real.map(|x| quantized(x) as i8 as u8).collect(),
        DType::Int16 => real.flat_map(|x| (quantized(x) as i16).to_le_bytes()).collect(),
        other => bail!("{other} inputs do not take images; pass an array (.npy) instead"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::npz::Npz;
    use std::path::PathBuf;

    fn shipped(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/digits").join(name)
    }

    fn golden(model: &str) -> HostTensor {
        Npz::open(&shipped(model)).unwrap().read("in/serving_default_image:0").unwrap()
    }

    fn digit(file: &str, dtype: DType, shape: &[usize], quantization: Option<(f32, i64)>) -> Result<HostTensor> {
        load(&shipped(file), &Wanted { dtype, shape, quantization, range: (0.0, 1.0) })
    }

    #[test]
    fn an_image_of_the_right_size_is_the_golden_input() {
        assert_eq!(digit("digit_3.png", DType::Float32, &[1, 32, 32, 1], None).unwrap(), golden("digits_f32.npz"));
        let q = Some((0.003_921_569, -128));
        assert_eq!(digit("digit_3.png", DType::Int8, &[1, 32, 32, 1], q).unwrap(), golden("digits_int8.npz"));
    }

    #[test]
    fn other_sizes_and_colours_are_brought_to_it() {
        let [want, got] =
            ["digit_3.png", "digit_3_8x8.png"].map(|f| digit(f, DType::Float32, &[32, 32], None).unwrap().to_f64(None).unwrap());
        assert!(want.iter().zip(&got).all(|(a, b)| (a - b).abs() < 0.01));
        let [want, got] =
            ["digit_7.png", "digit_7_large.jpg"].map(|f| digit(f, DType::Float32, &[1, 32, 32, 3], None).unwrap().to_f64(None).unwrap());
        assert!(want.iter().zip(&got).all(|(a, b)| (a - b).abs() < 0.1));
    }

    #[test]
    fn types_and_ranges() {
        let pixels = digit("digit_3.png", DType::UInt8, &[32, 32, 1], None).unwrap().to_f64(None).unwrap();
        assert_eq!(pixels.iter().copied().fold(0.0, f64::max), 246.0, "the brightest pixel of the file");
        let wanted = Wanted { dtype: DType::Float32, shape: &[32, 32], quantization: None, range: (-1.0, 1.0) };
        let signed = load(&shipped("digit_3.png"), &wanted).unwrap().to_f64(None).unwrap();
        assert!(signed.iter().zip(&pixels).all(|(s, p)| (s - (p / 127.5 - 1.0)).abs() < 1e-6));
        let coarse = digit("digit_3.png", DType::Int8, &[32, 32], Some((0.001, 0))).unwrap().to_f64(None).unwrap();
        assert_eq!(coarse.iter().copied().fold(0.0, f64::max), 127.0);
    }

    #[test]
    fn unsuitable_inputs_and_files_are_explained() {
        let message = |r: Result<HostTensor>| format!("{:#}", r.unwrap_err());
        assert!(message(digit("digit_3.png", DType::Float32, &[1, 3, 32, 32], None)).contains("[1, 3, 32, 32] is not"));
        assert!(message(digit("digit_3.png", DType::Float32, &[1, 1 << 20, 1 << 20, 3], None)).contains("too many"));
        assert!(message(digit("digit_3.png", DType::Float32, &[1, 0, 4, 3], None)).contains("none"));
        assert!(message(digit("digit_3.png", DType::Int32, &[32, 32], None)).contains("int32 inputs"));
        assert!(message(digit("labels.txt", DType::Float32, &[32, 32], None)).starts_with("cannot read the image"));
        assert!(message(digit("none.png", DType::Float32, &[32, 32], None)).starts_with("cannot read the image"));
        assert!(is_image(Path::new("a/B.JPG")) && !is_image(Path::new("png")));
    }
}
