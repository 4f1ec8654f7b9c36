//! Where a view goes. Sinks know the model and nothing of each other or of the sources.
//!
//! A format is one file and one line in [`header`] and [`write`]. Formats only fill a buffer; [`output`] gets
//! it to stdout without ever making the tick wait.

use crate::model::options::Format;
use crate::model::view::View;
use crate::sinks::traffic::json::Traffic;

pub mod csv;
pub mod json;
pub mod messages;
mod on_terminal;
pub mod output;
pub mod report;
pub mod traffic;
pub mod tui;

/// What comes before the first tick.
#[must_use]
pub const fn header(format: Format) -> &'static str {
    match format {
        Format::Text | Format::Json => "",
        Format::Csv => csv::HEADER,
    }
}

/// Adds a tick to `buffer`. Only JSON tells of the traffic.
pub fn write(format: Format, view: &View, traffic: Option<Traffic<'_>>, buffer: &mut Vec<u8>) {
    match format {
        Format::Text => report::write(view, buffer),
        Format::Json => json::write_with(view, traffic, buffer),
        Format::Csv => csv::write(view, buffer),
    }
}

#[cfg(test)]
pub(crate) mod samples;
