//! The configuration file (TOML): the same settings as the flags of `netmon run`, which win over
//! it, and settings for single interfaces or patterns. Unknown keys are refused with their line.
//! `netmon/netmon.toml` shows every key with its default.

mod traffic;
mod workers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::model::link::Link;
use crate::model::options::{DEFAULT_INTERVAL, Format, Hook, SourceChoice, parse_interval};
use crate::model::select::{Literal, SelectError, Selection, Selector};
pub use traffic::{TrafficLayer, TrafficSettings};
pub use workers::WorkerLimits;

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not what it should be; the text names the line.
    #[error("in the configuration file {path}: {}", error.to_string().trim_end())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: Box<toml::de::Error>,
    },
    /// An interface or pattern cannot be.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// An interface's interval cannot be kept.
    #[error(
        "in the configuration: the interval of '{interface}' is shorter than the report's; \
         it can only be longer"
    )]
    TooFast {
        /// The `match` of its table.
        interface: String,
    },
    /// A number in the table `[traffic]`, or the flag that stands for it, cannot be.
    #[error("{key} (--{}) {why}", key.replace('_', "-"))]
    Traffic {
        /// Which.
        key: &'static str,
        /// What it must be.
        why: &'static str,
    },
}

/// The file, or the flags: what is not said is `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Names and patterns, in the report's order.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// Every interface.
    pub all: Option<bool>,
    /// Names and patterns to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Where packets and bytes come from.
    pub source: Option<SourceChoice>,
    /// Where to count.
    pub hook: Option<Hook>,
    /// Between reports.
    #[serde(default, deserialize_with = "interval")]
    pub interval: Option<Duration>,
    /// How the report is written.
    pub format: Option<Format>,
    /// Set downed links up again.
    pub recover: Option<bool>,
    /// Wait for interfaces that do not exist yet.
    pub wait: Option<bool>,
    /// See [`WorkerLimits::in_all`].
    pub max_workers: Option<u32>,
    /// See [`WorkerLimits::per_namespace`].
    pub max_workers_per_namespace: Option<u32>,
    /// Who and what the traffic is.
    #[serde(default)]
    pub traffic: TrafficLayer,
    /// Settings for single interfaces or patterns; the first that says something wins.
    #[serde(default)]
    pub interface: Vec<InterfaceLayer>,
}

/// A table `[[interface]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceLayer {
    /// Which interfaces.
    pub r#match: String,
    /// Set it up again when it is down.
    pub recover: Option<bool>,
    /// Where to count.
    pub hook: Option<Hook>,
    /// Between its reports; rounded up to a multiple of the report's.
    #[serde(default, deserialize_with = "interval")]
    pub interval: Option<Duration>,
}

fn interval<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    parse_interval(&text).map(Some).map_err(serde::de::Error::custom)
}

impl Layer {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or says something unknown or wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), error: Box::new(error) })
    }

    /// The settings that flags over a file make. Interfaces from the command line replace those
    /// of the file; what is left out adds up.
    ///
    /// # Errors
    /// When a name, a pattern or an interval cannot be.
    pub fn settings(flags: Self, file: Self) -> Result<Settings, ConfigError> {
        let asked = !flags.interfaces.is_empty() || flags.all == Some(true);
        let (interfaces, all) =
            if asked { (&flags.interfaces, flags.all) } else { (&file.interfaces, file.all) };
        let parse = |texts: &[String]| {
            texts.iter().map(|text| Selector::parse(text)).collect::<Result<Vec<_>, _>>()
        };
        let mut wanted = parse(interfaces)?;
        if all == Some(true) {
            wanted.push(Selector::All);
        }
        let excluded = parse(&[flags.exclude, file.exclude].concat())?;
        let default = WorkerLimits::default();
        let per_namespace = flags.max_workers_per_namespace.or(file.max_workers_per_namespace);
        let workers = WorkerLimits {
            per_namespace: per_namespace.unwrap_or(default.per_namespace),
            in_all: flags.max_workers.or(file.max_workers).unwrap_or(default.in_all),
        };
        let interval = flags.interval.or(file.interval).unwrap_or(DEFAULT_INTERVAL);
        let interfaces = file
            .interface
            .into_iter()
            .map(|layer| InterfaceRule::new(layer, interval, flags.hook, flags.recover))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Settings {
            selection: Selection { wanted, excluded },
            source: flags.source.or(file.source).unwrap_or_default(),
            hook: flags.hook.or(file.hook).unwrap_or_default(),
            interval,
            format: flags.format.or(file.format).unwrap_or_default(),
            recover: flags.recover.or(file.recover).unwrap_or(true),
            wait: flags.wait.or(file.wait).unwrap_or(false),
            workers,
            interfaces,
            traffic: TrafficLayer::settings(flags.traffic, file.traffic)?,
        })
    }
}

/// What netmon is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which interfaces.
    pub selection: Selection,
    /// Where packets and bytes come from.
    pub source: SourceChoice,
    /// Where to count, unless a rule says otherwise.
    pub hook: Hook,
    /// Between reports.
    pub interval: Duration,
    /// How the report is written.
    pub format: Format,
    /// Set downed links up again, unless a rule says otherwise.
    pub recover: bool,
    /// Wait for interfaces that do not exist yet.
    pub wait: bool,
    /// How many processes watch interfaces, where each has one of its own.
    pub workers: WorkerLimits,
    /// Rules for single interfaces.
    pub interfaces: Vec<InterfaceRule>,
    /// Who and what the traffic is.
    pub traffic: TrafficSettings,
}

/// What differs for some interfaces.
#[derive(Clone, Debug)]
pub struct InterfaceRule {
    selector: Selector,
    recover: Option<bool>,
    hook: Option<Hook>,
    ticks: Option<u64>,
}

impl InterfaceRule {
    fn new(
        layer: InterfaceLayer,
        tick: Duration,
        hook: Option<Hook>,
        recover: Option<bool>,
    ) -> Result<Self, ConfigError> {
        let selector = Selector::parse(&layer.r#match)?;
        let ticks = match layer.interval {
            Some(interval) if interval < tick => {
                return Err(ConfigError::TooFast { interface: layer.r#match });
            }
            Some(interval) => Some(interval.as_nanos().div_ceil(tick.as_nanos()) as u64),
            None => None,
        };
        Ok(Self { selector, recover: recover.or(layer.recover), hook: hook.or(layer.hook), ticks })
    }
}

/// What is wanted of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Set it up again.
    pub recover: bool,
    /// Where to count.
    pub hook: Hook,
    /// It is reported every so many ticks.
    pub ticks: u64,
}

impl Settings {
    /// What they mean where these interfaces exist: see [`Selection::resolved`].
    #[must_use]
    pub fn resolved(&self, links: &[Link], literal: Literal) -> Self {
        let resolve = |rule: &InterfaceRule| {
            let selector = rule.selector.resolved(links, literal);
            InterfaceRule { selector, ..rule.clone() }
        };
        Self {
            selection: self.selection.resolved(links, literal),
            interfaces: self.interfaces.iter().map(resolve).collect(),
            ..self.clone()
        }
    }

    /// The rules that are about none of these interfaces.
    pub fn idle_rules(&self, links: &[Link]) -> impl Iterator<Item = &Selector> {
        let rules = self.interfaces.iter().map(|rule| &rule.selector);
        rules.filter(|selector| !links.iter().any(|link| selector.matches(link)))
    }

    /// What is wanted of an interface.
    #[must_use]
    pub fn wanted(&self, link: &Link) -> Wanted {
        let mut rules = self.interfaces.iter().filter(|rule| rule.selector.matches(link));
        let mut wanted = (None, None, None);
        for rule in &mut rules {
            wanted.0 = wanted.0.or(rule.recover);
            wanted.1 = wanted.1.or(rule.hook);
            wanted.2 = wanted.2.or(rule.ticks);
        }
        Wanted {
            recover: wanted.0.unwrap_or(self.recover),
            hook: wanted.1.unwrap_or(self.hook),
            ticks: wanted.2.unwrap_or(1),
        }
    }

    /// Whether clsact is wanted anywhere, although there may be something better.
    #[must_use]
    pub fn wants_clsact(&self) -> bool {
        let rules = self.interfaces.iter().filter_map(|rule| rule.hook);
        std::iter::once(self.hook).chain(rules).any(|hook| hook == Hook::Clsact)
    }

    /// Whether XDP is wanted anywhere.
    #[must_use]
    pub fn wants_xdp(&self) -> bool {
        let xdp = |hook: Hook| matches!(hook, Hook::Xdp | Hook::XdpGeneric);
        xdp(self.hook) || self.interfaces.iter().filter_map(|rule| rule.hook).any(xdp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../netmon.toml");

    fn link(name: &str) -> Link {
        Link::sample(1, name)
    }

    fn settings(flags: Layer, file: &str) -> Settings {
        Layer::settings(flags, toml::from_str(file).unwrap()).unwrap()
    }

    #[test]
    fn the_sample_says_what_is_so_without_it() {
        let sample = settings(Layer::default(), SAMPLE);
        let nothing = settings(Layer::default(), "");
        assert_eq!(format!("{sample:?}"), format!("{nothing:?}"));
    }

    #[test]
    fn the_sample_has_every_key() {
        // Each commented line is a key, too: all of them together must be read.
        let all: String = SAMPLE
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let layer: Layer = toml::from_str(&all).unwrap();
        let Layer {
            interfaces,
            all,
            exclude,
            source,
            hook,
            interval,
            format,
            recover,
            wait,
            max_workers,
            max_workers_per_namespace,
            traffic,
            interface,
        } = layer;
        assert!(!interfaces.is_empty() && !exclude.is_empty() && all.is_some());
        assert!(source.is_some() && hook.is_some() && interval.is_some() && format.is_some());
        assert!(recover.is_some() && wait.is_some());
        assert!(max_workers.is_some() && max_workers_per_namespace.is_some());
        let TrafficLayer {
            parts,
            flow_capacity,
            flow_sample,
            alpha,
            alert_process,
            alert_flow,
            alert_interface,
        } = traffic;
        assert!(parts.is_some() && flow_capacity.is_some() && flow_sample.is_some());
        assert!(alpha.is_some() && alert_process.is_some());
        assert!(alert_flow.is_some() && alert_interface.is_some());
        let InterfaceLayer { r#match, recover, hook, interval } = &interface[0];
        assert!(!r#match.is_empty() && recover.is_some() && hook.is_some() && interval.is_some());
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = r#"
            interfaces = ["eth*"]
            exclude = ["eth9"]
            interval = "5s"
            max_workers = 7
            max_workers_per_namespace = 5
            hook = "tc"
            recover = true
            [[interface]]
            match = "eth0"
            hook = "xdp"
            recover = true
        "#;
        let flags = Layer {
            interfaces: vec!["lo".to_owned()],
            interval: Some(Duration::from_secs(2)),
            recover: Some(false),
            max_workers: Some(9),
            ..Layer::default()
        };
        let both = settings(flags, file);
        assert_eq!(both.selection.wanted, [Selector::Name("lo".to_owned())]);
        assert_eq!(both.selection.excluded.len(), 1);
        assert_eq!(both.interval, Duration::from_secs(2));
        assert_eq!(both.workers, WorkerLimits { per_namespace: 5, in_all: 9 });
        let wanted = Wanted { recover: false, hook: Hook::Xdp, ticks: 1 };
        assert_eq!(both.wanted(&link("eth0")), wanted);
        assert_eq!(both.wanted(&link("eth1")), Wanted { hook: Hook::Tc, ..wanted });
        assert!(both.wants_xdp());
    }

    #[test]
    fn the_first_rule_that_says_something_wins() {
        let file = r#"
            [[interface]]
            match = "eth0"
            interval = "2500ms"
            [[interface]]
            match = "eth*"
            interval = "1m"
            recover = false
        "#;
        let settings = settings(Layer::default(), file);
        let first = settings.wanted(&link("eth0"));
        assert_eq!((first.ticks, first.recover), (3, false), "rounded up to whole ticks");
        assert_eq!(settings.wanted(&link("eth1")).ticks, 60);
        assert_eq!(settings.wanted(&link("lo")).ticks, 1);
    }

    #[test]
    fn wrong_files_name_the_line() {
        let cases = [
            ("intervall = '1s'", "unknown field `intervall`"),
            ("interval = '1ms'", "100ms to 1h"),
            ("interval = 5", "invalid type"),
            ("hook = 'ebpf'", "unknown variant `ebpf`"),
            ("[[interface]]\nrecover = true", "missing field `match`"),
            ("[[interface]]\nmatch = 'a'\nspeed = 1", "unknown field `speed`"),
            ("all = yes", "line 1"),
        ];
        for (text, expected) in cases {
            let error = toml::from_str::<Layer>(&format!("\n{text}")).unwrap_err().to_string();
            let expected = expected.replace("line 1", "line 2");
            assert!(error.contains(&expected), "{text}: {error}");
            assert!(error.contains("line"), "{text}: {error}");
        }
    }

    #[test]
    fn an_interval_below_the_reports_is_refused() {
        let file = "[[interface]]\nmatch = 'eth0'\ninterval = '500ms'";
        let error = Layer::settings(Layer::default(), toml::from_str(file).unwrap()).unwrap_err();
        assert!(error.to_string().contains("'eth0'"));
    }
}
