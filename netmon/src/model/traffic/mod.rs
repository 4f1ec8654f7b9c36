//! Who and what the traffic is: by process, flow, protocol and size, bursts, and drops with their
//! reasons. All of it is optional: what cannot be had is absent and says why ([`facts::Missing`]).
//!
//! Sources change [`facts::TrafficFacts`] in place; [`view::TrafficView`] makes rates, averages
//! and alerts of them; sinks show the view. What they show of it, [`columns`], [`sort`] and
//! [`filter`] decide.

pub mod columns;
pub mod facts;
pub mod filter;
pub mod names;
pub mod options;
pub mod protocol;
pub mod rows;
pub mod selection;
pub mod sort;
pub mod thresholds;
pub mod view;

#[cfg(test)]
pub(crate) mod samples;
