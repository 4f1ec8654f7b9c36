//! Traffic by flow, protocol, size and burst, as the programs of `traffic.bpf.o` count it. Least
//! kernel: 5.8, as for counting. Before Linux 5.14 a flow is read and then taken out of the
//! table, and a packet between the two is lost to its flow, though not to the totals.
//!
//! On the path of every tick: one system call for each 4,096 flows, one for each flow that is
//! taken out (2,048 at most), and none for totals and bursts, which are mapped.

pub mod bursts;
mod clock;
mod decode;
mod ids;
pub mod layout;
mod reader;
mod table;
mod totals;

pub(super) use clock::tick;
pub use reader::FlowReader;
