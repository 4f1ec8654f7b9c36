use super::*;
use crate::model::traffic::columns::{DropColumn, FlowColumn, ProcessColumn};
use crate::model::traffic::facts::FlowKey;
use crate::model::traffic::samples;
use crate::model::traffic::view::{FlowView, TrafficView};

fn names() -> Names {
    Names::parse("https 443/tcp\nhttps 443/udp\nquic 443/udp", "tcp 6\nudp 17")
}

fn view() -> TrafficView {
    samples::view()
}

fn flows(text: &str) -> Vec<u32> {
    let filter = Filter::parse(text, &names());
    assert_eq!(filter.errors, [], "{text}");
    let view = view();
    let shown = view.flows.iter().flatten();
    shown.filter(|row| filter.shows::<FlowColumn>(row, &names())).map(|row| row.id).collect()
}

fn processes(text: &str) -> Vec<String> {
    let filter = Filter::parse(text, &names());
    assert_eq!(filter.errors, [], "{text}");
    let view = view();
    let shown = view.processes.iter().flatten();
    let shown = shown.filter(|row| filter.shows::<ProcessColumn>(row, &names()));
    shown.map(|row| row.name.to_string()).collect()
}

fn why(text: &str) -> String {
    let errors = Filter::parse(text, &names()).errors;
    errors.iter().map(|error| format!("{:?} {error};", error.at)).collect()
}

#[test]
fn each_kind_of_word() {
    let all = [1, 2, 3, 4];
    let table: &[(&str, &[u32])] = &[
        ("", &all),
        ("port:443", &[1, 2]),
        ("port:https", &[1, 2]),
        ("sport:443", &[2]),
        ("dport:1-1000", &[1, 4]),
        ("dport:50000-", &[2]),
        ("src:10.0.0.1", &[1]),
        ("dst:10.0.0.0/8", &[2, 4]),
        ("10.0.0.0/8", &[1, 2, 4]),
        ("2001:db8::/32", &[3]),
        ("!2001:db8::/32", &[1, 2, 4]),
        ("if:eth0", &[1, 2]),
        ("if:eth", &[]),
        ("if:eth*", &[1, 2, 4]),
        ("dir:rx", &[2, 3]),
        ("dir:TX", &[1, 4]),
        ("proto:tcp", &[1, 2]),
        ("proto:6", &[1, 2]),
        ("proto:icmp*", &[3]),
        ("pid:101", &[1, 2]),
        ("proc:CUR", &[1, 2]),
        ("proc:c?rl", &[1, 2]),
        ("proc:c?r", &[]),
        ("vlan:7", &[4]),
        ("2.0.2", &[1, 2]),
        ("curl !dir:rx", &[1]),
        ("!port:443 !proto:udp", &[3]),
        // Not finished, or of another table.
        ("port: ! src:10.0.0.0/ 10.0.0.0/ dir:r proc:", &all),
        ("reason:QDISC !cgroup:x", &all),
        ("reason:QDISC port:443", &[1, 2]),
    ];
    for (text, shown) in table {
        assert_eq!(flows(text), *shown, "{text}");
    }
}

#[test]
fn processes_and_their_users() {
    assert_eq!(processes("user:alice"), ["curl"]);
    assert_eq!(processes("user:1000"), ["curl"]);
    assert_eq!(processes("user:100"), [""; 0], "a number is not a part of one");
    assert_eq!(processes("cgroup:nginx"), ["nginx"]);
    assert_eq!(processes("EXAMPLE.org"), ["curl"], "the command line, too");
    assert_eq!(processes("port:443 10.0.0.0/8").len(), 3);
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_says_nothing() {
    assert!(why("a prot:x").starts_with("2..8 'prot:x': there is no 'prot:'; there are: proc, "));
    assert_eq!(why("port:70000"), "0..10 'port:70000': a port is a number from 0 to 65535;");
    assert_eq!(why("port:no"), "0..7 'port:no': no service has this name;");
    assert_eq!(why("pid:+1"), "0..6 'pid:+1': a process id is a number from 0 to 4294967295;");
    assert_eq!(why("10.0.0.0/33"), "0..11 '10.0.0.0/33': the length is from 0 to 32;");
    assert_eq!(why("::/129"), "0..6 '::/129': the length is from 0 to 128;");
    assert_eq!(why("src:ten"), "0..7 'src:ten': it is no address;");
    assert_eq!(why("ü dir:up"), "3..9 'dir:up': the direction is rx or tx;");
    assert!(Filter::parse("dir:up prot:x 10.0.0.0/99", &names()).is_empty());
    assert!(!why("\u{1b}:x").contains('\u{1b}'));
}

#[test]
fn words_of_other_tables_are_known() {
    let filter = Filter::parse("port:443 reason:x plain if:eth0 10.0.0.1", &names());
    let foreign = |errors: Vec<FilterError>| -> String {
        errors.into_iter().map(|error| error.word + " ").collect()
    };
    assert_eq!(foreign(filter.foreign::<FlowColumn>()), "reason:x ");
    assert_eq!(foreign(filter.foreign::<DropColumn>()), "port:443 10.0.0.1 ");
}

#[test]
fn networks_of_every_length() {
    let within = |network: &str, address: &str| {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    };
    assert!(within("0.0.0.0/0", "255.1.2.3") && within("::/0", "ffff::1"));
    assert!(!within("0.0.0.0/0", "::1"), "another family");
    assert!(within("10.1.2.3/31", "10.1.2.2") && !within("10.1.2.3/32", "10.1.2.2"));
    assert!(within("fe80::/10", "febf::1") && !within("fe80::/10", "fec0::1"));
}

#[test]
fn odd_flows_do_no_harm() {
    let mut flow: FlowView = view().flows.unwrap().remove(0);
    flow.key = FlowKey { addresses: None, ports: (0, 0), ..flow.key };
    flow.process = None;
    for text in ["10.0.0.0/8", "port:443", "curl", "pid:1"] {
        let filter = Filter::parse(text, &names());
        assert!(!filter.shows::<FlowColumn>(&flow, &names()), "{text}");
        let filter = Filter::parse(&format!("!{text}"), &names());
        assert!(filter.shows::<FlowColumn>(&flow, &names()), "{text}");
    }
}

#[test]
fn an_interface_of_that_very_name_comes_before_a_pattern() {
    let existing = ["eth[1]", "eth1", "eth2", "Lan0", "lan0", "[wan"];
    let names = names().with_interfaces(existing.map(Into::into));
    let shown = |text: &str| -> Vec<&str> {
        let filter = Filter::parse(text, &names);
        assert_eq!(filter.errors, [], "{text}");
        let is_shown = |name: &&str| filter.words.iter().all(|word| word.wanted.is_text(name));
        existing.into_iter().filter(is_shown).collect()
    };
    assert_eq!(shown("if:eth[1]"), ["eth[1]"]);
    assert_eq!(shown(r"if:eth\[1\]"), ["eth[1]"]);
    assert_eq!(shown("if:eth[2]"), ["eth2"]);
    assert_eq!(shown("if:ETH*"), ["eth[1]", "eth1", "eth2"]);
    assert_eq!(shown("if:[wan"), ["[wan"]);
    assert_eq!(shown("if:lan0"), ["lan0"], "it exists");
    assert_eq!(shown("if:LAN0"), ["Lan0", "lan0"]);
    let filter = Filter::parse("if:eth* if:eth7 !if:x[1] proc:x", &names);
    assert_eq!(filter.of_no_interface(&names).collect::<Vec<_>>(), ["if:eth7", "!if:x[1]"]);
}
