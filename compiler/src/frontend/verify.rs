//! Proves that a file is a well-formed model before anything reads it.
//!
//! In: any bytes. Out: the root table, or the first thing that is wrong, with its byte and its path of fields. The
//! walk follows the definitions of [`super::schema::def`]: every reference, field list, vector and string that the
//! reader could follow is checked to lie inside the file, and strings to be UTF-8.
//!
//! References lead forward and the schema's types do not nest in themselves, so no walk is endless; but a table may be
//! referred to many times, and levels of that multiply. So the walk counts what it visits: tables, and bytes, each
//! time they are reached, and stops at [`Limits`]. What passes can be walked and copied in time and space proportional
//! to the file.
//!
//! Not checked: alignment (the reader does not need it), terminators of strings (it does not use them), values of a
//! newer schema's union types (it cannot reach them), and whether indices mean anything (the importer does that).

use super::error::{FieldPath, FrontendError, LimitKind, Location, Malformation, PathStep};
use super::schema::def::{FieldDef, FieldType, TableDef, UnionDef};
use super::schema::{FILE_IDENTIFIER, Model, RawTable, Ref, SCHEMA_VERSION, SchemaTable, read};
use super::sniff::FileKind;

/// Bounds on what a file may make the compiler do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tables inside tables; the schema's deepest chain has 6.
    pub depth: u32,
    /// Tables, each counted as often as it is referred to.
    pub tables: u64,
    /// How many times larger than the file the model may be when shared parts count as often as they are used.
    pub expansion: u64,
}

impl Default for Limits {
    /// Depth 16, two million tables, expansion 4.
    fn default() -> Self {
        Self { depth: 16, tables: 2_000_000, expansion: 4 }
    }
}

/// What a table counts in addition to its fields. In memory even an empty table takes some hundred bytes, so a file
/// that is a heap of empty tables must not pass as small; in converters' files tables have about this many bytes.
const TABLE_BYTES: usize = 32;

/// What a small file may expand to in any case, in bytes.
const FREE_EXPANSION_BYTES: u64 = 64 << 10;

/// The root of `bytes`, after checking everything that can be reached from it.
///
/// # Errors
///
/// [`FrontendError::NotAModel`] where the identifier is missing, [`FrontendError::Malformed`] where something leads
/// outside the file, [`FrontendError::LimitExceeded`] where a limit is passed, [`FrontendError::Version`] where the
/// schema version is not 3.
pub fn verify<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Ref<'a, Model>, FrontendError> {
    if bytes.get(4..8) != Some(FILE_IDENTIFIER.as_bytes()) {
        return Err(FrontendError::NotAModel { kind: FileKind::of(bytes), at: Location::default() });
    }
    let mut verifier = Verifier {
        bytes,
        limits: *limits,
        path: FieldPath::default(),
        depth: 0,
        tables: 0,
        expanded: 0,
        max_expanded: to_u64(bytes.len()).saturating_mul(limits.expansion).saturating_add(FREE_EXPANSION_BYTES),
    };
    let root = verifier.follow(0)?;
    verifier.table(root, Model::DEF)?;
    let model: Ref<'a, Model> = Ref::new(RawTable::new(bytes, root));
    if model.version() != SCHEMA_VERSION {
        let byte = model.raw().field_position(0).map(to_u64);
        let at = Location { file: None, byte, path: FieldPath::default().field("version") };
        return Err(FrontendError::Version { version: model.version(), at });
    }
    Ok(model)
}

struct Verifier<'a> {
    bytes: &'a [u8],
    limits: Limits,
    path: FieldPath,
    depth: u32,
    tables: u64,
    expanded: u64,
    max_expanded: u64,
}

type Verified<T = ()> = Result<T, FrontendError>;

impl Verifier<'_> {
    fn file_bytes(&self) -> u64 {
        to_u64(self.bytes.len())
    }

    fn location(&self, at: usize) -> Location {
        Location { file: None, byte: Some(to_u64(at)), path: self.path.clone() }
    }

    fn malformed(&self, cause: Malformation, at: usize) -> FrontendError {
        FrontendError::Malformed { cause, at: self.location(at) }
    }

    fn exceeded(&self, limit: LimitKind, allowed: u64, at: usize) -> FrontendError {
        FrontendError::LimitExceeded { limit, allowed, at: self.location(at) }
    }

    /// Counts `len` bytes as visited.
    fn expand(&mut self, len: usize, at: usize) -> Verified {
        self.expanded = self.expanded.saturating_add(to_u64(len));
        if self.expanded > self.max_expanded {
            return Err(self.exceeded(LimitKind::ExpandedBytes, self.max_expanded, at));
        }
        Ok(())
    }

    /// Runs `check` with `step` at the end of the path, which stays there if it fails.
    fn step<T>(&mut self, step: PathStep, check: impl FnOnce(&mut Self) -> Verified<T>) -> Verified<T> {
        self.path.push(step);
        let result = check(self)?;
        self.path.pop();
        Ok(result)
    }

    /// Where the reference stored at `at` leads.
    fn follow(&mut self, at: usize) -> Verified<usize> {
        let file_bytes = self.file_bytes();
        let Some(distance) = read::<u32>(self.bytes, at) else {
            return Err(self.malformed(Malformation::FieldOutside { file_bytes }, at));
        };
        if distance == 0 {
            return Err(self.malformed(Malformation::NullReference, at));
        }
        let target = usize::try_from(distance).ok().and_then(|distance| at.checked_add(distance));
        match target {
            Some(target) if target < self.bytes.len() => Ok(target),
            _ => Err(self.malformed(Malformation::ReferenceOutside { file_bytes }, at)),
        }
    }

    /// Checks the vector that the reference at `at` leads to; returns where its elements start, and their number.
    fn vector(&mut self, at: usize, element_bytes: usize) -> Verified<(usize, usize)> {
        let vector = self.follow(at)?;
        let file_bytes = self.file_bytes();
        let Some(elements) = read::<u32>(self.bytes, vector) else {
            return Err(self.malformed(Malformation::ReferenceOutside { file_bytes }, at));
        };
        let start = vector.saturating_add(4);
        let count = usize::try_from(elements).unwrap_or(usize::MAX);
        let len = count.saturating_mul(element_bytes);
        if start.checked_add(len).is_none_or(|end| end > self.bytes.len()) {
            return Err(self.malformed(Malformation::VectorOutside { elements, element_bytes, file_bytes }, vector));
        }
        self.expand(len.saturating_add(4), vector)?;
        Ok((start, count))
    }

    fn table(&mut self, at: usize, def: &'static TableDef) -> Verified {
        let file_bytes = self.file_bytes();
        self.tables += 1;
        if self.tables > self.limits.tables {
            return Err(self.exceeded(LimitKind::Tables, self.limits.tables, at));
        }
        if self.depth >= self.limits.depth {
            return Err(self.exceeded(LimitKind::Depth, self.limits.depth.into(), at));
        }
        let Some(back) = read::<i32>(self.bytes, at) else {
            return Err(self.malformed(Malformation::TableOutside { file_bytes }, at));
        };
        self.expand(TABLE_BYTES, at)?;
        let vtable = i64::try_from(at).ok().and_then(|at| usize::try_from(at.checked_sub(back.into())?).ok());
        let Some((vtable, vtable_bytes)) = vtable.and_then(|vtable| Some((vtable, read::<u16>(self.bytes, vtable)?))) else {
            return Err(self.malformed(Malformation::VtableOutside { file_bytes }, at));
        };
        if vtable_bytes < 4 || vtable_bytes % 2 != 0 {
            return Err(self.malformed(Malformation::VtableSize { vtable_bytes }, vtable));
        }
        if vtable.checked_add(vtable_bytes.into()).is_none_or(|end| end > self.bytes.len()) {
            return Err(self.malformed(Malformation::VtableOutside { file_bytes }, vtable));
        }
        self.depth += 1;
        for field in def.fields {
            self.step(PathStep::Field(field.name), |verifier| verifier.field(RawTable::new(verifier.bytes, at), field))?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Checks that field `id` lies inside the file and off the table's head; returns where, or `None` if absent.
    fn inline(&mut self, table: RawTable<'_>, id: u16, len: usize) -> Verified<Option<usize>> {
        let file_bytes = self.file_bytes();
        let Some(at) = table.field_position(id) else {
            return Ok(None);
        };
        let offset = at.saturating_sub(table.position());
        if offset < 4 {
            let offset = u16::try_from(offset).unwrap_or(0);
            return Err(self.malformed(Malformation::FieldInHead { offset }, table.position()));
        }
        if at.checked_add(len).is_none_or(|end| end > self.bytes.len()) {
            return Err(self.malformed(Malformation::FieldOutside { file_bytes }, at));
        }
        self.expand(len, at)?;
        Ok(Some(at))
    }

    fn field(&mut self, table: RawTable<'_>, field: &'static FieldDef) -> Verified {
        if let FieldType::Union(union) = field.ty {
            return self.union(table, field.id, union);
        }
        let Some(at) = self.inline(table, field.id, field.ty.inline_bytes())? else {
            return Ok(());
        };
        match field.ty {
            FieldType::Scalar(_) | FieldType::Enum(_) | FieldType::Union(_) => {}
            FieldType::Str => {
                let (start, len) = self.vector(at, 1)?;
                let bytes = self.bytes.get(start..start.saturating_add(len)).unwrap_or(&[]);
                if let Err(error) = std::str::from_utf8(bytes) {
                    let valid_bytes = error.valid_up_to();
                    return Err(self.malformed(Malformation::NotUtf8 { valid_bytes }, start));
                }
            }
            FieldType::List(scalar) => {
                self.vector(at, scalar.size_bytes())?;
            }
            FieldType::EnumList(names) => {
                self.vector(at, names.repr.size_bytes())?;
            }
            FieldType::Blob => {
                self.vector(at, 1)?;
            }
            FieldType::Table(def) => {
                let target = self.follow(at)?;
                self.table(target, def)?;
            }
            FieldType::Tables(def) => {
                let (start, count) = self.vector(at, 4)?;
                for index in 0..count {
                    self.step(PathStep::Index(index), |verifier| {
                        let target = verifier.follow(start.saturating_add(index.saturating_mul(4)))?;
                        verifier.table(target, def)
                    })?;
                }
            }
        }
        Ok(())
    }

    fn union(&mut self, table: RawTable<'_>, id: u16, union: &'static UnionDef) -> Verified {
        self.inline(table, id.saturating_sub(1), 1)?;
        let Some(def) = union.member(table.union_code(id)) else {
            return Ok(());
        };
        let Some(at) = self.inline(table, id, 4)? else {
            return Ok(());
        };
        let target = self.follow(at)?;
        self.table(target, def)
    }
}

fn to_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
