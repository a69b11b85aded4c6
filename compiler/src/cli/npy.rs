//! Arrays in NumPy's `.npy` format, read and written without knowing the element type beforehand.
//!
//! Takes every fixed-width numeric type in either byte order, row-major or column-major, format versions 1 to 3; gives
//! row-major little-endian [`HostTensor`]s. Strings and Python objects are recognised and refused by name. A header that
//! promises more than the file holds never makes it allocate more than the file gives.
//!
//! Source of the format: NumPy's `numpy.lib.format`, NEP 1.

use crate::cli::tensor::{HostTensor, byte_len};
use crate::ir::DType;
use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header that is read; NumPy itself writes headers below 200 bytes for numeric arrays.
const HEADER_LIMIT_BYTES: usize = 1 << 16;

/// What the header of an array says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Element type, or the NumPy type string of one that cannot be read (strings, objects, records).
    pub dtype: Result<DType, String>,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    big_endian: bool,
    column_major: bool,
}

impl Header {
    /// Reads magic, version and header, and leaves `source` at the first element.
    ///
    /// # Errors
    /// Where that is not the beginning of an array.
    pub fn read(source: &mut impl Read) -> Result<Header> {
        let mut start = [0; 8];
        source.read_exact(&mut start).context("the array ends inside its header")?;
        ensure!(&start[..6] == MAGIC, "not a NumPy array: it does not begin with \\x93NUMPY");
        let len = match start[6] {
            1 => {
                let mut len = [0; 2];
                source.read_exact(&mut len).context("the array ends inside its header")?;
                usize::from(u16::from_le_bytes(len))
            }
            2 | 3 => {
                let mut len = [0; 4];
                source.read_exact(&mut len).context("the array ends inside its header")?;
                u32::from_le_bytes(len) as usize
            }
            v => bail!("NumPy array format version {v} is not known"),
        };
        ensure!(len <= HEADER_LIMIT_BYTES, "the header of the array claims {len} bytes");
        let mut text = vec![0; len];
        source.read_exact(&mut text).context("the array ends inside its header")?;
        let text = String::from_utf8_lossy(&text);
        parse(&text).with_context(|| format!("header {:?}", text.trim()))
    }

    /// Reads the elements that follow the header.
    ///
    /// # Errors
    /// Where the type is not numeric, the file ends early, or the array is too large to address.
    pub fn read_data(&self, source: &mut impl Read) -> Result<HostTensor> {
        let dtype = match &self.dtype {
            Ok(d) => *d,
            Err(name) => bail!("elements of NumPy type {name:?} are not numbers"),
        };
        let len = byte_len(dtype, &self.shape)?;
        let mut data = vec![];
        source.take(len as u64).read_to_end(&mut data).context("the elements cannot be read")?;
        ensure!(data.len() == len, "the array ends after {} of {len} bytes", data.len());
        if self.big_endian {
            let part = if matches!(dtype, DType::Complex64 | DType::Complex128) { dtype.bits() / 16 } else { dtype.bits() / 8 };
            data.chunks_exact_mut(part).for_each(<[u8]>::reverse);
        }
        if self.column_major && self.shape.len() > 1 {
            data = row_major(&data, &self.shape, dtype.bits() / 8);
        }
        HostTensor::new(dtype, &self.shape, data)
    }
}

/// Reads one array: header and elements.
///
/// # Errors
/// As [`Header::read`] and [`Header::read_data`].
pub fn read(source: &mut impl Read) -> Result<HostTensor> {
    Header::read(source)?.read_data(source)
}

/// Writes one array in format version 1.
///
/// # Errors
/// Where `sink` fails, and for types that NumPy does not have.
pub fn write(tensor: &HostTensor, sink: &mut impl Write) -> Result<()> {
    let code = TYPES.iter().find(|(_, d)| *d == tensor.dtype).with_context(|| format!("NumPy has no type {}", tensor.dtype))?.0;
    let order = if code.ends_with('1') { '|' } else { '<' };
    let mut shape = tensor.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    if tensor.shape.len() == 1 {
        shape.push(',');
    }
    let mut text = format!("{{'descr': '{order}{code}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Magic, version, length, text and the final newline together fill a multiple of 64 bytes.
    let padding = (64 - (10 + text.len() + 1) % 64) % 64;
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    sink.write_all(MAGIC)?;
    sink.write_all(&[1, 0])?;
    sink.write_all(&u16::try_from(text.len()).context("too many dimensions for a NumPy array")?.to_le_bytes())?;
    sink.write_all(text.as_bytes())?;
    sink.write_all(&tensor.data)?;
    Ok(())
}

/// NumPy's kind and width, and the element type.
const TYPES: &[(&str, DType)] = &[
    ("b1", DType::Bool),
    ("i1", DType::Int8),
    ("u1", DType::UInt8),
    ("i2", DType::Int16),
    ("u2", DType::UInt16),
    ("i4", DType::Int32),
    ("u4", DType::UInt32),
    ("i8", DType::Int64),
    ("u8", DType::UInt64),
    ("f2", DType::Float16),
    ("f4", DType::Float32),
    ("f8", DType::Float64),
    ("c8", DType::Complex64),
    ("c16", DType::Complex128),
];

/// Parses the dictionary of a header; keys may come in any order.
fn parse(text: &str) -> Result<Header> {
    let descr = value(text, "descr")?;
    let column_major = match value(text, "fortran_order")? {
        v if v.starts_with("True") => true,
        v if v.starts_with("False") => false,
        _ => bail!("fortran_order is neither True nor False"),
    };
    let inside = value(text, "shape")?.strip_prefix('(').and_then(|s| s.split(')').next()).context("the shape is not a tuple")?;
    let parts = inside.split(',').map(str::trim).filter(|s| !s.is_empty());
    let shape =
        parts.map(|s| s.parse::<usize>().with_context(|| format!("the extent {s:?} is not a number"))).collect::<Result<Vec<_>>>()?;
    ensure!(shape.len() <= 32, "the array has {} dimensions", shape.len());
    let Some(name) = descr.strip_prefix('\'').and_then(|s| s.split('\'').next()) else {
        return Ok(Header { dtype: Err("a record".into()), shape, big_endian: false, column_major });
    };
    let dtype = TYPES.iter().find(|(code, _)| name.strip_prefix(['<', '>', '|', '=']) == Some(code)).map(|t| t.1);
    Ok(Header { dtype: dtype.ok_or_else(|| name.to_string()), shape, big_endian: name.starts_with('>'), column_major })
}

/// The text behind `'key':`.
fn value<'a>(text: &'a str, key: &str) -> Result<&'a str> {
    let quoted = format!("'{key}':");
    let at = text.find(&quoted).with_context(|| format!("there is no {key}"))?;
    Ok(text[at + quoted.len()..].trim_start())
}

/// Reorders column-major elements of `width` bytes.
fn row_major(data: &[u8], shape: &[usize], width: usize) -> Vec<u8> {
    let mut result = Vec::with_capacity(data.len());
    let mut index = vec![0; shape.len()];
    for _ in 0..data.len() / width {
        let at = index.iter().zip(shape).rev().fold(0, |at, (&i, &n)| at * n + i) * width;
        result.extend_from_slice(&data[at..at + width]);
        for (i, &n) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < n {
                break;
            }
            *i = 0;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn every_type_survives_writing_and_reading() {
        for (_, dtype) in TYPES {
            for shape in [&[][..], &[3], &[2, 0], &[2, 3, 1]] {
                let len = byte_len(*dtype, shape).unwrap();
                let tensor = HostTensor::new(*dtype, shape, (0..len).map(|i| i as u8).collect()).unwrap();
                let mut bytes = vec![];
                write(&tensor, &mut bytes).unwrap();
                assert_eq!((bytes.len() - len) % 64, 0);
                assert_eq!(read(&mut &bytes[..]).unwrap(), tensor);
            }
        }
    }

    #[test]
    fn column_major_and_big_endian_are_reordered() {
        let bytes = file("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }", &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6]);
        assert_eq!(read(&mut &bytes[..]).unwrap().to_f64(None).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let bytes = file("{'descr': '>c8', 'fortran_order': False, 'shape': (1,), }", &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(read(&mut &bytes[..]).unwrap().data, [4, 3, 2, 1, 8, 7, 6, 5]);
    }

    #[test]
    fn strings_are_named_and_refused() {
        let bytes = file("{'descr': '<U4', 'fortran_order': False, 'shape': (), }", &[0; 16]);
        let header = Header::read(&mut &bytes[..]).unwrap();
        assert_eq!(header.dtype, Err("<U4".to_string()));
        assert!(read(&mut &bytes[..]).unwrap_err().to_string().contains("not numbers"));
    }

    #[test]
    fn damaged_files_give_errors_and_small_allocations() {
        let huge = file("{'descr': '<f4', 'fortran_order': False, 'shape': (999999999, 1000), }", &[0; 8]);
        assert_eq!(read(&mut &huge[..]).unwrap_err().to_string(), "the array ends after 8 of 3999999996000 bytes");
        let overflow = file("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999, 10), }", &[]);
        assert!(read(&mut &overflow[..]).is_err());
        for header in [
            "",
            "{}",
            "{'descr': '<f4'}",
            "{'descr': '<f4', 'fortran_order': 3, 'shape': (), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        ] {
            assert!(read(&mut &file(header, &[0; 4])[..]).is_err(), "{header}");
        }
        let mut good = vec![];
        write(&HostTensor::new(DType::Float32, &[2], vec![0; 8]).unwrap(), &mut good).unwrap();
        for end in 0..good.len() {
            assert!(read(&mut &good[..end]).is_err(), "{end}");
        }
    }
}
