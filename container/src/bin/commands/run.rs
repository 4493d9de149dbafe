//! `rkt-oci run`

use std::os::fd::AsFd;
use std::process::ExitCode;

use appc_container::console::Relay;
use appc_container::notify::{self, Proxy};
use appc_container::state::Directory;
use appc_container::sys::signal::SignalFd;
use appc_container::{Error, Process, exit_code};
use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};

use super::{Outcome, wrong};
use crate::globals::Globals;
use crate::launch::{Launch, Launched};
use crate::log::Log;

/// Make a container and start it
///
/// In the foreground its terminal is passed through, signals are passed on, and when it ends it is removed; the exit
/// code is the program's (128 and the number of the signal that killed it).
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(super) launch: Launch,
    /// Return as soon as the program runs
    #[arg(short, long)]
    detach: bool,
    /// Do not remove the container when it has ended
    #[arg(long)]
    keep: bool,
}

impl Run {
    pub(crate) fn run(&self, globals: &Globals, log: &Log) -> Outcome {
        // Taken over before there is anything to pass them to, so that none is lost. SIGCHLD tells nothing that the
        // pidfd does not, SIGURG is for the program that owns a socket.
        let signals = match self.detach {
            true => None,
            false => Some(SignalFd::all_except(&[libc::SIGCHLD, libc::SIGURG]).map_err(|e| wrong(e.to_string()))?),
        };
        let launched = self.launch.launch(globals, log, self.detach, false)?;
        let (mut process, directory, proxy) = start(launched)?;
        let Some(signals) = signals else {
            // It runs: whether that could be told is no reason to fail.
            if let Some(Err(e)) = proxy.map(|proxy| proxy.wait(process.pid, process.pidfd())) {
                log.say(&e.to_string());
            }
            return Ok(ExitCode::SUCCESS);
        };
        let relayed = attend(&mut process, &signals, proxy, log);
        let status = process.wait()?;
        let killed = process.oom_kills() > 0;
        if killed {
            log.say(&self.out_of_memory(&process));
        }
        if !self.keep {
            for failure in process.destroy()? {
                log.say(&failure.to_string());
            }
            directory.remove()?;
        }
        relayed?;
        Ok(ExitCode::from(exit_code(status) as u8))
    }

    fn out_of_memory(&self, process: &Process) -> String {
        let limit = match process.memory_limit() {
            Some(limit) => format!(" (limit {limit} bytes)"),
            None => String::new(),
        };
        format!("container {:?} was killed: out of memory{limit}", self.launch.id)
    }
}

/// Starts the program; when that fails nothing is left.
fn start(launched: Launched) -> Result<(Process, Directory, Option<Proxy>), Error> {
    let Launched { created, directory } = launched;
    let bound = notify::host_socket().map(|host| Proxy::bind(directory.path(), host)).transpose();
    let started = match bound {
        Ok(proxy) => created.start().map(|process| (process, proxy.flatten())),
        Err(e) => {
            // The first error is the one to tell, here and below.
            let _not_undone = created.detach().destroy();
            Err(e)
        }
    };
    match started {
        Ok((process, proxy)) => Ok((process, directory, proxy)),
        Err(e) => {
            let _not_removed = directory.remove();
            Err(e)
        }
    }
}

/// Passes signals, terminal bytes and word of readiness until the process has ended.
fn attend(process: &mut Process, signals: &SignalFd, mut proxy: Option<Proxy>, log: &Log) -> Result<(), Error> {
    let failed = |e: std::io::Error| wrong(format!("terminal: {e}"));
    let mut relay = process.take_console().map(Relay::new).transpose().map_err(failed)?;
    loop {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        let pidfd = process.pidfd();
        fds.push(PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN));
        fds.extend(relay.iter().flat_map(Relay::interests));
        fds.extend(proxy.iter().map(|proxy| PollFd::new(proxy, PollFlags::IN)));
        rustix::io::retry_on_intr(|| poll(&mut fds, None)).map_err(|e| failed(e.into()))?;
        let ended = !fds[1].revents().is_empty();
        drop(fds);
        while let Some(received) = signals.read().map_err(failed)? {
            match &relay {
                Some(relay) if received.signal == libc::SIGWINCH => relay.resize().map_err(failed)?,
                // It may just have ended.
                _ => drop(process.kill(received.signal)),
            }
        }
        // The service's process is this one, as it lives exactly as long.
        match proxy.as_ref().map(|proxy| proxy.advance(std::process::id().cast_signed())) {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(_noted))) => proxy = None,
            Some(Err(e)) => {
                log.say(&e.to_string());
                proxy = None;
            }
        }
        if ended {
            return relay.map_or(Ok(()), Relay::finish).map_err(failed);
        }
        if let Some(relay) = &mut relay {
            relay.advance().map_err(failed)?;
        }
    }
}
