//! Types, quantisation, constants and attribute values.

use super::Parser;
use crate::ir::print::RESERVED;
use crate::ir::{Affine, AttrValue, DType, Quantization, TensorType, literal};
use tflc_templates::text::{Cursor, ParseErrorKind, Result, Token};

/// The most dimensions of a tensor.
const MAX_RANK: usize = 32;
/// The most elements of a tensor, counting empty dimensions as one: all sizes in bytes then fit 64 bits.
const MAX_ELEMENTS: usize = 1 << 48;

/// Whether a number is written as a float.
fn is_float(number: &str) -> bool {
    !number.starts_with("0x") && number.contains(['.', 'e', 'E'])
}

impl Parser<'_> {
    /// Items in brackets, separated by commas.
    pub(super) fn list<T>(&mut self, expected: &'static str, mut item: impl FnMut(&mut Cursor<'_>) -> Result<T>) -> Result<Vec<T>> {
        self.cursor.punct("[", expected)?;
        let mut items = vec![];
        if !self.cursor.accept("]")? {
            loop {
                items.push(item(&mut self.cursor)?);
                if !self.cursor.accept(",")? {
                    break;
                }
            }
            self.cursor.punct("]", "`,` or `]`")?;
        }
        Ok(items)
    }

    /// `int8[1,2,3] {quantisation}`
    pub(super) fn ty(&mut self) -> Result<TensorType> {
        let dtype = match self.cursor.token() {
            Token::Word(w) => DType::from_name(w),
            _ => None,
        };
        let Some(dtype) = dtype else { return self.cursor.expected("an element type such as `float32`") };
        self.cursor.advance()?;
        let at = self.cursor.offset();
        let shape = self.list("`[` and the dimensions", |c| c.int::<usize>("a dimension"))?;
        let elements = shape.iter().try_fold(1usize, |n, d| n.checked_mul((*d).max(1)));
        if shape.len() > MAX_RANK || elements.is_none_or(|n| n > MAX_ELEMENTS) {
            return self.cursor.error_at(at, ParseErrorKind::Limit("dimensions or elements of a tensor"));
        }
        let quant = if self.cursor.accept("{")? { self.quant()? } else { Quantization::None };
        Ok(TensorType { dtype, shape, quant })
    }

    /// Quantisation up to the closing brace.
    fn quant(&mut self) -> Result<Quantization> {
        let quant = match self.cursor.token() {
            Token::Word("scale") => self.scales()?,
            Token::Word("scales") => {
                self.cursor.advance()?;
                let scales = self.tensor()?;
                self.cursor.punct(",", "`,`")?;
                let zero_points = if self.cursor.accept_word("zeros")? {
                    let zeros = self.tensor()?;
                    self.cursor.punct(",", "`,`")?;
                    Some(zeros)
                } else {
                    None
                };
                if !self.cursor.accept_word("block")? {
                    return self.cursor.expected("`zeros` or `block`");
                }
                Quantization::Blockwise { scales, zero_points, block_size: self.cursor.int("the size of a block")? }
            }
            Token::Word("custom") => {
                self.cursor.advance()?;
                Quantization::Custom(self.bytes()?.into())
            }
            _ => return self.cursor.expected("`scale`, `scales` or `custom`"),
        };
        self.cursor.punct("}", "`,` or `}`")?;
        Ok(quant)
    }

    /// `scale 0.5, zero 3`, with lists and an axis, or axes.
    fn scales(&mut self) -> Result<Quantization> {
        self.cursor.advance()?;
        let is_list = |c: &Cursor<'_>| c.token() == Token::Punct("[");
        let many = is_list(&self.cursor);
        let scale = if many { self.list("scales", |c| c.f32("a scale"))? } else { vec![self.cursor.f32("a scale or `[`")?] };
        self.cursor.punct(",", "`,` and the zero point")?;
        if !self.cursor.accept_word("zero")? {
            return self.cursor.expected("`zero`");
        }
        let zero_point = if is_list(&self.cursor) {
            self.list("zero points", |c| c.int("a zero point"))?
        } else {
            vec![self.cursor.int("a zero point or `[`")?; scale.len()]
        };
        if !many && !self.cursor.accept(",")? {
            return Ok(Quantization::Affine(Affine { scale, zero_point, axis: 0 }));
        }
        if many {
            self.cursor.punct(",", "`,` and the axis")?;
        }
        if self.cursor.accept_word("axis")? {
            Ok(Quantization::Affine(Affine { scale, zero_point, axis: self.cursor.int("an axis")? }))
        } else if self.cursor.accept_word("axes")? {
            Ok(Quantization::MultiAxis { scale, zero_point, axes: self.list("`[` and the axes", |c| c.int("an axis"))? })
        } else {
            self.cursor.expected("`axis` or `axes`")
        }
    }

    /// `hex "…"`
    pub(super) fn bytes(&mut self) -> Result<Vec<u8>> {
        if self.cursor.accept_word("hex")? {
            return self.cursor.hex();
        }
        self.left_out()?;
        self.cursor.expected("`hex` and bytes")
    }

    /// The error that a text for reading was given where all of it is needed.
    fn left_out(&self) -> Result<()> {
        match self.cursor.token() {
            Token::Punct("<") => self.cursor.expected("the whole value; this text was printed for reading and leaves it out"),
            _ => Ok(()),
        }
    }

    /// The bytes of a constant of a type.
    pub(super) fn constant(&mut self, ty: &TensorType) -> Result<Vec<u8>> {
        let (dtype, count) = (ty.dtype, ty.elements());
        let at = self.cursor.offset();
        if self.cursor.accept_word("splat")? {
            match dtype.bytes(count) {
                Some(bytes) if bytes <= self.splat_bytes => self.splat_bytes -= bytes,
                _ => return self.cursor.error_at(at, ParseErrorKind::Limit("bytes of `splat` constants")),
            }
            let element = literal::parse(&mut self.cursor, dtype)?;
            return Ok(literal::splat(dtype, element, count));
        }
        if self.cursor.token() != Token::Punct("[") {
            self.left_out()?;
            return if self.cursor.token() == Token::Word("hex") { self.bytes() } else { self.cursor.expected("`[`, `splat` or `hex`") };
        }
        let elements = self.list("elements", |c| literal::parse(c, dtype))?;
        if elements.len() != count {
            return self.cursor.error_at(at, ParseErrorKind::Count { what: "elements", expected: count, got: elements.len() });
        }
        Ok(literal::pack(dtype, &elements))
    }

    /// A value of an attribute.
    pub(super) fn attr(&mut self) -> Result<AttrValue> {
        self.left_out()?;
        match self.cursor.token() {
            Token::Number(_) | Token::Punct("-") => {
                if float_ahead(&self.cursor)? {
                    Ok(AttrValue::Float(self.cursor.f32("a 32-bit float")?))
                } else {
                    Ok(AttrValue::Int(self.cursor.int("a 64-bit integer")?))
                }
            }
            Token::Word("inf" | "nan") => Ok(AttrValue::Float(self.cursor.f32("a 32-bit float")?)),
            Token::Word(w @ ("true" | "false")) => self.cursor.advance().map(|_| AttrValue::Bool(w == "true")),
            Token::Word("hex") => Ok(AttrValue::Bytes(self.bytes()?.into())),
            Token::Word("enum") => {
                self.cursor.advance()?;
                Ok(AttrValue::Enum(self.cursor.string("a name in quotes")?))
            }
            Token::Word("floats") => {
                self.cursor.advance()?;
                Ok(AttrValue::Floats(self.list("`[`", |c| c.f32("a 32-bit float"))?))
            }
            Token::Word(w) if !RESERVED.contains(&w) => self.cursor.advance().map(|_| AttrValue::Enum(w.to_string())),
            Token::Quoted(_) => Ok(AttrValue::Str(self.cursor.string("a text")?)),
            Token::Symbol(_) => Ok(AttrValue::Graph(self.graph_id()?)),
            Token::Punct("(") => Ok(AttrValue::Expr(Box::new(tflc_templates::expr::parse::parse_at(&mut self.cursor)?))),
            Token::Punct("[") => {
                let mut ahead = self.cursor.clone();
                ahead.advance()?;
                if float_ahead(&ahead)? {
                    Ok(AttrValue::Floats(self.list("`[`", |c| c.f32("a 32-bit float"))?))
                } else {
                    Ok(AttrValue::Ints(self.list("`[`", |c| c.int("a 64-bit integer"))?))
                }
            }
            _ => self.cursor.expected("an attribute's value"),
        }
    }
}

/// Whether a float stands at a cursor, after an optional sign.
fn float_ahead(cursor: &Cursor<'_>) -> Result<bool> {
    let mut ahead = cursor.clone();
    ahead.accept("-")?;
    Ok(match ahead.token() {
        Token::Number(n) => is_float(n),
        token => matches!(token, Token::Word("inf" | "nan")),
    })
}
