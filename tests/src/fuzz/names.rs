//! `/etc/services` and `/etc/protocols`: every name that is given stands in the text, with its
//! number. Input: both files, with a line `--` between them.

use netmon::model::traffic::{names::Names, protocol::Protocol};

pub(super) fn target(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let (services, protocols) = text.split_once("\n--\n").unwrap_or((&text, ""));
    let names = Names::parse(services, protocols);
    let mut understood = false;
    let written = protocols.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    for number in written.take(20).chain([0, 6, 99]) {
        let name = names.protocol(Protocol::Ip(number));
        let known = names.number(&name);
        assert!(known.is_some() || *name == *number.to_string(), "{number} is {name:?}");
        shown(&name);
    }
    // Ports that stand in the text, and some others.
    let written = services.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    for port in written.take(20).chain([0, 443, u16::MAX]) {
        for number in [6, 17, 132] {
            let Some(name) = names.service(Protocol::Ip(number), port) else { continue };
            assert!(services.contains(name), "{name:?} of {port}");
            assert!(names.ports(name).contains(&port), "{name:?} is not at {port}");
            shown(name);
            understood = true;
        }
    }
    understood
}

fn shown(name: &str) {
    let fits = !name.is_empty() && name.len() <= 40;
    assert!(fits && name.bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
}
