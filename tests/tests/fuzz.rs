//! The fuzz targets on stable Rust: over their kept seeds, and over changes of these that are
//! always the same. `cargo xtask fuzz` looks further.

use std::{fs, panic};

use anyhow::{Result, ensure};
use netmon_tests::fuzz::{
    self, TARGETS, Target,
    mutate::{Random, mutated},
};

/// Changed seeds for each target: about a second's worth without optimization.
const CHANGED: usize = 20_000;

/// Runs a target; its panic names the input.
fn run(name: &str, target: Target, input: &[u8]) -> bool {
    let outcome = panic::catch_unwind(|| target(input));
    outcome.unwrap_or_else(|_| panic!("{name} with {}", input.escape_ascii()))
}

#[test]
fn every_target_has_seeds_that_it_understands() -> Result<()> {
    for (name, target) in TARGETS {
        let seeds = fuzz::seeds(name)?;
        let understood = seeds.iter().filter(|(_, seed)| run(name, *target, seed)).count();
        ensure!(understood >= 2, "{name}: {understood} of {}", seeds.len());
        ensure!(understood < seeds.len(), "{name}: no seed is one that is not understood");
    }
    Ok(())
}

#[test]
fn every_folder_of_seeds_has_a_target() -> Result<()> {
    for folder in fs::read_dir(fuzz::corpus())? {
        let name = folder?.file_name();
        let target = name.to_str().and_then(fuzz::target);
        ensure!(target.is_some(), "{}", name.display());
    }
    Ok(())
}

#[test]
fn changed_seeds_are_survived() -> Result<()> {
    for (name, target) in TARGETS {
        let seeds: Vec<Vec<u8>> = fuzz::seeds(name)?.into_iter().map(|(_, seed)| seed).collect();
        let mut random = Random::new(0x006e_6574_6d6f_6e00);
        let changed = || mutated(&seeds, &mut random);
        let understood = std::iter::repeat_with(changed)
            .take(CHANGED)
            .filter(|input| run(name, *target, input))
            .count();
        // All or nothing would mean that the changes are too small or too great to tell anything.
        let share = 100 * understood / CHANGED;
        ensure!((1..=99).contains(&share), "{name}: {share} % understood");
    }
    Ok(())
}
