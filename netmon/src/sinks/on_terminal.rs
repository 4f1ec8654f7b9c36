//! Reports for programs that go to a terminal: names in them may hold what it would obey, such as
//! an escape in the name of a process. Files and pipes get them as they are.

use std::io::{self, Write};

use super::output::patiently;
use crate::model::human;

/// A terminal.
pub(super) struct OnTerminal<W>(pub(super) W);

impl<W: Write> Write for OnTerminal<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let lines = String::from_utf8_lossy(bytes);
        patiently(&mut self.0, human::on_terminal(&lines).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_taken() {
        let mut shown = Vec::new();
        let report = "1,na\u{1b}[2Jme\n".as_bytes();
        let taken = OnTerminal(&mut shown).write(report).unwrap();
        assert_eq!(taken, report.len());
        assert_eq!(String::from_utf8(shown).unwrap(), "1,na\\u{1b}[2Jme\n");
    }
}
