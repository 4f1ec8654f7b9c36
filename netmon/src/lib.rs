//! netmon's agent: what watches the interfaces and reports.
//!
//! Data flows one way: [`sources`] → [`model::snapshot`] → [`model::view`] → [`sinks`];
//! [`recovery`] reads the facts and acts on the kernel. The [`agent`] joins them, the command
//! line ([`cli`]) starts it. [`compare`] runs two of them side by side. ARCHITECTURE.md walks through it.

pub mod advice;
pub mod agent;
pub mod cli;
pub mod compare;
pub mod config;
#[doc(hidden)]
pub mod fuzzing;
mod memory;
pub mod model;
pub mod open_files;
pub mod privileges;
pub mod recovery;
pub mod sinks;
pub mod sources;
pub mod workers;
