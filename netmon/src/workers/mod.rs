//! A process for each interface: the network monitor, which decides and reports, and its
//! interface monitors, which do the work and talk to it over a Unix socket.

mod connection;
mod course;
pub mod decoder;
mod directory;
pub mod inquiry;
pub mod interface_monitor;
pub mod launcher;
pub mod namespace;
pub mod network_monitor;
pub mod peer;
mod printer;
pub mod protocol;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod scratch;
pub mod socket;
