//! Files of sysfs: a number is the one that is written there, or absent.

use netmon::fuzzing;

pub(super) fn target(data: &[u8]) -> bool {
    let number = fuzzing::sysfs_number(data);
    if let Some(number) = number {
        assert_eq!(written(data), Some(number.into()), "{data:?}");
    }
    let state = fuzzing::sysfs_state(data);
    if let Some(state) = state {
        let word = state.as_str().as_bytes();
        assert!(data == word || data == [word, b"\n"].concat(), "{data:?}");
    }
    number.is_some() || state.is_some()
}

/// The number, read digit by digit.
fn written(data: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(data).ok()?;
    let digits = text.strip_suffix('\n').unwrap_or(text);
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    digits
        .chars()
        .try_fold(0_u128, |sum, digit| Some(sum.checked_mul(10)? + u128::from(digit.to_digit(10)?)))
}
