//! The columns of each table: what they are called, what kind of thing is in them, and what a
//! row has there. Sorting, filtering and the formats for scripts all go by these.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ecow::EcoString;

use super::filter::Key;
use super::names::Names;
use super::protocol::Direction;
use crate::model::human::Short;
use crate::model::natural;

mod tables;

pub use tables::{
    DropColumn, FlowColumn, InterfaceColumn, ProcessColumn, ProtocolColumn, SizeColumn,
};

/// What kind of thing is in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Words.
    Text,
    /// A number that is a name: a port, a process id.
    Id,
    /// An address.
    Address,
    /// The name of an address, which is looked up only to be shown.
    Host,
    /// Address, port and their names in one, for people.
    Endpoint,
    /// Yes or no.
    Flag,
    /// Packets, messages.
    Count,
    /// Bytes.
    Bytes,
    /// Things per second.
    CountRate,
    /// Bytes per second.
    ByteRate,
    /// Seconds ago.
    Ago,
}

impl Kind {
    /// Whether the largest comes first when nothing else is said.
    #[must_use]
    pub const fn descends(self) -> bool {
        match self {
            Self::Text | Self::Id | Self::Address | Self::Host => false,
            Self::Endpoint | Self::Ago => false,
            Self::Flag | Self::Count | Self::Bytes | Self::CountRate | Self::ByteRate => true,
        }
    }

    /// Whether it is a number that is read from the right.
    #[must_use]
    pub const fn is_number(self) -> bool {
        !matches!(self, Self::Text | Self::Address | Self::Host | Self::Endpoint | Self::Flag)
    }
}

/// What a row has in a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Not known, or there is none.
    Absent,
    /// Words, from outside mostly.
    Text(&'a str),
    /// Words that were made for this.
    Short(Short),
    /// Words that others have, too.
    Shared(Arc<str>),
    /// A whole number.
    Integer(u64),
    /// A rate, or seconds.
    Real(f64),
    /// Yes or no.
    Flag(bool),
    /// An address.
    Address(IpAddr),
}

impl Value<'_> {
    /// The words, if it is words.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Short(text) => Some(text),
            Self::Shared(text) => Some(text),
            _ => None,
        }
    }

    /// The order of two values of one column; absent is `None`.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Real(a), Self::Real(b)) => a.total_cmp(b),
            (Self::Flag(a), Self::Flag(b)) => a.cmp(b),
            (Self::Address(a), Self::Address(b)) => a.cmp(b),
            (a, b) => natural::compare(a.text()?, b.text()?),
        })
    }

    /// The order of two values of one column; what is absent is last, whichever way.
    #[must_use]
    pub fn order(&self, other: &Self, descending: bool) -> Ordering {
        match (self, other) {
            (Self::Absent, Self::Absent) => Ordering::Equal,
            (Self::Absent, _) => Ordering::Greater,
            (_, Self::Absent) => Ordering::Less,
            _ => {
                let order = self.compare(other).unwrap_or(Ordering::Equal);
                if descending { order.reverse() } else { order }
            }
        }
    }
}

macro_rules! value_from {
    ($($type:ty => |$from:ident| $value:expr;)*) => {$(
        impl<'a> From<$type> for Value<'a> {
            fn from($from: $type) -> Self {
                $value
            }
        }
    )*};
}

value_from! {
    &'a str => |text| Value::Text(text);
    &'a Arc<str> => |text| Value::Text(text);
    &'a EcoString => |text| Value::Text(text);
    Arc<str> => |text| Value::Shared(text);
    String => |text| Value::Shared(text.into());
    Short => |text| Value::Short(text);
    u16 => |number| Value::Integer(number.into());
    u32 => |number| Value::Integer(number.into());
    u64 => |number| Value::Integer(number);
    f64 => |number| Value::Real(number);
    bool => |flag| Value::Flag(flag);
    IpAddr => |address| Value::Address(address);
    Direction => |direction| Value::Text(direction.name());
    Duration => |time| Value::Real(time.as_secs_f64());
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Absent, Into::into)
    }
}

/// A column of a table.
pub trait Column: Copy + Eq + Sized + 'static {
    /// What the table has in its rows.
    type Row;
    /// All columns, in the order of CSV, which has no [`Kind::Endpoint`].
    const ALL: &'static [Self];
    /// Those of the text format, in their order.
    const SHOWN: &'static [Self];
    /// What the table is sorted by when nothing else is said.
    const DEFAULT: Self;

    /// Its name in CSV and for `--sort`: stable.
    fn name(self) -> &'static str;
    /// Its name over a table, which `--sort` takes, too.
    fn title(self) -> &'static str;
    /// What is in it.
    fn kind(self) -> Kind;
    /// The key of a filter that looks here.
    fn key(self) -> Option<Key>;
    /// What a row has there.
    fn value<'a>(self, row: &'a Self::Row, names: &Names) -> Value<'a>;
    /// An order that tells all rows apart and stays the same from tick to tick.
    fn tie(a: &Self::Row, b: &Self::Row) -> Ordering;

    /// The column of that name or title, whatever the case.
    fn named(name: &str) -> Option<Self> {
        let is = |column: &Self| {
            column.name().eq_ignore_ascii_case(name) || column.title().eq_ignore_ascii_case(name)
        };
        Self::ALL.iter().copied().find(is)
    }
}
