//! The live view's screen under anybody's hands: whatever is pressed, clicked and resized, and
//! whatever rows come and go, it neither panics nor draws outside, and what it says is selected is
//! a row that there is.

use std::sync::Arc;

use netmon::{
    model::{human::Units, traffic::names::Names},
    sinks::tui::{
        input::{Decoder, Input},
        samples::Router,
        screen::Screen,
        theme::Theme,
    },
};
use proptest::prelude::*;
use ratatui_core::{buffer::Buffer, layout::Rect};

/// What may happen to a screen.
#[derive(Clone, Debug)]
enum Happening {
    Bytes(Vec<u8>),
    Size(u16, u16),
    Tick { flows: u32, processes: u32 },
    Missing,
    Full,
}

/// What keyboards and mice send, more often than anything else.
const KEYS: &[&str] = &[
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "\t",
    "\x1b[Z",
    "j",
    "k",
    "G",
    "g",
    "\x1b[5~",
    "\x1b[6~",
    "\r",
    "\x1b",
    "\x7f",
    "<",
    ">",
    "r",
    "/",
    " ",
    "u",
    "h",
    "K",
    "i",
    "?",
    "\x1b[A",
    "\x1b[B",
    "/if:eth*\r",
    "/10.0.0.0/8\r",
    "/proc:",
    "/nothing\r",
    "\x15",
];

fn happening() -> impl Strategy<Value = Happening> {
    let key = prop::sample::select(KEYS).prop_map(|key| Happening::Bytes(key.into()));
    let mouse = (prop::sample::select(&[0, 64, 65][..]), 1_u16..120, 1_u16..50)
        .prop_map(|(what, x, y)| Happening::Bytes(format!("\x1b[<{what};{x};{y}M").into()));
    let bytes = prop::collection::vec(any::<u8>(), 0..20).prop_map(Happening::Bytes);
    let size = (0_u16..220, 0_u16..70).prop_map(|(width, height)| Happening::Size(width, height));
    let tick =
        (0_u32..60, 0_u32..30).prop_map(|(flows, processes)| Happening::Tick { flows, processes });
    prop_oneof![
        12 => key,
        4 => mouse,
        1 => bytes,
        1 => size,
        2 => tick,
        1 => Just(Happening::Missing),
        1 => Just(Happening::Full),
    ]
}

fn cells(screen: &mut Screen, width: u16, height: u16) {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    screen.draw(&mut buffer);
    for cell in buffer.content() {
        assert!(!cell.symbol().contains(char::is_control), "{cell:?}");
    }
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn nobody_breaks_it(
        unicode: bool,
        interfaces in 0_u32..12,
        happenings in prop::collection::vec(happening(), 1..60),
    ) {
        let theme = Theme { color: true, unicode };
        let mut screen = Screen::new(Units::default(), theme, Arc::new(Names::default()));
        let mut router = Router::new(interfaces, 20, 40);
        let mut decoder = Decoder::default();
        let (mut width, mut height) = (80, 24);
        for happening in happenings {
            match happening {
                Happening::Bytes(bytes) => {
                    let mut inputs: Vec<Input> = Vec::new();
                    decoder.feed(&bytes, |input| inputs.push(input));
                    decoder.give_up(|input| inputs.push(input));
                    for input in inputs {
                        screen.input(input);
                    }
                }
                Happening::Size(w, h) => (width, height) = (w, h),
                Happening::Tick { flows, processes } => {
                    (router.flows, router.processes) = (flows, processes);
                    router.tick();
                    router.show(&mut screen);
                }
                Happening::Missing => {
                    router.lose_traffic();
                    router.show(&mut screen);
                }
                Happening::Full => {
                    router.fill_tables();
                    router.show(&mut screen);
                }
            }
            cells(&mut screen, width, height);
        }
    }

    #[test]
    fn any_bytes_come_in_any_parts(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        part in 1_usize..9,
    ) {
        let mut whole = Vec::new();
        let mut decoder = Decoder::default();
        decoder.feed(&bytes, |input| whole.push(input));
        let mut parts = Vec::new();
        let mut decoder = Decoder::default();
        for part in bytes.chunks(part) {
            decoder.feed(part, |input| parts.push(input));
        }
        prop_assert_eq!(whole, parts);
    }
}
