//! Where a view goes. Sinks know the model and nothing of each other or of the sources.
//!
//! A format is one file, one line in [`header`] and one in the agent's `LineFormat`. Formats only fill a
//! buffer; [`output`] gets it to stdout without ever making the tick wait.

use crate::model::options::Format;

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

#[cfg(test)]
pub(crate) mod samples;
