//! Keys and the mouse against what they make of the state.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::*;

/// The tab, the order, the row that is selected, what the flows are of, and the filter.
fn summary(screen: &mut Screen) -> String {
    frame(screen, (80, 24));
    let state = screen.state().clone();
    let this = tab(state.tab);
    let table = state.table();
    let mut text = format!("{} {}", this.short, this.columns[table.sort].title);
    text.push_str(if table.reversed { " reversed" } else { "" });
    if table.selected.is_some() {
        let row = screen.order[table.place] as usize;
        let data = screen.frozen.as_deref().unwrap_or(&screen.live);
        text.push_str(" at ");
        (this.columns[0].cell)(data, row).write(state.units, PLAIN, &mut text);
    }
    match &state.scope {
        Some(Scope::Interface(_, name)) => write!(text, " of {name}").unwrap(),
        Some(Scope::Process { pid, .. }) => write!(text, " of {pid}").unwrap(),
        None => {}
    }
    if !table.filter.is_empty() || state.editing {
        write!(text, " /{}{}", table.filter, if state.editing { "_" } else { "" }).unwrap();
    }
    text
}

#[test]
fn keys_do_what_the_help_says() {
    let table = [
        ("", "If NAME"),
        // Tabs.
        ("2", "Proc AVG"),
        ("\t\t", "Flows RATE"),
        ("\x1b[Z", "Events TIME"),
        ("\x1b[C\x1b[C\x1b[D", "Proc AVG"),
        // Order.
        (">", "If STATE"),
        ("<", "If COUNTED BY"),
        // The picture between has no order.
        ("<<", "If UP/DN"),
        ("<<>", "If COUNTED BY"),
        ("<>", "If NAME"),
        ("r", "If NAME reversed"),
        ("r>", "If STATE"),
        ("rr", "If NAME"),
        // Rows. The first press of an arrow selects the first row that is seen.
        ("j", "If NAME at br-lan"),
        ("jj", "If NAME at eth0"),
        ("jjk", "If NAME at br-lan"),
        ("kkk", "If NAME at br-lan"),
        ("G", "If NAME at wg0"),
        ("Gj", "If NAME at wg0"),
        ("Gg", "If NAME at br-lan"),
        ("\x1b[6~", "If NAME at wg0"),
        ("\x1b[F\x1b[5~", "If NAME at br-lan"),
        ("jj\x1b", "If NAME"),
        // The selection follows its row.
        ("jjr", "If NAME reversed at eth0"),
        ("jj>>", "If RX at eth0"),
        // Into rows and back.
        ("\r", "If NAME at br-lan"),
        ("jj\r", "Flows RATE of eth0"),
        ("jj\r\x1b", "If NAME at eth0"),
        ("jj\r\x7f", "If NAME at eth0"),
        ("2j\r", "Flows RATE of 1000"),
        ("2j\rj\r", "Flows RATE at lo of 1000"),
        ("2j\r\x1b", "Proc AVG at nginx"),
        ("1j\r3", "Flows RATE"),
        ("3>>j2\t", "Flows PEAK at lo"),
        ("3j1jj\r\x1b3", "Flows RATE at lo"),
        ("5j\r", "If NAME at eth0"),
        ("6j\r", "Events TIME at 22:13:23"),
        ("6jj\r", "If NAME at wan0"),
        // The filter.
        ("/", "If NAME /_"),
        ("/eth", "If NAME /eth_"),
        ("/eth j\x7f\x7f\r", "If NAME /eth"),
        ("/one two\x17\r", "If NAME /one "),
        ("/one\x15\r", "If NAME"),
        ("/eth\x1b", "If NAME"),
        ("/eth\r\x1b", "If NAME"),
        ("/eth\rG", "If NAME at veth網路0 /eth"),
        ("/eth\r23\x1b[Z\x1b[Z", "If NAME /eth"),
        ("/wg\rj/\x7f\x7f", "If NAME at wg0 /_"),
        ("/wg\rjj\r/lo\r\x1b\x1b", "If NAME at wg0 /wg"),
        // The help takes no other key for its own.
        ("?2", "Proc AVG"),
        ("?jj", "If NAME"),
        ("?\x1bj", "If NAME at br-lan"),
    ];
    for (keys, wanted) in table {
        let mut screen = screen_of(&mut Router::new(8, 40, 300), 3);
        frame(&mut screen, (80, 24));
        press_each(&mut screen, keys);
        assert_eq!(summary(&mut screen), wanted, "{keys:?}");
    }
}

/// With a frame between, as people type.
fn press_each(screen: &mut Screen, keys: &str) {
    let mut inputs = Vec::new();
    let mut decoder = Decoder::default();
    decoder.feed(keys.as_bytes(), |input| inputs.push(input));
    decoder.give_up(|input| inputs.push(input));
    for input in inputs {
        screen.input(input);
        frame(screen, (80, 24));
    }
}

#[test]
fn every_column_but_pictures_can_be_sorted_by() {
    for (name, number) in TabName::ALL.into_iter().zip(1..) {
        for key in ["<", ">"] {
            let mut screen = screen_of(&mut Router::new(8, 40, 300), 3);
            press_each(&mut screen, &format!("{number}"));
            let mut seen = BTreeSet::new();
            for _ in tab(name).columns {
                press_each(&mut screen, key);
                seen.insert(screen.state.table().sort);
            }
            let columns = tab(name).columns.iter().enumerate();
            let all = columns.filter(|(_, column)| column.is_sortable()).map(|(at, _)| at);
            assert_eq!(seen, all.collect(), "{name:?} {key}");
        }
    }
}

#[test]
fn keys_for_the_agent() {
    let mut screen = usual();
    for (key, effect) in [
        (Key::Char('q'), Effect::Quit),
        (Key::Ctrl('c'), Effect::Quit),
        (Key::Ctrl('z'), Effect::Suspend),
        (Key::Ctrl('l'), Effect::Redraw),
    ] {
        assert_eq!(screen.input(Input::Key(key)), effect);
    }
    press(&mut screen, "?");
    assert_eq!(screen.input(Input::Key(Key::Char('q'))), Effect::Quit);
    press(&mut screen, "/q");
    assert_eq!(screen.input(Input::Key(Key::Ctrl('c'))), Effect::Quit);
}

#[test]
fn the_mouse() {
    let click = |x: u16, y: u16| format!("\x1b[<0;{};{}M", x + 1, y + 1);
    let table = [
        (click(17, 2), "Proc AVG"),
        (click(79, 2), "If NAME"),
        (click(24, 4), "If RX"),
        (click(24, 4) + &click(24, 4), "If RX reversed"),
        (click(24, 4) + &click(3, 4), "If NAME"),
        (click(30, 6), "If NAME at eth0"),
        (click(30, 6) + &click(2, 6), "Flows RATE of eth0"),
        (click(30, 20), "If NAME"),
        (click(0, 23), "If NAME"),
        ("j\x1b[<65;1;1M".to_owned(), "If NAME at eth1.100"),
        ("j\x1b[<65;1;1M\x1b[<64;1;1M".to_owned(), "If NAME at br-lan"),
        ("?".to_owned() + &click(17, 2), "If NAME"),
    ];
    for (keys, wanted) in table {
        let mut screen = screen_of(&mut Router::new(8, 40, 300), 3);
        frame(&mut screen, (80, 24));
        press_each(&mut screen, &keys);
        assert_eq!(summary(&mut screen), wanted, "{keys:?}");
    }
    // Before another tab is drawn, what is seen are not its columns.
    let mut screen = usual();
    press(&mut screen, "3");
    frame(&mut screen, (200, 60));
    press(&mut screen, &("5".to_owned() + &click(190, 4)));
    assert_eq!(summary(&mut screen), "Drops PKT/S");
    // Without a selection the wheel moves the rows.
    let mut screen = usual();
    frame(&mut screen, (80, 24));
    press_each(&mut screen, "3\x1b[<65;1;1M\x1b[<65;1;1M");
    assert_eq!((screen.state.table().top, &screen.state.table().selected), (6, &None));
}

#[test]
fn a_selected_row_is_followed_and_its_place_kept_when_it_is_gone() {
    let mut router = Router::new(8, 40, 300);
    let mut screen = screen_of(&mut router, 3);
    press_each(&mut screen, "2jj");
    assert_eq!(summary(&mut screen), "Proc AVG at curl");
    // The first one is idle now.
    let processes = router.traffic.processes.as_mut().unwrap();
    (processes[0].rx.average, processes[0].tx.average) = (Some(0.0), Some(0.0));
    router.show(&mut screen);
    assert_eq!(summary(&mut screen), "Proc AVG at curl");
    assert_eq!(screen.state.table().place, 0);
    router.traffic.processes.as_mut().unwrap().remove(1);
    router.show(&mut screen);
    assert_eq!(summary(&mut screen), "Proc AVG at sshd");
    router.traffic.processes.as_mut().unwrap().clear();
    router.show(&mut screen);
    assert_eq!(summary(&mut screen), "Proc AVG");
}
