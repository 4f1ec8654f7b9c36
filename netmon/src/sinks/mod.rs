//! Where a view goes. Sinks know the model and nothing of each other or of the sources.
//!
//! A format is one file and one line in [`write`]. Formats only fill a buffer; [`output`] gets
//! it to stdout without ever making the tick wait.

use crate::model::options::Format;
use crate::model::view::View;

pub mod csv;
pub mod json;
pub mod messages;
pub mod output;
pub mod report;

/// Adds a tick to `buffer`. `first`: nothing was written before.
pub fn write(format: Format, view: &View, first: bool, buffer: &mut Vec<u8>) {
    match format {
        Format::Text => report::write(view, buffer),
        Format::Json => json::write(view, buffer),
        Format::Csv => csv::write(view, first, buffer),
    }
}

#[cfg(test)]
pub(crate) mod samples;
