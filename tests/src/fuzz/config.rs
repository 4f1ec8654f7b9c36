//! The configuration file: what is read from it can be kept.

use netmon::{
    config::Layer,
    model::{
        link::{IfIndex, Link, LinkState, Offloads},
        options::{LONGEST_INTERVAL, SHORTEST_INTERVAL},
    },
};

pub(super) fn target(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let layer: Layer = match toml::from_str(text) {
        Ok(layer) => layer,
        Err(error) => {
            assert!(!error.to_string().trim().is_empty(), "an error without a word");
            return false;
        }
    };
    let names: Vec<String> = layer.interface.iter().map(|table| table.r#match.clone()).collect();
    let settings = match Layer::settings(Layer::default(), layer) {
        Ok(settings) => settings,
        Err(error) => {
            assert!(!error.to_string().trim().is_empty(), "an error without a word");
            return false;
        }
    };
    assert!((SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&settings.interval), "{settings:?}");
    for name in names {
        let wanted = settings.wanted(&link(&name));
        let most = LONGEST_INTERVAL.as_millis() / SHORTEST_INTERVAL.as_millis();
        assert!((1..=most).contains(&wanted.ticks.into()), "{wanted:?} of {settings:?}");
    }
    true
}

fn link(name: &str) -> Link {
    Link {
        ifindex: IfIndex(2),
        name: name.into(),
        altnames: Vec::new(),
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
