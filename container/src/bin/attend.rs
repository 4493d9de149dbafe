//! Waiting for a process in the foreground.

use std::os::fd::AsFd;

use appc_container::console::Relay;
use appc_container::notify::Proxy;
use appc_container::sys::signal::SignalFd;
use appc_container::{Error, Process};
use rustix::event::{PollFd, PollFlags, poll};

use crate::commands::wrong;
use crate::log::Log;

/// Takes over the signals that a process is to have in place of this one. To be called before there is one, so that
/// none is lost.
pub(crate) fn take_signals() -> Result<SignalFd, Error> {
    // SIGCHLD tells nothing that the pidfd does not, SIGURG is for the program that owns a socket, and SIGPIPE for the one
    // that writes: what is blocked is kept though it is ignored (kernel/signal.c, sig_ignored).
    SignalFd::all_except(&[libc::SIGCHLD, libc::SIGURG, libc::SIGPIPE]).map_err(|e| wrong(e.to_string()))
}

/// Passes signals, terminal bytes and word of readiness until the process has ended.
pub(crate) fn attend(
    process: &mut Process,
    signals: &SignalFd,
    mut proxy: Option<Proxy>,
    log: &Log,
) -> Result<(), Error> {
    let failed = |e: std::io::Error| wrong(format!("terminal: {e}"));
    let mut relay = process.take_console().map(Relay::new).transpose().map_err(failed)?;
    loop {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        let pidfd = process.pidfd();
        fds.push(PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN));
        fds.extend(relay.iter().flat_map(Relay::interests));
        fds.extend(proxy.iter().map(|proxy| PollFd::new(proxy, PollFlags::IN)));
        let limit = relay.as_ref().and_then(Relay::patience);
        rustix::io::retry_on_intr(|| poll(&mut fds, limit.as_ref())).map_err(|e| failed(e.into()))?;
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
