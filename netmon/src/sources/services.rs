//! Names of ports and protocols, read once at the start. Where a file is missing or cannot be
//! read, there are numbers. Any kernel.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::model::traffic::names::Names;

/// No such file is longer; of one that is, this much is read.
const LONGEST: u64 = 4 << 20;

/// Reads `services` and `protocols` in a folder, which is `/etc`.
#[must_use]
pub fn read(folder: &Path) -> Names {
    let text = |name: &str| {
        let mut bytes = Vec::new();
        let path = folder.join(name);
        let read = File::open(&path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
        if let Err(error) = read {
            tracing::debug!("{}: {error}; numbers are shown instead of names", path.display());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Names::parse(&text("services"), &text("protocols"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::traffic::protocol::Protocol;

    #[test]
    fn without_the_files_there_are_numbers() {
        let names = read(Path::new("/nonexistent"));
        assert_eq!(names.service(Protocol::Ip(6), 443), None);
        assert_eq!(names.protocol(Protocol::Ip(6)).to_string(), "tcp");
        assert_eq!(names.protocol(Protocol::Ip(88)).to_string(), "88");
    }
}
