//! The custom operators AudioSpectrogram and Mfcc: power spectra of windows, and their mel-frequency cepstral coefficients.
//!
//! Sources: TFLite `kernels/audio_spectrogram.cc`, `kernels/mfcc.cc`, `kernels/internal/spectrogram.cc`, `mfcc_mel_filterbank.cc` and `mfcc_dct.cc`.

use crate::error::CompileError;
use crate::ir::DType::{Float32, Int32};
use crate::ops::call::{Call, Inferred};
use crate::ops::complex::fft;
use crate::ops::custom::options;
use crate::ops::flex_map::FlexMap;
use crate::ops::operator::{Args, Results};

/// Options of AudioSpectrogram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spectrogram {
    /// Samples of a window.
    pub(crate) window: usize,
    /// Samples from one window to the next.
    pub(crate) stride: usize,
    /// Whether the power is wanted, else the magnitude.
    pub(crate) squared: bool,
}

impl Spectrogram {
    /// From the flexbuffer of the options.
    pub(crate) fn parse(call: &Call<'_>) -> Result<Spectrogram, CompileError> {
        let map = FlexMap::parse(options(call)).ok_or_else(|| call.invalid("options are no flexbuffer map"))?;
        let size = |name: &str, least: i64| {
            let v = map.int(name).unwrap_or(-1);
            usize::try_from(v).ok().filter(|_| (least..=1 << 20).contains(&v)).ok_or_else(|| call.invalid(format!("{name} = {v}")))
        };
        Ok(Spectrogram {
            window: size("window_size", 2)?,
            stride: size("stride", 1)?,
            squared: map.int("magnitude_squared").unwrap_or(0) != 0,
        })
    }

    /// Windows of so many samples.
    pub(crate) fn frames(&self, samples: usize) -> usize {
        samples.checked_sub(self.window).map_or(0, |rest| 1 + rest / self.stride)
    }

    /// Length of the transform: a power of two.
    pub(crate) fn length(&self) -> usize {
        self.window.next_power_of_two()
    }

    /// Frequencies of the result.
    pub(crate) fn bins(&self) -> usize {
        1 + self.length() / 2
    }

    /// Hann's window, periodic.
    pub(crate) fn weights(&self) -> Vec<f64> {
        (0..self.window).map(|i| 0.5 - 0.5 * (2.0 * std::f64::consts::PI * i as f64 / self.window as f64).cos()).collect()
    }
}

/// The type of AudioSpectrogram's result: channels, windows, frequencies.
pub(super) fn infer_spectrogram(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    call.dtype_among(0, &[Float32])?;
    let [samples, channels] = call.dims::<2>(0)?;
    let s = Spectrogram::parse(call)?;
    Ok(vec![call.result(0, Float32, [channels, s.frames(samples), s.bins()])?])
}

/// AudioSpectrogram.
pub(super) fn spectrogram(args: &Args<'_>) -> Results {
    let s = Spectrogram::parse(args.call)?;
    let [samples, channels] = args.call.dims::<2>(0)?;
    let x = args.floats(0)?;
    let weights = s.weights();
    let mut out = Vec::with_capacity(args.ty().elements());
    for (channel, frame) in (0..channels).flat_map(|c| (0..s.frames(samples)).map(move |f| (c, f))) {
        let mut data = vec![(0f64, 0f64); s.length()];
        for (i, w) in weights.iter().enumerate() {
            data[i].0 = f64::from(x[(frame * s.stride + i) * channels + channel]) * w;
        }
        fft(&mut data);
        let power = data[..s.bins()].iter().map(|(re, im)| re * re + im * im);
        out.extend(power.map(|p| if s.squared { p as f32 } else { (p as f32).sqrt() }));
    }
    args.result(out)
}

/// Options of Mfcc.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Mfcc {
    /// Frequencies in Hz between which channels lie.
    pub(crate) limits: [f64; 2],
    /// Channels of the filter bank.
    pub(crate) channels: usize,
    /// Coefficients of the result.
    pub(crate) coefficients: usize,
}

/// What a channel holds at least before its logarithm is taken.
pub(crate) const FLOOR: f64 = 1e-12;

impl Mfcc {
    /// From the flexbuffer of the options.
    pub(crate) fn parse(call: &Call<'_>) -> Result<Mfcc, CompileError> {
        let map = FlexMap::parse(options(call)).ok_or_else(|| call.invalid("options are no flexbuffer map"))?;
        let size = |name: &str| {
            let v = map.int(name).unwrap_or(-1);
            usize::try_from(v).ok().filter(|v| (1..=1 << 12).contains(v)).ok_or_else(|| call.invalid(format!("{name} = {v}")))
        };
        let limit = |name: &str| map.float(name).map(f64::from).filter(|v| v.is_finite() && *v >= 0.0);
        let limits = [limit("lower_frequency_limit"), limit("upper_frequency_limit")];
        let [Some(low), Some(high)] = limits else { return Err(call.invalid(format!("frequency limits {limits:?}"))) };
        let mfcc = Mfcc { limits: [low, high], channels: size("filterbank_channel_count")?, coefficients: size("dct_coefficient_count")? };
        if high <= low || mfcc.coefficients > mfcc.channels {
            return Err(call.invalid(format!("{mfcc:?}")));
        }
        Ok(mfcc)
    }

    /// Weights of `bins` magnitudes in each channel, `[bins][channels]`: triangles that overlap by half on the mel scale, without the constant part.
    pub(crate) fn filters(&self, bins: usize, rate: f64) -> Vec<f64> {
        let mel = |hz: f64| 1127.0 * (hz / 700.0).ln_1p();
        let (low, high) = (mel(self.limits[0]), mel(self.limits[1]));
        let spacing = (high - low) / (self.channels + 1) as f64;
        let centres: Vec<f64> = (0..=self.channels).map(|i| low + spacing * (i + 1) as f64).collect();
        let hz_per_bin = 0.5 * rate / (bins.max(2) - 1) as f64;
        let (start, end) = ((1.5 + self.limits[0] / hz_per_bin) as usize, (self.limits[1] / hz_per_bin) as usize);
        let mut weights = vec![0.0; bins * self.channels];
        // The channels whose centres lie below the bin.
        let mut below = 0;
        for i in start..bins.min(end.saturating_add(1)) {
            let at = mel(i as f64 * hz_per_bin);
            while below < self.channels && centres[below] < at {
                below += 1;
            }
            let from = if below > 0 { centres[below - 1] } else { low };
            let share = (centres[below] - at) / (centres[below] - from);
            if below > 0 {
                weights[i * self.channels + below - 1] += share;
            }
            if below < self.channels {
                weights[i * self.channels + below] += 1.0 - share;
            }
        }
        weights
    }

    /// The cosine transform of the channels, `[channels][coefficients]`.
    pub(crate) fn cosines(&self) -> Vec<f64> {
        let n = self.channels as f64;
        let one = |j: usize, i: usize| (2.0 / n).sqrt() * (i as f64 * std::f64::consts::PI / n * (j as f64 + 0.5)).cos();
        (0..self.channels).flat_map(|j| (0..self.coefficients).map(move |i| one(j, i))).collect()
    }
}

/// The type of Mfcc's result: audio channels, windows, coefficients.
pub(super) fn infer_mfcc(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Float32])?;
    call.dtype_among(1, &[Int32])?;
    let [channels, frames, bins] = call.dims::<3>(0)?;
    if call.input(1)?.elements() != 1 || bins < 2 {
        return Err(call.invalid("a sample rate that is no scalar, or no spectrum"));
    }
    Ok(vec![call.result(0, Float32, [channels, frames, Mfcc::parse(call)?.coefficients])?])
}

/// Mfcc.
pub(super) fn mfcc(args: &Args<'_>) -> Results {
    let m = Mfcc::parse(args.call)?;
    let [.., bins] = args.call.dims::<3>(0)?;
    let rate = args.ints(1)?[0];
    if rate <= 0 {
        return Err(args.error(format!("a sample rate of {rate}")));
    }
    let (filters, cosines) = (m.filters(bins, rate as f64), m.cosines());
    let x = args.floats(0)?;
    let mut out = Vec::with_capacity(args.ty().elements());
    for spectrum in x.chunks_exact(bins) {
        let mut bands = vec![0f64; m.channels];
        for (v, row) in spectrum.iter().zip(filters.chunks_exact(m.channels)) {
            let magnitude = f64::from(*v).sqrt();
            bands.iter_mut().zip(row).filter(|(_, w)| **w != 0.0).for_each(|(b, w)| *b += magnitude * w);
        }
        let logs: Vec<f64> = bands.iter().map(|b| b.max(FLOOR).ln()).collect();
        out.extend(
            (0..m.coefficients).map(|i| logs.iter().enumerate().map(|(j, l)| l * cosines[j * m.coefficients + i]).sum::<f64>() as f32),
        );
    }
    args.result(out)
}
