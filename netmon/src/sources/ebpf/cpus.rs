//! How many CPUs the kernel can have: the programs use the number of theirs as an index.

use std::{fs, io};

/// One more than the highest number that a CPU can have here. Those between may be missing, so
/// it is not how many there are, which is what per-CPU maps go by.
///
/// # Errors
/// When sysfs does not say.
pub fn possible() -> io::Result<u32> {
    let ranges = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    one_more_than_the_last(&ranges).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Of a list such as `0-3,8` (the kernel's Documentation/admin-guide/cputopology.rst).
fn one_more_than_the_last(ranges: &str) -> Option<u32> {
    let last = ranges.trim_end().rsplit([',', '-']).next()?;
    last.parse::<u32>().ok()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_all_ranges_counts() {
        for (ranges, expected) in [("0\n", 1), ("0-3\n", 4), ("0-3,8-11\n", 12), ("0,2", 3)] {
            assert_eq!(one_more_than_the_last(ranges), Some(expected), "{ranges}");
        }
        for ranges in ["", "\n", "0-", "x", "4294967295"] {
            assert_eq!(one_more_than_the_last(ranges), None, "{ranges}");
        }
        assert!(possible().unwrap() > 0);
    }
}
