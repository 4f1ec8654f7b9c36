//! Starting the netmon process under test in a namespace.

use std::{
    ffi::OsString,
    io::ErrorKind,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use nix::sys::{
    prctl,
    resource::{Resource, setrlimit},
    signal::{self, SigHandler, Signal},
};

use crate::{
    agent::{Agent, Finished},
    netns::Namespace,
    privileges::Privileges,
    wait,
};

/// How a process is to be started.
#[derive(Debug)]
pub struct AgentCommand<'a> {
    /// `None`: where the tests themselves run.
    namespace: Option<&'a Namespace>,
    program: PathBuf,
    arguments: Vec<OsString>,
    input: Input,
    output: Option<OwnedFd>,
    errors: Option<OwnedFd>,
    privileges: Privileges,
    leads_group: bool,
    open_files: Option<(u64, u64)>,
}

#[derive(Debug)]
enum Input {
    Nothing,
    Text(String),
    Open,
    From(OwnedFd),
}

impl<'a> AgentCommand<'a> {
    /// `program` in `namespace`, with an empty standard input and all privileges.
    #[must_use]
    pub fn new(namespace: &'a Namespace, program: impl Into<PathBuf>) -> Self {
        Self { namespace: Some(namespace), ..Self::on_host(program) }
    }

    /// The same where the tests run: only there the namespaces have their names in `/run/netns`.
    #[must_use]
    pub fn on_host(program: impl Into<PathBuf>) -> Self {
        Self {
            namespace: None,
            program: program.into(),
            arguments: Vec::new(),
            input: Input::Nothing,
            output: None,
            errors: None,
            privileges: Privileges::Full,
            leads_group: false,
            open_files: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Gives it a pipe to read, which holds this text and then ends.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        self.input = Input::Text(text.to_owned());
        self
    }

    /// Gives it a pipe to read, which stays open: see [`Agent::type_in`].
    #[must_use]
    pub fn open_input(mut self) -> Self {
        self.input = Input::Open;
        self
    }

    /// Where its standard input comes from.
    #[must_use]
    pub fn input_from(mut self, input: OwnedFd) -> Self {
        self.input = Input::From(input);
        self
    }

    /// Where its standard output goes instead of being collected.
    #[must_use]
    pub fn output_to(mut self, output: OwnedFd) -> Self {
        self.output = Some(output);
        self
    }

    /// Where its standard error goes instead of being collected.
    #[must_use]
    pub fn errors_to(mut self, errors: OwnedFd) -> Self {
        self.errors = Some(errors);
        self
    }

    /// With which privileges it starts.
    #[must_use]
    pub fn privileges(mut self, privileges: Privileges) -> Self {
        self.privileges = privileges;
        self
    }

    /// It gets a process group of its own, as a shell gives to each job: see
    /// [`Agent::signal_group`].
    #[must_use]
    pub fn leading_a_group(mut self) -> Self {
        self.leads_group = true;
        self
    }

    /// How many files it may have open, and to how many it may raise that.
    #[must_use]
    pub fn open_files(mut self, soft: u64, hard: u64) -> Self {
        self.open_files = Some((soft, hard));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(self) -> Result<Agent> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_remove("RUST_LOG");
        command.stderr(self.errors.map_or_else(Stdio::piped, Stdio::from));
        let (stdin, text) = match self.input {
            Input::Nothing => (Stdio::null(), None),
            Input::Text(text) => (Stdio::piped(), Some(text)),
            Input::Open => (Stdio::piped(), None),
            Input::From(input) => (Stdio::from(input), None),
        };
        command.stdin(stdin);
        command.stdout(self.output.map_or_else(Stdio::piped, Stdio::from));
        self.privileges.apply(&mut command);
        if self.leads_group {
            command.process_group(0);
        }
        // When the namespace's thread ends, as with the whole test process, so does the child.
        // What ignores SIGINT (a shell's background, nohup) would pass that on to it.
        let open_files = self.open_files;
        // SAFETY: between fork and exec only prctl(2), sigaction(2) and prlimit(2) are called, and
        // no memory is allocated; no handler of ours is taken away.
        unsafe {
            command.pre_exec(move || {
                if let Some((soft, hard)) = open_files {
                    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
                }
                for ending in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
                    signal::signal(ending, SigHandler::SigDfl)?;
                }
                Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
            });
        }
        let program = self.program.clone();
        let mut spawn = move || {
            // A copy just made is busy as long as a process forked meanwhile, by another test,
            // has not yet closed what it inherited.
            wait::until("a program to be no longer written", || match command.spawn() {
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => Ok(None),
                other => {
                    let child = other.with_context(|| format!("starting {}", program.display()));
                    child.map(Some)
                }
            })
        };
        let child = match self.namespace {
            Some(namespace) => namespace.run(spawn)?,
            None => spawn()?,
        };
        let mut agent = Agent::new(child, self.arguments)?;
        if let Some(text) = text {
            // It may well end before it reads this.
            let _ = agent.type_in(&text);
            agent.end_input();
        }
        Ok(agent)
    }

    /// Starts it and waits until it has ended.
    ///
    /// # Errors
    /// When it cannot be started, or does not end.
    pub fn finish(self) -> Result<Finished> {
        self.start()?.finish()
    }
}
