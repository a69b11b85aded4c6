//! Reader of a flexbuffer map of numbers, which is how custom operators keep their options.
//!
//! Every access is checked; what is not a number is absent. Source: FlatBuffers, `flexbuffers.h` and the format description
//! (`docs/source/internals.md`, FlexBuffers).

/// A map from names to numbers.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct FlexMap {
    entries: Vec<(String, Number)>,
}

/// A number.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Number {
    Int(i64),
    Float(f64),
}

/// The most entries that are read.
const ENTRIES: usize = 256;

impl FlexMap {
    /// Reads the root of `data`; `None` where it is no map.
    pub(super) fn parse(data: &[u8]) -> Option<FlexMap> {
        let root_width = *data.last()? as usize;
        let root_type = *data.get(data.len().checked_sub(2)?)?;
        let at = data.len().checked_sub(2 + root_width)?;
        if root_type >> 2 != 9 {
            return None;
        }
        let values = at.checked_sub(unsigned(data, at, root_width)? as usize)?;
        let width = 1usize << (root_type & 3);
        let count = (unsigned(data, values.checked_sub(width)?, width)? as usize).min(ENTRIES);
        let keys_at = values.checked_sub(3 * width)?;
        let keys = keys_at.checked_sub(unsigned(data, keys_at, width)? as usize)?;
        let key_width = unsigned(data, values.checked_sub(2 * width)?, width)? as usize;
        let types = values.checked_add(count.checked_mul(width)?)?;
        let mut entries = vec![];
        for i in 0..count {
            let key_at = keys.checked_add(i * key_width)?;
            let key = key_at.checked_sub(unsigned(data, key_at, key_width)? as usize)?;
            let name = data.get(key..)?.split(|b| *b == 0).next()?;
            if let Some(number) = value(data, values + i * width, width, *data.get(types + i)?) {
                entries.push((String::from_utf8_lossy(name).into_owned(), number));
            }
        }
        Some(FlexMap { entries })
    }

    fn get(&self, name: &str) -> Option<Number> {
        self.entries.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    /// An integer or truth value; floats are truncated.
    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.get(name).map(|n| match n {
            Number::Int(v) => v,
            Number::Float(v) => v as i64,
        })
    }

    /// A number as binary32.
    pub(super) fn float(&self, name: &str) -> Option<f32> {
        self.get(name).map(|n| match n {
            Number::Int(v) => v as f32,
            Number::Float(v) => v as f32,
        })
    }
}

/// The value at `at` of a packed type; indirect numbers are followed.
fn value(data: &[u8], at: usize, width: usize, packed: u8) -> Option<Number> {
    let far = || -> Option<(usize, usize)> { Some((at.checked_sub(unsigned(data, at, width)? as usize)?, 1usize << (packed & 3))) };
    match packed >> 2 {
        1 => signed(data, at, width).map(Number::Int),
        2 | 26 => unsigned(data, at, width).map(|v| Number::Int(v as i64)),
        3 => float(data, at, width).map(Number::Float),
        6 => far().and_then(|(at, w)| signed(data, at, w)).map(Number::Int),
        7 => far().and_then(|(at, w)| unsigned(data, at, w)).map(|v| Number::Int(v as i64)),
        8 => far().and_then(|(at, w)| float(data, at, w)).map(Number::Float),
        _ => None,
    }
}

fn unsigned(data: &[u8], at: usize, width: usize) -> Option<u64> {
    if !matches!(width, 1 | 2 | 4 | 8) {
        return None;
    }
    let bytes = data.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |v, b| v << 8 | *b as u64))
}

fn signed(data: &[u8], at: usize, width: usize) -> Option<i64> {
    let shift = 64 - 8 * width as u32;
    unsigned(data, at, width).map(|v| ((v << shift) as i64) >> shift)
}

fn float(data: &[u8], at: usize, width: usize) -> Option<f64> {
    let bits = unsigned(data, at, width)?;
    match width {
        4 => Some(f32::from_bits(bits as u32) as f64),
        8 => Some(f64::from_bits(bits)),
        2 => Some(half::f16::from_bits(bits as u16).to_f64()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_and_damage_is_no_panic() {
        // {"a": 5, "b": 1.5}, as FlatBuffers 25 writes it.
        let data = [b'a', 0, b'b', 0, 0, 0, 0xc0, 0x3f, 2, 9, 8, 0, 0, 0];
        assert!(FlexMap::parse(&data).is_none());
        let good: Vec<u8> = vec![
            b'a', 0, b'b', 0, // keys
            2, 5, 4, // vector of keys: length, offsets
            0, // padding
            3, 0, 0, 0, // to the keys
            1, 0, 0, 0, // width of the keys' offsets
            2, 0, 0, 0, // length
            5, 0, 0, 0, // a
            0, 0, 0xc0, 0x3f, // b
            4, 14, // types: int (1 byte), float (4 bytes)
            10, 38, 1,
        ];
        let map = FlexMap::parse(&good).unwrap();
        assert_eq!((map.int("a"), map.float("b"), map.int("c")), (Some(5), Some(1.5), None));
        for i in 0..good.len() {
            for bad in [0, 1, 127, 255] {
                let mut broken = good.clone();
                broken[i] = bad;
                let _ = FlexMap::parse(&broken);
            }
            let _ = FlexMap::parse(&good[..i]);
        }
    }
}
