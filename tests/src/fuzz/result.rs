//! The JSON that is read back: an earlier result of a comparison, and a tick of a report.

use netmon::compare::{change, text, tick::Tick, window::Window};

/// What is understood can be shown, compared, written, and read back as it was.
pub(super) fn target(data: &[u8]) -> bool {
    let Ok(outcome) = change::parse(data) else { return false };
    let mut shown = String::new();
    text::write(&mut shown, &outcome);
    let changes = change::changes(&outcome, &outcome);
    text::write_changes(&mut shown, &changes);
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?} reaches a terminal");
    assert_eq!(changes.differs, Vec::<String>::new(), "it differs from itself");
    let written = serde_json::to_vec(&outcome).map_err(|error| error.to_string());
    let again = written.and_then(|written| change::parse(&written));
    let Ok(again) = again else { panic!("{again:?} of {outcome:?}") };
    // Numbers of more digits than a float keeps are not the same any more.
    assert_eq!(again.interfaces.len(), outcome.interfaces.len());
    assert_eq!(text::verdict_of(&again), text::verdict_of(&outcome));
    true
}

/// What is understood can be compared with itself, and then nothing has passed.
pub(super) fn tick(data: &[u8]) -> bool {
    let Ok(tick) = Tick::parse(data) else { return false };
    let mut window = Window::new(tick.clone());
    window.add(tick);
    assert_eq!(window.ticks(), 0);
    for compared in window.compare(&Default::default()) {
        for (name, direction) in compared.directions() {
            assert!(direction.unexplained.is_zero(), "{name}: {direction:?}");
            assert_eq!(direction.skb.packets, 0, "{name}: {direction:?}");
        }
    }
    true
}
