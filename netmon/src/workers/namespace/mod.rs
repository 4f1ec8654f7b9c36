//! Network namespaces by name, path or container: what an argument means, and which there are.
//! Nothing here needs a privilege.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{NSFS_MAGIC, statfs};

use crate::model::natural;
use crate::model::select::shell::{self, Meaning, ShellPattern};
use crate::model::select::{SelectError, Selector};

mod changes;
mod container;

pub use changes::Changes;

/// Where `ip netns` and others keep names (ip-netns(8)).
const NAMES: &str = "/run/netns";
/// The namespace of this thread, which is the process's.
const OWN: &str = "/proc/thread-self/ns/net";
/// What stands before the id of a container.
const CONTAINER: &str = "container:";

/// The namespaces that have a name, and their inode numbers: the identity of each as long as
/// something holds it. `None` for the link to a namespace that only a privileged process may
/// look at (`/proc/PID/ns/net`, as is often made for containers).
pub type Named = BTreeMap<String, Option<u64>>;

/// Where an interface is to be looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// A name in `/run/netns`, as `ip netns` gives it.
    Named(String),
    /// Every name there that a shell pattern matches.
    Pattern(ShellPattern),
    /// A file that stands for a namespace.
    Path(PathBuf),
    /// The namespace of a container, by its id or the beginning of it.
    Container(String),
}

/// Why a namespace cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceError {
    /// An argument that cannot be.
    #[error("'{0}': {1}")]
    Wrong(String, &'static str),
    /// The part after the slash cannot be.
    #[error("'{0}': {1}")]
    Interface(String, SelectError),
    /// There is none of that name.
    #[error("there is no network namespace '{name}'; {}", there_are(.existing))]
    Unknown {
        /// The name asked for.
        name: String,
        /// All names that exist, in natural order.
        existing: Vec<String>,
    },
    /// There is none at that path.
    #[error("there is no network namespace {}", .0.display())]
    NoFile(PathBuf),
    /// No living process is in such a container.
    #[error("no process is in a container '{0}'")]
    NoContainer(String),
    /// More than one container's id begins like this.
    #[error("more than one container's id begins with '{0}'")]
    Ambiguous(String),
    /// It cannot be looked for.
    #[error("cannot read {0}: {1}")]
    Unreadable(&'static str, String),
}

impl fmt::Display for Where {
    /// What stands before the interface's name in the report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Pattern(pattern) => pattern.fmt(f),
            Self::Path(path) => path.display().fmt(f),
            Self::Container(id) => write!(f, "{CONTAINER}{id}"),
        }
    }
}

/// Reads one argument: `blue/eth0`, `*/eth*`, `/proc/PID/ns/net/eth0`, `container:ID/eth0`.
/// `None` when it names no namespace.
///
/// # Errors
/// Those of [`NamespaceError`] that are about the argument itself.
pub fn parse(argument: &str) -> Result<Option<(Where, Selector)>, NamespaceError> {
    let Some((place, interface)) = argument.rsplit_once('/') else {
        return match argument.starts_with(CONTAINER) {
            true => wrong(argument, "the interface is missing: 'container:ID/eth0'"),
            false => Ok(None),
        };
    };
    let interface = Selector::parse(interface)
        .map_err(|error| NamespaceError::Interface(argument.to_owned(), error))?;
    let place = if let Some(id) = place.strip_prefix(CONTAINER) {
        if !container::may_be_id(id) {
            return wrong(argument, "a container's id is at least 12 hexadecimal digits");
        }
        Where::Container(id.to_owned())
    } else if place.is_empty() {
        return wrong(argument, "no namespace stands before the slash");
    } else if place.starts_with('/') {
        Where::Path(place.into())
    } else if place.contains('/') {
        return wrong(argument, "a namespace is a name, or a path that begins with a slash");
    } else {
        match shell::read(place) {
            Meaning::Pattern(pattern) => Where::Pattern(pattern),
            Meaning::Name(name) if matches!(&*name, "." | "..") || name.contains('\0') => {
                return wrong(argument, "that is no namespace's name");
            }
            Meaning::Name(name) => Where::Named(name),
        }
    };
    Ok(Some((place, interface)))
}

fn wrong<T>(argument: &str, why: &'static str) -> Result<T, NamespaceError> {
    Err(NamespaceError::Wrong(argument.to_owned(), why))
}

/// The namespaces that have a name in `/run/netns`. What is no namespace there, such as the file
/// that is left of one, is passed over.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn named() -> io::Result<Named> {
    named_in(Path::new(NAMES))
}

fn named_in(folder: &Path) -> io::Result<Named> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Named::new()),
        entries => entries?,
    };
    let mut named = Named::new();
    for entry in entries {
        // Arguments are text, so a name that is none cannot be asked for.
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        match fs::metadata(entry.path()) {
            Ok(found) if is_namespace(&entry.path()) => {
                named.insert(name, Some(found.ino()));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                named.insert(name, None);
            }
            // Of another kind, or gone meanwhile.
            _ => {}
        }
    }
    Ok(named)
}

/// All namespaces are files of one file system, which is known by its number: /proc, where this
/// process's own could be asked, may be missing.
fn is_namespace(path: &Path) -> bool {
    statfs(path).is_ok_and(|system| system.filesystem_type() == NSFS_MAGIC)
}

/// The inode number of this process's own network namespace.
///
/// # Errors
/// When /proc is not there.
pub fn own() -> io::Result<u64> {
    fs::metadata(OWN).map(|found| found.ino())
}

/// Which namespaces are meant now: what stands before the interfaces' names, and where each is.
/// A pattern may match none.
///
/// # Errors
/// When a namespace that was named is not there.
pub fn resolve(place: &Where) -> Result<Vec<(String, PathBuf)>, NamespaceError> {
    let named = || named().map_err(|error| NamespaceError::Unreadable(NAMES, error.to_string()));
    let path_of = |name: &str| Path::new(NAMES).join(name);
    match place {
        Where::Named(name) => {
            let named = named()?;
            if !named.contains_key(name) {
                let mut existing: Vec<String> = named.into_keys().collect();
                existing.sort_by(|a, b| natural::compare(a, b));
                return Err(NamespaceError::Unknown { name: name.clone(), existing });
            }
            Ok(vec![(place.to_string(), path_of(name))])
        }
        Where::Pattern(pattern) => {
            let mut names: Vec<String> = named()?.into_keys().collect();
            names.retain(|name| pattern.matches(name));
            names.sort_by(|a, b| natural::compare(a, b));
            Ok(names.into_iter().map(|name| (name.clone(), path_of(&name))).collect())
        }
        // Whether it is a namespace is told when it is opened: without privileges that of
        // another's process cannot be looked at.
        Where::Path(path) => match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(NamespaceError::NoFile(path.clone()))
            }
            _ => Ok(vec![(place.to_string(), path.clone())]),
        },
        Where::Container(id) => {
            let process = container::process(Path::new("/proc"), id)?;
            Ok(vec![(place.to_string(), format!("/proc/{process}/ns/net").into())])
        }
    }
}

fn there_are(existing: &[String]) -> String {
    match existing {
        [] => format!("{NAMES} has none"),
        existing => format!("there are: {}", existing.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(argument: &str) -> Option<(String, String)> {
        let read = parse(argument).unwrap();
        read.map(|(place, interface)| (place.to_string(), interface.to_string()))
    }

    #[test]
    fn what_arguments_mean() {
        for (argument, place, interface) in [
            ("blue/eth0", "blue", "eth0"),
            ("blue/*", "blue", "*"),
            ("*/eth*", "*", "eth*"),
            ("/proc/123/ns/net/eth0", "/proc/123/ns/net", "eth0"),
            ("/run/netns/blue/eth?", "/run/netns/blue", "eth?"),
            ("container:0123456789ab/eth0", "container:0123456789ab", "eth0"),
        ] {
            let expected = Some((place.to_owned(), interface.to_owned()));
            assert_eq!(read(argument), expected, "{argument}");
        }
        for of_no_namespace in ["eth0", "eth*", ""] {
            assert_eq!(read(of_no_namespace), None, "{of_no_namespace}");
        }
        let place = |argument| parse(argument).unwrap().unwrap().0;
        assert_eq!(place("blue/eth0"), Where::Named("blue".to_owned()));
        assert!(matches!(place("b*/eth0"), Where::Pattern(_)));
        assert_eq!(place(r"b\*/eth0"), Where::Named("b*".to_owned()));
        assert_eq!(place("b[/eth0"), Where::Named("b[".to_owned()));
        assert_eq!(place("/a/b/eth0"), Where::Path("/a/b".into()));
        let id = "f".repeat(64);
        assert_eq!(place(&format!("container:{id}/eth0")), Where::Container(id));
    }

    #[test]
    fn arguments_that_cannot_be() {
        for (argument, why) in [
            ("/eth0", "no namespace"),
            ("blue/", "cannot be empty"),
            ("blue/a b", "white space"),
            ("a/b/eth0", "begins with a slash"),
            ("../eth0", "no namespace's name"),
            ("container:0123456789ab", "interface is missing"),
            ("container:0123456789a/eth0", "12 hexadecimal"),
            ("container:*/eth0", "12 hexadecimal"),
            ("container:0123456789AB/eth0", "12 hexadecimal"),
        ] {
            let error = parse(argument).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(argument), "{argument}: {error}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_holds_no_names() {
        assert_eq!(named_in(Path::new("/run/there-is-no-such-folder")).unwrap(), Named::new());
    }

    #[test]
    fn what_is_no_namespace_is_passed_over() {
        let folder = std::env::temp_dir().join(format!("nmt-names-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("stale"), "").unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.join("dangling")).unwrap();
        std::os::unix::fs::symlink(OWN, folder.join("own")).unwrap();
        let named = named_in(&folder);
        fs::remove_dir_all(&folder).unwrap();
        let expected = Named::from([("own".to_owned(), Some(own().unwrap()))]);
        assert_eq!(named.unwrap(), expected);
    }

    #[test]
    fn unknown_ones_are_told_with_those_that_are_there() {
        let unknown = |existing: &[&str]| {
            let existing = existing.iter().map(|name| (*name).to_owned()).collect();
            NamespaceError::Unknown { name: "bleu".to_owned(), existing }.to_string()
        };
        assert_eq!(
            unknown(&["blue", "red"]),
            "there is no network namespace 'bleu'; there are: blue, red"
        );
        assert_eq!(unknown(&[]), "there is no network namespace 'bleu'; /run/netns has none");
        let path = Where::Path("/no/such/namespace".into());
        assert_eq!(resolve(&path), Err(NamespaceError::NoFile("/no/such/namespace".into())));
    }
}
