//! The table `[traffic]`, and the flags that stand for it.

use serde::Deserialize;

use super::ConfigError;
use crate::model::traffic::facts::Part;
use crate::model::traffic::options::{DEFAULT_FLOWS, MOST_FLOWS};
use crate::model::traffic::thresholds::{Thresholds, TrafficOptions, parse_threshold};

/// The table, or the flags: what is not said is `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficLayer {
    /// What is told of; nothing: none.
    pub parts: Option<Vec<Part>>,
    /// How many flows are kept.
    pub flow_capacity: Option<u32>,
    /// One packet in so many is looked at for its flow.
    pub flow_sample: Option<u32>,
    /// The weight of a second in averages.
    pub alpha: Option<f64>,
    /// From how many bytes per second on a process is told.
    #[serde(default, deserialize_with = "rate")]
    pub alert_process: Option<f64>,
    /// The same of a flow.
    #[serde(default, deserialize_with = "rate")]
    pub alert_flow: Option<f64>,
    /// The same of an interface.
    #[serde(default, deserialize_with = "rate")]
    pub alert_interface: Option<f64>,
}

fn rate<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let text = String::deserialize(from)?;
    parse_threshold(&text).map(Some).map_err(serde::de::Error::custom)
}

/// What is to be told of who and what the traffic is.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficSettings {
    /// Which parts; none: nothing of it is loaded.
    pub parts: Vec<Part>,
    /// Whether the flows themselves are shown, and not only what their programs count besides.
    pub keep_flows: bool,
    /// How many flows are kept.
    pub flow_capacity: u32,
    /// One packet in so many is looked at for its flow.
    pub flow_sample: u32,
    /// How it is judged.
    pub options: TrafficOptions,
}

impl TrafficSettings {
    /// Whether a part is wanted.
    #[must_use]
    pub fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

impl Default for TrafficSettings {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            keep_flows: true,
            flow_capacity: DEFAULT_FLOWS,
            flow_sample: 1,
            options: TrafficOptions::default(),
        }
    }
}

impl TrafficLayer {
    /// The settings that flags over a file make.
    ///
    /// # Errors
    /// When a number cannot be.
    pub(super) fn settings(flags: Self, file: Self) -> Result<TrafficSettings, ConfigError> {
        let usual = TrafficSettings::default();
        let thresholds = usual.options.thresholds;
        let settings = TrafficSettings {
            parts: flags.parts.or(file.parts).unwrap_or_default(),
            keep_flows: usual.keep_flows,
            flow_capacity: flags
                .flow_capacity
                .or(file.flow_capacity)
                .unwrap_or(usual.flow_capacity),
            flow_sample: flags.flow_sample.or(file.flow_sample).unwrap_or(usual.flow_sample),
            options: TrafficOptions {
                alpha: flags.alpha.or(file.alpha).unwrap_or(usual.options.alpha),
                thresholds: Thresholds {
                    process: flags
                        .alert_process
                        .or(file.alert_process)
                        .unwrap_or(thresholds.process),
                    flow: flags.alert_flow.or(file.alert_flow).unwrap_or(thresholds.flow),
                    interface: flags
                        .alert_interface
                        .or(file.alert_interface)
                        .unwrap_or(thresholds.interface),
                },
            },
        };
        let wrong = |key, why| Err(ConfigError::Traffic { key, why });
        if !(1..=MOST_FLOWS).contains(&settings.flow_capacity) {
            return wrong("flow_capacity", "must be from 1 to 16777216");
        }
        if settings.flow_sample == 0 {
            return wrong("flow_sample", "must be at least 1");
        }
        if !(settings.options.alpha > 0.0 && settings.options.alpha <= 1.0) {
            return wrong("alpha", "must be above 0 and at most 1");
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flags: TrafficLayer, file: &str) -> Result<TrafficSettings, String> {
        let file = toml::from_str(file).map_err(|error| error.to_string())?;
        TrafficLayer::settings(flags, file).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_told_unless_asked_for() {
        let settings = settings(TrafficLayer::default(), "").unwrap();
        assert_eq!(settings, TrafficSettings::default());
        assert!(!settings.wants(Part::Flows));
    }

    #[test]
    fn flags_win_over_the_table() {
        let flags = TrafficLayer { flow_sample: Some(8), ..TrafficLayer::default() };
        let file = "parts = ['flows', 'drops']\nflow_sample = 4\nalert_flow = '1MB'\nalpha = 1.0";
        let settings = settings(flags, file).unwrap();
        assert_eq!((settings.flow_sample, settings.options.alpha), (8, 1.0));
        assert_eq!(settings.options.thresholds.flow, 1e6);
        assert_eq!(settings.options.thresholds.process, Thresholds::DEFAULT);
        assert!(settings.wants(Part::Drops) && !settings.wants(Part::Processes));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (file, expected) in [
            ("flow_capacity = 0", "flow_capacity"),
            ("flow_capacity = 16777217", "flow_capacity"),
            ("flow_sample = 0", "flow_sample"),
            ("alpha = 0.0", "alpha"),
            ("alpha = 1.5", "alpha"),
            ("alpha = nan", "alpha"),
            ("alert_flow = 'much'", "alert_flow"),
            ("parts = ['users']", "users"),
            ("speed = 1", "unknown field"),
        ] {
            let error = settings(TrafficLayer::default(), file).unwrap_err();
            assert!(error.contains(expected), "{file}: {error}");
        }
    }
}
