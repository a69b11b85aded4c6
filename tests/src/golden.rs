//! Models with LiteRT's answers beside them: reading the answers, and judging outputs by them.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use tflc::cli::HostTensor;
use tflc::cli::npz::Npz;
use tflc::cli::verify::{Distance, distance};
use tflc::ir::{DType, Model};
use tflc::ops::packed::byte_type;

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Models of a folder that have a golden file beside them.
pub fn models(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|d| {
            d.flatten()
                .map(|e| e.path())
                .filter(|p| p.extension().is_some_and(|e| e == "tflite") && p.with_extension("npz").exists())
                .collect()
        })
        .unwrap_or_default();
    all.sort();
    all
}

/// Models of `../shared/corpus`, where `TFLC_CORPUS` asks for them, and whether these are all: it is 1, or parts of names with commas between.
pub fn corpus() -> Option<(Vec<PathBuf>, bool)> {
    let wanted = std::env::var("TFLC_CORPUS").ok()?;
    let mut all = models(&root().join("../shared/corpus"));
    let whole = wanted == "1";
    let named = |p: &PathBuf| p.file_name().is_some_and(|name| wanted.split(',').any(|w| name.to_string_lossy().contains(w)));
    all.retain(|p| whole || named(p));
    Some((all, whole))
}

/// How far an output may be from LiteRT's, or from twice what LiteRT's own two paths are apart.
fn close(d: &Distance, dtype: DType, spread: &Distance) -> bool {
    let share = |d: &Distance| d.differing as f64 / d.elements.max(1) as f64;
    d.same_special
        && match dtype {
            DType::Int8 | DType::UInt8 | DType::Int16 | DType::UInt16 => d.max_ulp <= 1.max(2 * spread.max_ulp),
            t if t.is_float() => d.max_rel <= 5e-4f64.max(2.0 * spread.max_rel),
            _ => share(d) <= 1e-3f64.max(2.0 * share(spread)),
        }
}

/// Inputs and answers of a model.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Inputs, in the order of the graph.
    pub inputs: Vec<HostTensor>,
    /// Outputs of LiteRT's default path, and of its reference kernels where the file has them.
    pub outputs: Vec<(HostTensor, Option<HostTensor>)>,
}

impl Golden {
    /// Reads the golden file beside a model.
    ///
    /// # Errors
    /// Where it cannot be read or lacks an array.
    pub fn read(path: &Path, model: &Model) -> Result<Golden> {
        let mut npz = Npz::open(&path.with_extension("npz"))?;
        let graph = &model.graphs[0];
        let arrays: Vec<String> = npz.names().map(str::to_string).collect();
        let mut read = |prefix: &str, list: &[tflc::ir::TensorId]| -> Result<Vec<Option<HostTensor>>> {
            let named: Vec<&String> = arrays.iter().filter(|n| n.starts_with(prefix)).collect();
            list.iter()
                .enumerate()
                .map(|(i, t)| {
                    let name = format!("{prefix}{}", graph.tensor(*t).name);
                    // Tensors that share a name carry an index in the file; their order is that of the graph.
                    let name = if list[..i].iter().any(|u| graph.tensor(*u).name == graph.tensor(*t).name) {
                        named.get(i).map(|n| n.to_string())
                    } else {
                        Some(name)
                    };
                    match name {
                        Some(n) if arrays.contains(&n) => {
                            let (array, dtype) = (npz.read(&n)?, graph.ty(*t).dtype);
                            // A model takes packed integers packed; outputs are compared as bytes.
                            Ok(Some(if prefix == "in/" && byte_type(dtype).is_some() { array.packed(dtype)? } else { array }))
                        }
                        _ => Ok(None),
                    }
                })
                .collect()
        };
        let inputs = read("in/", &graph.inputs)?.into_iter().collect::<Option<Vec<_>>>().context("an input is missing")?;
        let out = read("out/", &graph.outputs)?.into_iter().collect::<Option<Vec<_>>>().context("an output is missing")?;
        let reference = read("ref/", &graph.outputs)?;
        Ok(Golden { inputs, outputs: out.into_iter().zip(reference).collect() })
    }

    /// Judges outputs.
    ///
    /// # Errors
    /// Where one is too far from both of LiteRT's paths.
    pub fn check(&self, got: &[HostTensor]) -> Result<()> {
        for (i, (got, (want, reference))) in got.iter().zip(&self.outputs).enumerate() {
            let d = distance(got, want).with_context(|| format!("output {i}"))?;
            let spread = reference.as_ref().and_then(|r| distance(r, want).ok()).unwrap_or_default();
            // LiteRT's two paths may differ; to be as close to one as to the other is right.
            let near = close(&d, want.dtype, &spread)
                || reference.as_ref().is_some_and(|r| distance(got, r).is_ok_and(|d| close(&d, want.dtype, &Distance::default())));
            if !near {
                bail!("output {i}: {d:?}; LiteRT's own spread {spread:?}");
            }
        }
        Ok(())
    }

    /// Whether outputs of integers are those of LiteRT's default path, bit for bit.
    ///
    /// # Errors
    /// Where one differs.
    pub fn check_integers(&self, got: &[HostTensor]) -> Result<()> {
        for (i, (got, (want, _))) in got.iter().zip(&self.outputs).enumerate() {
            if !want.dtype.is_float() && want.dtype != DType::Complex64 && got != want {
                bail!("output {i}: {:?} where LiteRT's integers are expected", distance(got, want)?);
            }
        }
        Ok(())
    }
}
