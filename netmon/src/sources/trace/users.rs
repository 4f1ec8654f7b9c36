//! The names of users, from /etc/passwd. Names that come from elsewhere (LDAP, NSS) are not
//! looked for: that may take seconds.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How often it is looked whether the file has changed.
const AGE: Duration = Duration::from_secs(60);

/// The names, read when they are first asked for.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    names: HashMap<u32, Arc<str>>,
    changed: Option<SystemTime>,
    looked: Option<Instant>,
}

impl Users {
    /// Those in a file like /etc/passwd.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), names: HashMap::new(), changed: None, looked: None }
    }

    /// The name of a user; `None` for one that the file does not have.
    pub fn name(&mut self, uid: u32) -> Option<Arc<str>> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= AGE) {
            self.looked = Some(Instant::now());
            self.look();
        }
        self.names.get(&uid).cloned()
    }

    /// The name of a user, or the number, as ps(1) shows it.
    pub fn shown(&mut self, uid: u32) -> Arc<str> {
        self.name(uid).unwrap_or_else(|| Arc::from(uid.to_string()))
    }

    fn look(&mut self) {
        let changed = fs::metadata(&self.path).and_then(|file| file.modified()).ok();
        if changed.is_some() && changed == self.changed {
            return;
        }
        // A file that cannot be read now leaves the names as they were.
        if let Ok(text) = fs::read(&self.path) {
            self.names = parse(&String::from_utf8_lossy(&text));
            self.changed = changed;
        }
    }
}

/// passwd(5): `name:password:uid:…`. Of several names the first counts, as for getpwuid(3).
#[must_use]
pub fn parse(text: &str) -> HashMap<u32, Arc<str>> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next(), fields.nth(1));
        if let (Some(name @ [_, ..]), Some(Ok(uid))) =
            (name.map(str::as_bytes), uid.map(str::parse::<u32>))
        {
            let name = String::from_utf8_lossy(name);
            names.entry(uid).or_insert_with(|| Arc::from(name.as_ref()));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts() {
        let names = parse("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n\n#:\n:x:7:7\na:b:c\n");
        assert_eq!(names.len(), 1);
        assert_eq!(names[&0].as_ref(), "root");
    }

    #[test]
    fn without_a_file_there_are_no_names() {
        assert_eq!(Users::new("/nonexistent/passwd").name(0), None);
        assert_eq!(&*Users::new("/nonexistent/passwd").shown(12_345), "12345");
    }
}
