//! Natural order of names: eth2 before eth10.

use std::cmp::Ordering;

/// Compares names with runs of digits as numbers. Equal numbers with different numbers of
/// leading zeros are told apart by plain order, so that this is a total order.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left.as_bytes(), right.as_bytes());
    loop {
        let order = match (a.first(), b.first()) {
            (None, None) => return left.cmp(right),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, rest_a) = number(a);
                let (y, rest_b) = number(b);
                (a, b) = (rest_a, rest_b);
                x.len().cmp(&y.len()).then_with(|| x.cmp(y))
            }
            (Some(x), Some(y)) => {
                (a, b) = (&a[1..], &b[1..]);
                x.cmp(y)
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The digits at the start without leading zeros, and what follows them.
fn number(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|b| !b.is_ascii_digit()).unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at(end);
    let zeros = digits.iter().take_while(|b| **b == b'0').count();
    (&digits[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let sorted = [
            "br-lan",
            "eth",
            "eth0",
            "eth00",
            "eth1",
            "eth2",
            "eth2.5",
            "eth2.10",
            "eth10",
            "lo",
            "wan1a2",
            "wan1a10",
            "wan99999999999999999998",
            "wan99999999999999999999",
        ];
        let mut names = sorted;
        names.reverse();
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(names, sorted);
    }

    #[test]
    fn equal_only_when_the_same() {
        assert_eq!(compare("eth0", "eth0"), Ordering::Equal);
        assert_ne!(compare("eth0", "eth00"), Ordering::Equal);
    }
}
