//! The kernel's own types (BTF): where a structure has a member, what the numbers of an enum are
//! called, what a tracepoint gives its programs. Pure; the format is that of
//! Documentation/bpf/btf.rst, in the CPU's byte order as the kernel has it.

use std::collections::HashMap;

/// `btf_header`: magic, version, flags; then five numbers of 32 bits.
const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
/// `btf_type`: the offset of its name, its kind and count, its size or type.
const TYPE: usize = 12;
/// `btf_member`: the offset of its name, its type, where it is in bits.
const MEMBER: usize = 12;
/// How deep structures and types of types are followed.
const DEPTH: u32 = 16;
/// How many members are looked at for one: `struct task_struct` has some 300.
const MEMBERS: u32 = 20_000;

const PTR: u32 = 2;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const FUNC_PROTO: u32 = 13;
const ENUM64: u32 = 19;

/// It is no BTF that this can read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the kernel's type information (BTF) cannot be read: {0}")]
pub struct BtfError(&'static str);

/// The types, found by name.
#[derive(Debug)]
pub struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type begins; that of the number 1 comes first.
    begins: Vec<u32>,
    /// The first of each name, by whether it is an enum, a typedef, or a structure or union.
    names: HashMap<(Sort, &'a str), u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sort {
    Structure,
    Enum,
    Typedef,
}

#[derive(Clone, Copy, Debug)]
struct Type<'a> {
    kind: u32,
    count: usize,
    size_or_type: u32,
    /// From behind `btf_type` to the end of all types.
    rest: &'a [u8],
}

impl<'a> Types<'a> {
    /// Finds out where each type begins.
    ///
    /// # Errors
    /// When it is cut short, or has a kind of type that was not known in 2026.
    pub fn parse(data: &'a [u8]) -> Result<Self, BtfError> {
        let cut = || BtfError("it is cut short");
        let magic = data.get(..2).and_then(|it| it.try_into().ok()).map(u16::from_ne_bytes);
        if magic != Some(MAGIC) {
            return Err(BtfError("it does not begin like one"));
        }
        let header = |at| number(data, at).map(|it| it as usize).ok_or_else(cut);
        let (length, types, types_length) = (header(4)?, header(8)?, header(12)?);
        let (strings, strings_length) = (header(16)?, header(20)?);
        if length < HEADER {
            return Err(BtfError("its header is too short"));
        }
        let part = |from: usize, size: usize| {
            let begin = length.checked_add(from)?;
            data.get(begin..begin.checked_add(size)?)
        };
        let mut parsed = Self {
            types: part(types, types_length).ok_or_else(cut)?,
            strings: part(strings, strings_length).ok_or_else(cut)?,
            begins: Vec::new(),
            names: HashMap::new(),
        };
        parsed.index().map(|()| parsed)
    }

    fn index(&mut self) -> Result<(), BtfError> {
        let mut at = 0;
        while at < self.types.len() {
            let found = type_at(self.types, at).ok_or(BtfError("a type is cut short"))?;
            let tail = tail(found.kind, found.count).ok_or(BtfError("a type is of a new kind"))?;
            if found.rest.len() < tail {
                return Err(BtfError("a type is cut short"));
            }
            let begin = u32::try_from(at).map_err(|_| BtfError("it is too long"))?;
            self.begins.push(begin);
            let sort = match found.kind {
                STRUCT | UNION => Some(Sort::Structure),
                ENUM | ENUM64 => Some(Sort::Enum),
                TYPEDEF => Some(Sort::Typedef),
                _ => None,
            };
            let name = number(self.types, at).and_then(|name| self.string(name));
            if let (Some(sort), Some(name @ [_, ..])) = (sort, name.map(str::as_bytes)) {
                let name = std::str::from_utf8(name).unwrap_or_default();
                let number = self.begins.len() as u32;
                self.names.entry((sort, name)).or_insert(number);
            }
            at += TYPE + tail;
        }
        Ok(())
    }

    /// Where a structure has a member, in bytes. The path leads through structures within it by
    /// name; members of those without a name count as its own. `None` also for a bit field that
    /// does not begin at a byte.
    #[must_use]
    pub fn offset(&self, structure: &str, path: &[&str]) -> Option<u32> {
        let mut current = *self.names.get(&(Sort::Structure, structure))?;
        let mut bits = 0_u32;
        for name in path {
            let (at, member) = self.member(current, name, DEPTH, &mut { MEMBERS })?;
            bits = bits.checked_add(at)?;
            current = member;
        }
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// The size of a structure, in bytes.
    #[must_use]
    pub fn size(&self, structure: &str) -> Option<u32> {
        let number = *self.names.get(&(Sort::Structure, structure))?;
        Some(self.of_number(number)?.size_or_type)
    }

    /// The numbers of an enum and their names. What has more than 32 bits is left out.
    #[must_use]
    pub fn enumerators(&self, name: &str) -> Vec<(u32, &'a str)> {
        let found = self.names.get(&(Sort::Enum, name)).and_then(|it| self.of_number(*it));
        let Some(found) = found else { return Vec::new() };
        let width = if found.kind == ENUM { 8 } else { 12 };
        let entry = |index: usize| {
            let at = index * width;
            if width == 12 && number(found.rest, at + 8)? != 0 {
                return None;
            }
            Some((number(found.rest, at + 4)?, self.string(number(found.rest, at)?)?))
        };
        (0..found.count).filter_map(entry).collect()
    }

    /// How many arguments a tracepoint gives to programs that are attached through BTF; `None`
    /// when the kernel has no such tracepoint.
    #[must_use]
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let number = *self.names.get(&(Sort::Typedef, format!("btf_trace_{name}").as_str()))?;
        let pointer = self.of_number(self.of_number(number)?.size_or_type)?;
        let function = self.of_number(pointer.size_or_type)?;
        let is_one = pointer.kind == PTR && function.kind == FUNC_PROTO;
        // The first is the tracepoint's own.
        is_one.then(|| function.count.saturating_sub(1))
    }

    /// Where the member is in bits, and its type.
    fn member(&self, structure: u32, name: &str, depth: u32, left: &mut u32) -> Option<(u32, u32)> {
        let found = self.structure(structure, depth)?;
        for index in 0..found.count {
            *left = left.checked_sub(1)?;
            let at = index * MEMBER;
            let member = self.string(number(found.rest, at)?)?;
            let (kind, place) = (number(found.rest, at + 4)?, number(found.rest, at + 8)?);
            // With bit fields in it the upper 8 bits are the member's width (`kind_flag`).
            let place = if found.has_bit_fields(self.types) { place & 0x00ff_ffff } else { place };
            if member == name {
                return Some((place, kind));
            }
            if member.is_empty()
                && let Some((within, kind)) = self.member(kind, name, depth.checked_sub(1)?, left)
            {
                return Some((place.checked_add(within)?, kind));
            }
        }
        None
    }

    /// The structure or union that a type is, through typedefs, `const` and `volatile`.
    fn structure(&self, mut number: u32, depth: u32) -> Option<Type<'a>> {
        for _ in 0..depth {
            let found = self.of_number(number)?;
            match found.kind {
                STRUCT | UNION => return Some(found),
                // typedef, volatile, const, restrict, type tag.
                TYPEDEF | 9..=11 | 18 => number = found.size_or_type,
                _ => return None,
            }
        }
        None
    }

    fn of_number(&self, number: u32) -> Option<Type<'a>> {
        let begin = *self.begins.get(number.checked_sub(1)? as usize)?;
        type_at(self.types, begin as usize)
    }

    fn string(&self, at: u32) -> Option<&'a str> {
        let rest = self.strings.get(at as usize..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }
}

impl Type<'_> {
    /// `kind_flag`, the highest bit beside the kind.
    fn has_bit_fields(&self, types: &[u8]) -> bool {
        let at = types.len() - self.rest.len() - TYPE;
        number(types, at + 4).is_some_and(|info| info >> 31 == 1)
    }
}

fn type_at(types: &[u8], at: usize) -> Option<Type<'_>> {
    let info = number(types, at + 4)?;
    Some(Type {
        kind: info >> 24 & 0x1f,
        count: (info & 0xffff) as usize,
        size_or_type: number(types, at + 8)?,
        rest: types.get(at + TYPE..)?,
    })
}

/// What follows `btf_type`, in bytes.
fn tail(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // int, variable, declaration tag.
        1 | 14 | 17 => 4,
        // array.
        3 => 12,
        STRUCT | UNION | ENUM64 => MEMBER * count,
        // data section.
        15 => 12 * count,
        ENUM | FUNC_PROTO => 8 * count,
        // pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
        PTR | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

fn number(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_ne_bytes)
}
