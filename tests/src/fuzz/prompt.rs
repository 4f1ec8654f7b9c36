//! The answers to the prompt: names that can be, each once, as many as were asked for.

use std::collections::HashSet;

use netmon::{fuzzing, model::select::Selector};

pub(super) fn target(data: &[u8]) -> bool {
    let piped = fuzzing::prompt(data, false);
    let typed = fuzzing::prompt(data, true);
    for names in [&piped, &typed].into_iter().flatten() {
        assert!((1..=4096).contains(&names.len()), "{} names", names.len());
        let different: HashSet<&String> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "one is named twice: {names:?}");
        for name in names {
            assert!(Selector::parse(name).is_ok(), "{name:?} cannot be");
            assert_eq!(name.trim(), name);
        }
    }
    match (&piped, &typed) {
        // Nothing was wrong, so nothing was asked for again.
        (Ok(piped), typed) => assert_eq!(Ok(piped), typed.as_ref()),
        (Err(why), _) => assert!(!why.is_empty(), "an error without a word"),
    }
    typed.is_ok()
}
