//! The part of the kernel programs that knows nothing of the kernel, so that it is tested
//! in user space: `cargo test --lib` in this folder.
#![cfg_attr(not(test), no_std)]

pub mod flow_key;
pub mod segments;
pub mod sizes;
