//! Frames against golden files.
//! `UPDATE_GOLDEN=1` writes the files anew: look at what git says then.

use std::path::Path;

use ratatui_core::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::model::traffic::names::Names;
use crate::sinks::tui::input::Decoder;
use crate::sinks::tui::samples::Router;

mod hands;

const PLAIN: Theme = Theme { color: false, unicode: true };
const SIZES: [(u16, u16); 4] = [(80, 24), (120, 40), (200, 60), (40, 10)];

/// A router after some ticks, and the screen that has seen them all.
fn screen_of(router: &mut Router, ticks: u64) -> Screen {
    let mut screen = new_screen(PLAIN);
    for _ in 0..ticks {
        router.tick();
        router.show(&mut screen);
    }
    screen
}

fn new_screen(theme: Theme) -> Screen {
    let names = Names::parse("https 443/tcp", "tcp 6");
    Screen::new(Units::default(), theme, Arc::new(names))
}

fn usual() -> Screen {
    screen_of(&mut Router::new(8, 40, 300), 100)
}

fn press(screen: &mut Screen, keys: &str) {
    let mut inputs = Vec::new();
    let mut decoder = Decoder::default();
    decoder.feed(keys.as_bytes(), |input| inputs.push(input));
    decoder.give_up(|input| inputs.push(input));
    for input in inputs {
        assert_eq!(screen.input(input), Effect::Draw);
    }
}

fn frame(screen: &mut Screen, (width, height): (u16, u16)) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    screen.draw(&mut buffer);
    buffer
}

fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in buffer.content.chunks(buffer.area.width.into()) {
        let mut line = String::new();
        let mut hidden = 0;
        for cell in row {
            // What a wide character covers is not there.
            if hidden == 0 {
                line.push_str(cell.symbol());
                hidden = cell.symbol().width();
            }
            hidden = hidden.saturating_sub(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[track_caller]
fn golden(name: &str, screen: &mut Screen, size: (u16, u16)) {
    let name = format!("{name}-{}x{}.txt", size.0, size.1);
    let drawn = text(&frame(screen, size));
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sinks/tui/screen/golden").join(&name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(drawn == wanted, "{name} is not as it was; now:\n{drawn}");
}

#[test]
fn every_tab_at_every_size() {
    let mut screen = usual();
    for (number, name) in
        ["interfaces", "processes", "flows", "protocols", "drops", "events"].iter().enumerate()
    {
        press(&mut screen, &(number + 1).to_string());
        for size in SIZES {
            golden(name, &mut screen, size);
        }
    }
}

#[test]
fn nothing_is_known_yet() {
    let mut screen = new_screen(PLAIN);
    golden("empty-interfaces", &mut screen, (80, 24));
    press(&mut screen, "2");
    golden("empty-processes", &mut screen, (80, 24));
}

#[test]
fn what_is_missing_is_told_with_the_reason() {
    let mut router = Router::new(4, 3, 5);
    let mut screen = new_screen(PLAIN);
    router.tick();
    router.lose_traffic();
    router.show(&mut screen);
    for (keys, name) in [
        ("1", "interfaces"),
        ("2", "processes"),
        ("3", "flows"),
        ("4", "protocols"),
        ("5", "drops"),
    ] {
        press(&mut screen, keys);
        golden(&format!("missing-{name}"), &mut screen, (80, 24));
    }
}

#[test]
fn full_tables_and_samples_are_told() {
    let mut router = Router::new(4, 3, 5);
    let mut screen = new_screen(PLAIN);
    router.tick();
    router.fill_tables();
    router.show(&mut screen);
    press(&mut screen, "2");
    golden("full-processes", &mut screen, (80, 24));
    press(&mut screen, "3");
    golden("full-flows", &mut screen, (80, 24));
}

#[test]
fn it_stands_still_while_paused() {
    let mut router = Router::new(4, 3, 5);
    let mut screen = screen_of(&mut router, 3);
    press(&mut screen, " ");
    golden("paused", &mut screen, (80, 24));
    let still = text(&frame(&mut screen, (80, 24)));
    router.tick();
    assert!(!router.show(&mut screen), "nothing to draw");
    assert_eq!(text(&frame(&mut screen, (80, 24))), still);
    press(&mut screen, "2");
    assert!(text(&frame(&mut screen, (80, 24))).contains("nginx"), "keys go on working");
    press(&mut screen, "1 ");
    let now = text(&frame(&mut screen, (80, 24)));
    assert!(now.contains("22:13:24") && !now.contains("PAUSED"), "{now}");
}

#[test]
fn filters() {
    let mut screen = usual();
    press(&mut screen, "3/proc:nginx port:443");
    golden("filter-typed", &mut screen, (80, 24));
    press(&mut screen, " size:7");
    golden("filter-wrong", &mut screen, (80, 24));
    press(&mut screen, "\x17\r");
    golden("filter-kept", &mut screen, (80, 24));
    press(&mut screen, "1/if:eth* proc:x");
    golden("filter-foreign", &mut screen, (80, 24));
}

#[test]
fn into_the_rows() {
    let mut screen = usual();
    press(&mut screen, "jj");
    golden("selected-interface", &mut screen, (80, 24));
    press(&mut screen, "\r");
    golden("flows-of-interface", &mut screen, (80, 24));
    press(&mut screen, "jjj");
    golden("selected-flow", &mut screen, (80, 24));
    press(&mut screen, "1\x1b[H");
    press(&mut screen, "2\x1b[Hj\r");
    golden("flows-of-process", &mut screen, (80, 24));
    golden("flows-of-process", &mut screen, (40, 10));
}

/// What the rows are sorted by comes on the screen; where there is no room for it, it is told.
#[test]
fn any_column_sorts() {
    let mut screen = usual();
    press(&mut screen, "3>>>>>>>>");
    golden("by-vlan", &mut screen, (80, 24));
    golden("by-vlan", &mut screen, (40, 10));
    press(&mut screen, "r");
    golden("by-vlan-reversed", &mut screen, (40, 10));
    press(&mut screen, "2<<<");
    golden("by-user", &mut screen, (80, 24));
    press(&mut screen, "<<<");
    golden("by-command", &mut screen, (80, 24));
}

#[test]
fn units_and_signs() {
    let mut screen = usual();
    press(&mut screen, "u");
    golden("bits", &mut screen, (80, 24));
    press(&mut screen, "uh");
    golden("raw", &mut screen, (120, 40));
    press(&mut screen, "u");
    golden("raw-bits", &mut screen, (80, 24));
    let mut router = Router::new(8, 40, 300);
    let mut screen = new_screen(Theme { color: false, unicode: false });
    for _ in 0..100 {
        router.tick();
        router.show(&mut screen);
    }
    press(&mut screen, "j");
    golden("ascii", &mut screen, (120, 24));
    assert!(text(&frame(&mut screen, (120, 24))).is_ascii());
}

#[test]
fn help_and_no_room() {
    let mut screen = usual();
    press(&mut screen, "?");
    golden("help", &mut screen, (80, 24));
    golden("help", &mut screen, (40, 10));
    press(&mut screen, "jjj");
    golden("help-below", &mut screen, (40, 10));
    press(&mut screen, "\x1b");
    golden("too-small", &mut screen, (39, 10));
    golden("too-small", &mut screen, (10, 3));
    for size in [(0, 0), (1, 1), (65_535, 1), (1, 500), (500, 8)] {
        frame(&mut screen, size);
    }
}

/// What is told by a colour is told without it, too.
#[test]
fn colours_add_to_signs_and_replace_none() {
    let mut screen = usual();
    press(&mut screen, "j");
    let plain = frame(&mut screen, (80, 24));
    screen.theme.color = true;
    let colored = frame(&mut screen, (80, 24));
    assert_eq!(text(&plain), text(&colored));
    for cell in &plain.content {
        assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
    }
    let used = [Color::Reset, Color::Cyan, Color::Yellow];
    for cell in &colored.content {
        assert!(used.contains(&cell.fg) && cell.bg == Color::Reset, "{cell:?}");
    }
    let row = plain.content.chunks(80).find(|row| row[0].symbol() == ">").unwrap();
    assert!(row.iter().all(|cell| cell.modifier.contains(Modifier::REVERSED)));
}

#[test]
fn kernel_threads_are_shown_when_asked_for() {
    let mut screen = usual();
    press(&mut screen, "2");
    assert!(!text(&frame(&mut screen, (80, 60))).contains("kworker"));
    press(&mut screen, "K");
    assert!(text(&frame(&mut screen, (80, 60))).contains("kworker"));
}

#[test]
fn it_begins_as_it_was_asked_to() {
    let mut screen = usual().beginning_with("kwork", true);
    press(&mut screen, "2");
    let shown = text(&frame(&mut screen, (80, 60)));
    assert!(shown.contains("kworker") && !shown.contains("curl"), "{shown}");
}
