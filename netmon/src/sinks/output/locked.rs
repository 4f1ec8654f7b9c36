//! Blocks of several processes that share a pipe: one that is longer than the pipe holds is
//! written in pieces, between which others would write.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::thread;

use super::Locked;

/// A pipe holds 64 KiB by default, or one page.
const BLOCK: usize = 200_000;
const BLOCKS: usize = 5;

#[test]
fn blocks_of_several_that_share_a_pipe_are_whole() {
    let path = std::env::temp_dir().join(format!("nmt-lock-{}", std::process::id()));
    let (mut reader, writer) = pipe().unwrap();
    let writers: Vec<_> = [b'a', b'b', b'c']
        .into_iter()
        .map(|letter| {
            // The lock belongs to the open file: each has opened it by itself.
            let lock = File::options().create(true).append(true).open(&path).unwrap();
            let shared = File::from(OwnedFd::from(writer.try_clone().unwrap()));
            thread::spawn(move || {
                let mut output = Locked::new(shared, lock);
                for _ in 0..BLOCKS {
                    output.write_all(&vec![letter; BLOCK]).unwrap();
                    output.flush().unwrap();
                }
            })
        })
        .collect();
    drop(writer);
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    std::fs::remove_file(&path).unwrap();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(all.len(), 3 * BLOCKS * BLOCK);
    let torn = all.chunks(BLOCK).filter(|block| block.iter().any(|byte| *byte != block[0]));
    assert_eq!(torn.count(), 0, "torn blocks");
}
