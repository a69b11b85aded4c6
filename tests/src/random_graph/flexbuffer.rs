//! Flexbuffer maps of integers and floats, as options of custom operators are stored.
//!
//! Source: FlatBuffers, `include/flatbuffers/flexbuffers.h`: keys in order, a vector of offsets to them, a vector of values of four bytes and their types.

/// A value of a map.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Flex {
    /// A signed integer.
    Int(i32),
    /// A float.
    Float(f32),
}

/// The bytes of a map.
pub(super) fn map(entries: &[(&str, Flex)]) -> Vec<u8> {
    let mut entries = entries.to_vec();
    entries.sort_by_key(|e| e.0);
    let mut out = vec![];
    let places: Vec<usize> = entries
        .iter()
        .map(|(key, _)| {
            let at = out.len();
            out.extend(key.bytes());
            out.push(0);
            at
        })
        .collect();
    out.resize(out.len().next_multiple_of(4), 0);
    let word = |out: &mut Vec<u8>, v: usize| out.extend((v as u32).to_le_bytes());
    word(&mut out, entries.len());
    let keys = out.len();
    for place in places {
        let distance = out.len() - place;
        word(&mut out, distance);
    }
    let distance = out.len() - keys;
    word(&mut out, distance);
    word(&mut out, 4);
    word(&mut out, entries.len());
    let values = out.len();
    for (_, v) in &entries {
        out.extend(match v {
            Flex::Int(v) => v.to_le_bytes(),
            Flex::Float(v) => v.to_le_bytes(),
        });
    }
    // A type is shifted by two; the low bits say how wide the value is: 2 is four bytes.
    out.extend(entries.iter().map(|(_, v)| if matches!(v, Flex::Int(_)) { 1 << 2 | 2 } else { 3 << 2 | 2 }));
    let distance = out.len() - values;
    out.extend([distance as u8, 9 << 2 | 2, 1]);
    out
}
