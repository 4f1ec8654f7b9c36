//! An initramfs: a cpio archive in the form "newc" (Linux: Documentation/driver-api/early-userspace/
//! buffer-format.rst), uncompressed, since unpacking costs more than reading under emulation.

use std::collections::BTreeSet;
use std::io::{self, Write};

/// What an entry is, in the upper bits of its mode (stat(2)), with the permissions.
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CONSOLE: u32 = 0o020_600;

/// An archive that is being written.
pub(super) struct Archive<W> {
    out: W,
    /// Numbers of the inodes so far; the kernel takes equal ones for one file.
    inodes: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// Begins one, with what the kernel needs before the first process can mount anything.
    pub(super) fn new(out: W) -> io::Result<Self> {
        let mut archive = Self { out, inodes: 0, folders: BTreeSet::new() };
        archive.folders_of("dev/console")?;
        archive.entry("dev/console", CONSOLE, (5, 1), &[])?;
        Ok(archive)
    }

    /// Puts a file in, which may be executed, and the folders that it lies in.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        // The kernel unpacks into the root.
        let path = path.trim_start_matches('/');
        self.folders_of(path)?;
        self.entry(path, PROGRAM, (0, 0), content)
    }

    /// Ends it.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush()
    }

    fn folders_of(&mut self, path: &str) -> io::Result<()> {
        for (end, _) in path.match_indices('/') {
            let folder = &path[..end];
            if self.folders.insert(folder.to_owned()) {
                self.entry(folder, FOLDER, (0, 0), &[])?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        name: &str,
        mode: u32,
        (major, minor): (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        self.inodes += 1;
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, name.to_owned());
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        // inode, mode, uid, gid, links, time, size, device, its own device, name, checksum.
        let fields = [self.inodes, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        write!(self.out, "070701")?;
        for field in fields {
            write!(self.out, "{field:08X}")?;
        }
        const HEADER: usize = 6 + 13 * 8;
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(HEADER + name.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    /// Header with name, and content, each fill whole words of four bytes.
    fn pad(&mut self, length: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..length.next_multiple_of(4) - length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entries of an archive: name, mode and content, with the rules of the form checked.
    fn read(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let (mut at, mut inodes) = (0, BTreeSet::new());
        while at < bytes.len() {
            let header = std::str::from_utf8(&bytes[at..at + 110]).unwrap();
            assert!(header.starts_with("070701"), "{header}");
            let field = |n: usize| u32::from_str_radix(&header[6 + n * 8..14 + n * 8], 16).unwrap();
            assert!(inodes.insert(field(0)), "inode {} twice", field(0));
            let (size, name_size) = (field(6) as usize, field(11) as usize);
            let name = &bytes[at + 110..at + 110 + name_size];
            let (last, name) = name.split_last().unwrap();
            assert_eq!(*last, 0);
            let start = (at + 110 + name_size).next_multiple_of(4);
            let content = bytes[start..start + size].to_vec();
            entries.push((String::from_utf8(name.to_vec()).unwrap(), field(1), content));
            at = (start + size).next_multiple_of(4);
        }
        assert_eq!(at, bytes.len());
        entries
    }

    #[test]
    fn has_files_with_their_folders_once_and_an_end() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes).unwrap();
        archive.file("/a/b/one", b"12345").unwrap();
        archive.file("a/two", b"").unwrap();
        archive.file("init", b"1234").unwrap();
        archive.finish().unwrap();
        let file = |name: &str, content: &str| (name.to_owned(), PROGRAM, content.into());
        let folder = |name: &str| (name.to_owned(), FOLDER, Vec::new());
        let expected = [
            folder("dev"),
            ("dev/console".to_owned(), CONSOLE, Vec::new()),
            folder("a"),
            folder("a/b"),
            file("a/b/one", "12345"),
            file("a/two", ""),
            file("init", "1234"),
            ("TRAILER!!!".to_owned(), 0, Vec::new()),
        ];
        assert_eq!(read(&bytes), expected);
    }

    #[test]
    fn the_bytes_are_those_of_the_form() {
        let mut bytes = Vec::new();
        let mut archive = Archive { out: &mut bytes, inodes: 0, folders: BTreeSet::new() };
        archive.file("ab", b"xyz").unwrap();
        let expected = "070701\
             00000001000081ED000000000000000000000001000000000000000300000000000000000000000000000000\
             0000000300000000ab\0\0\0\0xyz\0";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
