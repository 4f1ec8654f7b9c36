use super::*;

fn link(name: &str) -> Link {
    let altnames = vec![format!("alternative-of-{name}")];
    Link { altnames, ..Link::sample(1, name) }
}

fn selection(wanted: &[&str], excluded: &[&str]) -> Selection {
    let parse = |texts: &[&str]| {
        texts.iter().map(|text| Selector::parse(text).unwrap()).collect::<Vec<_>>()
    };
    Selection { wanted: parse(wanted), excluded: parse(excluded) }
}

#[test]
fn arguments_that_cannot_be() {
    let why = |text: &str| Selector::parse(text).unwrap_err().to_string();
    assert_eq!(why(""), "an interface's name cannot be empty");
    assert!(why("a/b").contains("slash"));
    assert!(why("a b").contains("white space"));
    assert!(why("..").contains("not allow"));
    assert!(why(r"a\ b").contains("white space"));
    assert!(why(&"x".repeat(128)).contains("longer"));
}

#[test]
fn order_and_exclusion() {
    let selection = selection(&["lo", "eth*", "eth7"], &["eth1?"]);
    assert_eq!(selection.place_of(&link("lo")), Some(0));
    assert_eq!(selection.place_of(&link("eth2")), Some(1));
    assert_eq!(selection.place_of(&link("eth7")), Some(2), "a name goes before a pattern");
    assert_eq!(selection.place_of(&link("eth10")), None, "excluded");
    assert_eq!(selection.place_of(&link("wan")), None);
    assert!(selection.is_named(&link("eth7")) && !selection.is_named(&link("eth2")));
}

#[test]
fn an_interface_of_that_very_name_comes_before_a_pattern() {
    let links = ["eth[1]", "eth1", "eth*", "eth2", r"a\b", "ab"].map(link);
    let meant = |text: &str, literal| -> Vec<String> {
        let selection = selection(&[text], &[]).resolved(&links, literal);
        let meant = links.iter().filter(|link| selection.place_of(link).is_some());
        meant.map(|link| link.name.to_string()).collect()
    };
    for (text, names) in [
        ("eth[1]", &["eth[1]"][..]),
        (r"eth\[1\]", &["eth[1]"]),
        ("eth[[]1]", &["eth[1]"]),
        ("eth[2]", &["eth2"]),
        (r"eth\*", &["eth*"]),
        (r"a\b", &[r"a\b"]),
        (r"a\\b", &[r"a\b"]),
        ("ab", &["ab"]),
    ] {
        for literal in [Literal::First, Literal::Included] {
            assert_eq!(meant(text, literal), names, "{text}");
        }
    }
    assert_eq!(meant("eth*", Literal::First), ["eth*"]);
    assert_eq!(meant("eth*", Literal::Included), ["eth[1]", "eth1", "eth*", "eth2"]);
    let all = Selection { wanted: vec![Selector::All], excluded: Vec::new() };
    let all = all.resolved(&[link("*"), link("eth0")], Literal::First);
    assert!(all.place_of(&link("eth0")).is_some(), "--all is no pattern");
}

#[test]
fn what_is_excluded_is_read_likewise() {
    let links = ["eth[1]", "eth1"].map(link);
    let selection = selection(&["eth*"], &["eth[1]"]).resolved(&links, Literal::First);
    assert!(selection.excludes(&links[0]) && !selection.excludes(&links[1]));
}

#[test]
fn a_name_like_a_pattern_that_comes_later_is_meant_too() {
    let links = [link("eth1")];
    let selection = selection(&["eth[1]"], &[]).resolved(&links, Literal::First);
    assert!(selection.place_of(&link("eth1")).is_some());
    assert!(selection.is_named(&link("eth[1]")) && !selection.is_named(&link("eth1")));
}

#[test]
fn names_that_could_be_patterns_are_known_where_it_matters() {
    let selection = selection(&["eth[1]", "lan[1]", "wan[1]", "eth0"], &["x*"]);
    let links = ["eth[1]", "eth1", "lan[1]", "wan1", "eth0", "x*"].map(link);
    assert_eq!(selection.names_like_patterns(&links).collect::<Vec<_>>(), ["eth[1]"]);
}

#[test]
fn a_number_means_one_interface_whatever_the_names() {
    let of = |ifindex, name| Link::sample(ifindex, name);
    let wanted = vec![Selector::Index(IfIndex(7))];
    let selection = Selection { wanted, excluded: Vec::new() };
    assert_eq!(selection.place_of(&of(7, "old0")), Some(0));
    assert_eq!(selection.place_of(&of(8, "eth0")), None);
}

#[test]
fn alternative_names_are_names() {
    let selection = selection(&["alternative-of-eth0"], &[]);
    assert_eq!(selection.place_of(&link("eth0")), Some(0));
    assert_eq!(selection.check(&[link("eth0")]), Ok(()));
}

#[test]
fn doubled_is_told_and_watched_once() {
    let mut selection = selection(&["lo", "eth*", "lo", "eth*"], &[]);
    assert_eq!(selection.deduplicate(), ["lo", "eth*"]);
    assert_eq!(selection.wanted.len(), 2);
}

#[test]
fn unknown_names_get_the_nearest_and_the_list() {
    let links = [link("eth10"), link("eth0"), link("lo")];
    let error = selection(&["eht0"], &[]).check(&links).unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no interface 'eht0' (did you mean 'eth0' or 'eth10'?); \
         there are: eth0, eth10, lo"
    );
    let error = selection(&["wireguard7"], &[]).check(&links).unwrap_err().to_string();
    assert_eq!(error, "there is no interface 'wireguard7'; there are: eth0, eth10, lo");
    let error = selection(&["[lan"], &[]).check(&links).unwrap_err().to_string();
    assert!(error.contains("'[lan' (a '[' that nothing closes"), "{error}");
    let error = selection(&["sixteen-bytes-00"], &[]).check(&links).unwrap_err();
    assert!(error.to_string().contains("longer than 15"));
}

#[test]
fn nothing_matches_and_nothing_left() {
    let links = [link("eth0")];
    let error = selection(&["wan*"], &[]).check(&links).unwrap_err().to_string();
    assert_eq!(error, "no interface matches 'wan*'; there are: eth0");
    let error = selection(&["eth*"], &["eth0"]).check(&links).unwrap_err();
    assert_eq!(error, SelectError::NothingLeft);
}
