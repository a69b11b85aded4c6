//! A desktop program with a model inside: classifies a digit drawn in text, in this thread and on a pool of threads.

use tflc_runtime::pool::Pool;

tflc_runtime::include_model!(
    /// Handwritten digits, 32 by 32 pixels.
    mod digits
);

/// A three: one hexadecimal digit of brightness a pixel.
const DRAWING: [&str; 8] = ["02ee6000", "009cf500", "0002f800", "0003fa00", "0000cd10", "00007f50", "0146ce10", "03eda200"];

/// The drawing, four times as large in each direction, as the model takes it.
fn image() -> digits::Input0 {
    let mut image: digits::Input0 = [[[[0; 1]; 32]; 32]; 1];
    for (y, row) in image[0].iter_mut().enumerate() {
        for (x, pixel) in row.iter_mut().enumerate() {
            let ink = DRAWING[y / 4].as_bytes()[x / 4];
            let ink = (ink as char).to_digit(16).unwrap_or(0);
            pixel[0] = digits::INPUT0.quantize(ink as f32 / 15.0);
        }
    }
    image
}

fn best(scores: &digits::Output0) -> (usize, f32) {
    let real = scores[0].map(|s| digits::OUTPUT0.dequantize(s));
    (0..real.len()).map(|i| (i, real[i])).fold((0, 0.0), |best, one| if one.1 > best.1 { one } else { best })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut model = digits::Model::new();
    let scores = model.serving_default(&image())?;
    let (digit, score) = best(&scores);
    println!("{digit} {:.1} % by code for {}", score * 100.0, digits::descriptor()?.cpu());

    let pool = Pool::new(2)?;
    let mut again: digits::Output0 = [[0; 10]; 1];
    model.run_into(&image(), &mut again, Some(pool.workers()))?;
    assert_eq!(again, scores, "threads change nothing");
    Ok(())
}
