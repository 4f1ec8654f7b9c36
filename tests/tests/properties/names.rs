//! Names: their order, and what selects them.

use std::cmp::Ordering;

use netmon::model::{
    link::{IfIndex, Link, LinkState, Offloads},
    natural,
    select::{Selection, Selector},
};
use proptest::prelude::*;

use super::config;

/// Names with digits in them, of which many are nearly the same.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        // The same number, written in different ways.
        2 => "e0{0,2}[01]",
        1 => "[a-c0-2.]{1,6}",
        1 => "(eth|wan)0{0,2}[0-9]{0,3}",
        1 => "[^\\s/:]{1,15}",
        1 => "[0-9]{0,24}",
    ]
}

/// A name that the kernel would give, without what makes it a pattern.
fn plain_name() -> impl Strategy<Value = String> {
    "[a-z0-9._@+-]{1,15}".prop_filter("no name", |name| name != "." && name != "..")
}

fn link(name: &str) -> Link {
    Link {
        ifindex: IfIndex(2),
        name: name.into(),
        altnames: vec![format!("also-{name}")],
        hardware_type: 1,
        kind: None,
        bus: None,
        permanent_address: None,
        admin_up: true,
        native_xdp: false,
        xdp: false,
        peer: None,
        state: LinkState::default(),
        offloads: Offloads::default(),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_order_is_total(a in name(), b in name(), c in name()) {
        let compare = natural::compare;
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        prop_assert_eq!(compare(&a, &b) == Ordering::Equal, a == b);
        if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
            prop_assert!(compare(&a, &c).is_le(), "{:?} ≤ {:?} ≤ {:?}", a, b, c);
        }
    }

    #[test]
    fn numbers_count_as_numbers(
        before in "[a-z]{1,8}",
        after in "[a-z.]{0,4}",
        a in prop_oneof![any::<u128>(), 0..20_u128],
        b in prop_oneof![any::<u128>(), 0..20_u128],
        zeros in 0..5_usize,
    ) {
        let name = |number| format!("{before}{number}{after}");
        prop_assert_eq!(natural::compare(&name(a), &name(b)), a.cmp(&b));
        if a != b {
            let padded = format!("{before}{}{b}{after}", "0".repeat(zeros));
            prop_assert_eq!(natural::compare(&name(a), &padded), a.cmp(&b));
        }
    }

    #[test]
    fn a_name_selects_its_interface_and_no_other(name in plain_name(), other in plain_name()) {
        let selector = Selector::parse(&name);
        prop_assert_eq!(selector.as_ref().map(ToString::to_string), Ok(name.clone()));
        let Ok(selector) = selector else { unreachable!() };
        prop_assert!(selector.is_name());
        prop_assert!(selector.matches(&link(&name)));
        prop_assert_eq!(selector.matches(&link(&other)), name == other);
        let also = Selector::parse(&format!("also-{name}"));
        prop_assert!(also.is_ok_and(|also| also.matches(&link(&name))));
    }

    #[test]
    fn a_prefix_selects_what_begins_with_it(prefix in "[a-c]{0,2}", name in "[a-c0-2]{1,5}") {
        let Ok(selector) = Selector::parse(&format!("{prefix}*")) else { unreachable!() };
        prop_assert!(!selector.is_name());
        prop_assert_eq!(selector.matches(&link(&name)), name.starts_with(&prefix));
    }

    #[test]
    fn any_text_is_read_or_refused_in_words(text in any::<String>()) {
        match Selector::parse(&text) {
            Ok(selector) => prop_assert_eq!(selector.to_string(), text),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn what_is_excluded_has_no_place_and_the_rest_has_the_first(
        // Few names, so that one is often wanted and excluded, and wanted twice.
        wanted in prop::collection::vec("[ab][01]", 1..5),
        excluded in prop::collection::vec("[ab][01]", 0..3),
        name in "[ab][01]",
    ) {
        let parse = |names: &[String]| -> Vec<Selector> {
            names.iter().filter_map(|name| Selector::parse(name).ok()).collect()
        };
        let selection = Selection { wanted: parse(&wanted), excluded: parse(&excluded) };
        let first = wanted.iter().position(|wanted| *wanted == name);
        let expected = first.filter(|_| !excluded.contains(&name));
        prop_assert_eq!(selection.place_of(&link(&name)), expected);
    }

    #[test]
    fn nothing_is_watched_twice(names in prop::collection::vec("[ab][0-2]?[*]?", 0..12)) {
        let wanted: Vec<Selector> =
            names.iter().filter_map(|name| Selector::parse(name).ok()).collect();
        let mut selection = Selection { wanted: wanted.clone(), excluded: Vec::new() };
        let doubled = selection.deduplicate();
        prop_assert_eq!(selection.wanted.len() + doubled.len(), wanted.len());
        for (at, selector) in selection.wanted.iter().enumerate() {
            prop_assert!(!selection.wanted[..at].contains(selector));
        }
        for selector in wanted {
            prop_assert!(selection.wanted.contains(&selector));
        }
    }
}
