//! Which namespaces are watched: those that were asked for, as they come, go, and become others.
//!
//! A name in `/run/netns` tells by itself which namespace it stands for. Of a path and of a
//! container's process the launcher has to be asked: without privileges another's `/proc/PID/ns`
//! cannot be looked at. As long as a namespace is watched its inode number is its own, for our
//! socket holds it.

use std::path::PathBuf;
use std::sync::Arc;

use super::NetworkMonitor;
use super::happening::Happening;
use super::missing::is_about;
use super::space::{Idle, Space};
use crate::agent::End;
use crate::config::Settings;
use crate::model::link::IfIndex;
use crate::model::select::{SelectError, Selection};
use crate::sources::netlink::links::Links;
use crate::workers::launcher::{LaunchError, Opened};
use crate::workers::namespace::{self, Named, NamespaceError, Where};

/// A namespace that is wanted and was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    space: u32,
    pub(super) path: PathBuf,
}

impl NetworkMonitor {
    /// Compares the namespaces that are wanted with those that are there.
    pub(super) fn follow_namespaces(&mut self) {
        // With too many open files, say, nothing can be looked at: then all stays as it is.
        let (Some(wanted), Ok(named)) = (self.wanted_namespaces(), namespace::named()) else {
            return;
        };
        for at in 0..self.spaces.len() {
            let space = &self.spaces[at];
            let Some(prefix) = space.prefix.as_deref().filter(|_| !space.gone) else {
                continue;
            };
            let there = wanted.iter().find(|(other, _)| other == prefix);
            // Another may have been given the name meanwhile.
            let same = named.get(prefix).copied().flatten().is_none_or(|it| it == space.inode);
            match there {
                Some((_, path)) if space.inode == 0 || same => {
                    let found = Found { space: space.id, path: path.clone() };
                    self.look_again(at, found, &named);
                }
                _ => self.forget_space(at),
            }
        }
        for (prefix, path) in wanted {
            let followed = |space: &Space| space.prefix.as_deref() == Some(&*prefix) && !space.gone;
            if !self.spaces.iter().any(followed) {
                let settings = self.settings_in(&prefix);
                let space = self.add_space(Some(&prefix), Some(path.clone()), settings);
                self.open(Found { space, path });
            }
        }
    }

    /// What stands before the interfaces' names, and where each namespace is. `None`: that cannot
    /// be known now.
    fn wanted_namespaces(&mut self) -> Option<Vec<(String, PathBuf)>> {
        let mut wanted = Vec::new();
        for (place, _) in self.elsewhere.clone() {
            match namespace::resolve(&place) {
                Ok(found) => wanted.extend(found),
                Err(error @ NamespaceError::Unreadable(..)) => {
                    tracing::debug!("{error}");
                    return None;
                }
                Err(error) if self.ticks == 0 => {
                    let message = format!("{error}; waiting for it");
                    // It is looked for several times until then.
                    if self.warned.insert(message.clone()) {
                        self.warn(message);
                    }
                }
                Err(error) => tracing::debug!("{error}"),
            }
        }
        Some(wanted)
    }

    /// One that is there still, if under another path: whether it is the same can be told by a
    /// name alone, and what was refused may not be any more.
    fn look_again(&mut self, at: usize, found: Found, named: &Named) {
        let space = &self.spaces[at];
        let is_told = |prefix: &str| named.get(prefix).is_some_and(Option::is_some);
        if matches!(space.idle, Some(Idle::Refused(_))) {
            self.open(found);
        } else if space.inode != 0 && !space.prefix.as_deref().is_some_and(is_told) {
            let (launcher, sender) = (Arc::clone(&self.launcher), self.sender.clone());
            tokio::spawn(async move {
                let looked = launcher.look(&found.path).await;
                sender.send(Happening::Looked(found, looked))
            });
        }
    }

    /// Which namespace is where one that is watched was found.
    pub(super) fn looked(&mut self, found: Found, looked: Result<u64, LaunchError>) {
        let is_it = |space: &Space| space.id == found.space && !space.gone;
        let Some(at) = self.spaces.iter().position(is_it) else {
            return;
        };
        match looked {
            // The process by which it was found may have been another.
            Ok(inode) if inode == self.spaces[at].inode => self.spaces[at].path = Some(found.path),
            Ok(_) => {
                self.forget_space(at);
                self.follow_namespaces();
            }
            Err(LaunchError::NoNamespace(why)) => {
                tracing::debug!("{why}");
                self.forget_space(at);
            }
            Err(error) => tracing::debug!("cannot be looked at: {error}"),
        }
    }

    /// What is wanted in this namespace.
    fn settings_in(&self, prefix: &str) -> Settings {
        let of = |all: &super::Elsewhere| {
            let meant = all.iter().filter(|(place, _)| is_about(place, prefix));
            meant.map(|(_, selector)| selector.clone()).collect()
        };
        let wanted = of(&self.elsewhere);
        let excluded = of(&self.elsewhere_excluded);
        Settings { selection: Selection { wanted, excluded }, ..self.settings.clone() }
    }

    fn open(&self, found: Found) {
        let (launcher, sender) = (Arc::clone(&self.launcher), self.sender.clone());
        tokio::spawn(async move {
            let opened = launcher.open(&found.path).await;
            sender.send(Happening::Opened(found, opened))
        });
    }

    /// Ends it when what was asked for cannot be had from the start.
    pub(super) async fn opened(
        &mut self,
        found: Found,
        opened: Result<Opened, LaunchError>,
    ) -> Option<End> {
        // It may have been opened twice: a refused one is asked for at each look.
        let is_it = |space: &Space| space.id == found.space && !space.gone && !space.is_followed();
        let at = self.spaces.iter().position(is_it)?;
        let name = self.spaces[at].prefix.clone().unwrap_or_default();
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return self.refused(at, &error),
        };
        if opened.inode == self.own && self.is_watched_here(at) {
            tracing::debug!("the namespace {name} is this one: it is watched without that name");
            (self.spaces[at].inode, self.spaces[at].idle) = (opened.inode, Some(Idle::Own));
            return None;
        }
        let (links, news) = match Links::over(opened.links) {
            Ok(connection) => connection,
            Err(error) => return self.refused(at, &LaunchError::Failed(error.to_string())),
        };
        match links.list().await {
            Ok(list) => {
                if let Err(error) = self.understand(at, &list) {
                    let hint = match error {
                        SelectError::NothingLeft => "",
                        _ => "\nuse --wait to wait for interfaces that come later",
                    };
                    return Some(End::Wrong(format!("in the namespace {name}: {error}{hint}")));
                }
                (self.spaces[at].idle, self.spaces[at].path) = (None, Some(found.path));
                self.watch_space(found.space, (links, news), &list, opened.inode);
                None
            }
            Err(error) => self.refused(at, &LaunchError::Failed(error.to_string())),
        }
    }

    /// It is asked for again at the next look, and what was said is not said again.
    fn refused(&mut self, at: usize, error: &LaunchError) -> Option<End> {
        let name = self.spaces[at].prefix.clone().unwrap_or_default();
        let message = format!("the namespace {name} cannot be watched: {error}");
        let at_first = self.ticks == 0;
        match error {
            LaunchError::Denied(_) if at_first => return Some(End::Alone(message)),
            LaunchError::NoNamespace(_)
                if at_first && !self.settings.wait && self.is_asked_for(&name) =>
            {
                let hint = "use --wait to wait for namespaces that come later";
                return Some(End::Wrong(format!("{error}\n{hint}")));
            }
            _ => {}
        }
        let why = Some(Idle::Refused(message.clone()));
        if std::mem::replace(&mut self.spaces[at].idle, why.clone()) != why {
            self.warn(message);
        }
        None
    }

    /// Whether everything that is wanted there is wanted without a namespace's name, too, and
    /// that name was not asked for: `--all-netns`, where its own namespace has a name.
    fn is_watched_here(&self, at: usize) -> bool {
        let here = |space: &Space| space.prefix.is_none();
        if !self.spaces.iter().any(here) {
            return false;
        }
        let space = &self.spaces[at];
        let mut wanted = space.settings.selection.wanted.iter();
        !space.prefix.as_deref().is_some_and(|prefix| self.is_asked_for(prefix))
            && wanted.all(|selector| self.settings.selection.wanted.contains(selector))
    }

    /// Whether this very namespace was asked for, and not by a pattern.
    fn is_asked_for(&self, prefix: &str) -> bool {
        let is_it = |(place, _): &(Where, _)| {
            !matches!(place, Where::Pattern(_)) && place.to_string() == prefix
        };
        self.elsewhere.iter().any(is_it)
    }

    fn forget_space(&mut self, at: usize) {
        let existing: Vec<IfIndex> = self.spaces[at].list.missing(&[]);
        self.spaces[at].gone = true;
        self.spaces[at].close();
        for ifindex in existing {
            self.gone(at, ifindex, "the namespace is gone");
        }
    }
}
