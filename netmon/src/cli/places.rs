//! What was asked for in other network namespaces.

use super::Failure;
use crate::config::Layer;
use crate::model::select::shell::{Meaning, read};
use crate::model::select::{Selection, Selector};
use crate::workers::namespace::{self, Where};
use crate::workers::network_monitor::Elsewhere;

/// Interfaces of other namespaces.
#[derive(Default)]
pub(super) struct Places {
    pub(super) wanted: Elsewhere,
    pub(super) excluded: Elsewhere,
}

impl Places {
    /// Takes what names a namespace out of the flags and the file. As ever, interfaces from the
    /// command line replace those of the file, and what is left out adds up.
    ///
    /// # Errors
    /// When a namespace or an interface cannot be.
    pub(super) fn take_out(flags: &mut Layer, file: &mut Layer) -> Result<Self, Failure> {
        if !flags.interfaces.is_empty() || flags.all == Some(true) {
            (file.interfaces, file.all) = (Vec::new(), None);
        }
        let mut places = Self::default();
        for layer in [flags, file] {
            places.wanted.extend(take(&mut layer.interfaces)?);
            places.excluded.extend(take(&mut layer.exclude)?);
        }
        Ok(places)
    }

    /// The same for names that were typed in.
    ///
    /// # Errors
    /// When a namespace or an interface cannot be.
    pub(super) fn add(&mut self, names: &mut Vec<String>) -> Result<(), Failure> {
        self.wanted.extend(take(names)?);
        Ok(())
    }

    /// What is wanted here is wanted in every namespace.
    pub(super) fn everywhere(&mut self, selection: &Selection) {
        let Meaning::Pattern(every) = read("*") else { return };
        let every = Where::Pattern(every);
        let all = |selectors: &[Selector]| -> Elsewhere {
            selectors.iter().map(|selector| (every.clone(), selector.clone())).collect()
        };
        self.wanted.extend(all(&selection.wanted));
        self.excluded.extend(all(&selection.excluded));
    }
}

fn take(names: &mut Vec<String>) -> Result<Elsewhere, Failure> {
    let mut taken = Elsewhere::new();
    let mut here = Vec::new();
    for name in names.drain(..) {
        match namespace::parse(&name).map_err(Failure::usage)? {
            Some((place, interface)) => taken.push((of_that_name(place, &name), interface)),
            None => here.push(name),
        }
    }
    *names = here;
    Ok(taken)
}

/// A namespace that has exactly the name that was written comes before those that are like it,
/// unless it is one of them.
fn of_that_name(place: Where, argument: &str) -> Where {
    let written = argument.rsplit_once('/').map_or("", |(written, _)| written);
    let is_meant = match &place {
        Where::Named(name) => name == written,
        Where::Pattern(pattern) => pattern.matches(written),
        Where::Path(_) | Where::Container(_) => true,
    };
    let exists = || namespace::named().is_ok_and(|named| named.contains_key(written));
    if !is_meant && exists() { Where::Named(written.to_owned()) } else { place }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(interfaces: &[&str], exclude: &[&str]) -> Layer {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Layer { interfaces: owned(interfaces), exclude: owned(exclude), ..Layer::default() }
    }

    fn shown(places: &Elsewhere) -> Vec<String> {
        places.iter().map(|(place, selector)| format!("{place} {selector}")).collect()
    }

    #[test]
    fn what_names_a_namespace_is_taken_out() {
        let mut flags = layer(&["eth0", "blue/eth1"], &["*/lo"]);
        let mut file = layer(&["red/eth2", "eth3"], &["eth9", "red/eth8"]);
        let places = Places::take_out(&mut flags, &mut file).unwrap();
        assert_eq!(shown(&places.wanted), ["blue eth1"], "the file's are replaced");
        assert_eq!(shown(&places.excluded), ["* lo", "red eth8"]);
        assert_eq!((flags.interfaces, file.interfaces), (vec!["eth0".to_owned()], vec![]));
        assert_eq!(file.exclude, ["eth9"]);
    }

    #[test]
    fn only_the_file_says_something() {
        let mut file = layer(&["red/eth2", "eth3"], &[]);
        let places = Places::take_out(&mut Layer::default(), &mut file).unwrap();
        assert_eq!(
            (shown(&places.wanted), file.interfaces),
            (vec!["red eth2".to_owned()], vec!["eth3".to_owned()])
        );
    }

    #[test]
    fn everywhere_is_every_namespace() {
        let mut places = Places::default();
        let wanted = vec![Selector::parse("eth*").unwrap()];
        let excluded = vec![Selector::parse("eth9").unwrap()];
        places.everywhere(&Selection { wanted, excluded });
        assert_eq!(shown(&places.wanted), ["* eth*"]);
        assert_eq!(shown(&places.excluded), ["* eth9"]);
    }
}
