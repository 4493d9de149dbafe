//! `acbuild set-event-handler pre-start|post-stop`

use appc_spec::{EventHandler, EventName};
use clap::{Args, Subcommand};

use crate::error::Result;
use crate::session::Session;

/// Manage event handlers
///
/// They are commands that run in the image's own environment before its process starts or after it stopped.
#[derive(Debug, Args)]
pub(crate) struct SetEventHandler {
    #[command(subcommand)]
    event: Event,
}

#[derive(Debug, Subcommand)]
enum Event {
    PreStart(PreStart),
    PostStop(PostStop),
}

/// Set the command that runs before the image's process
///
/// The process is not started when it fails.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild set-event-handler pre-start -- /usr/bin/prepare --data /srv")]
struct PreStart {
    /// The command and its arguments
    #[arg(required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Set the command that runs after the image's process
///
/// It runs whatever the process exited with.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild set-event-handler post-stop /usr/bin/clean-up")]
struct PostStop {
    /// The command and its arguments
    #[arg(required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl SetEventHandler {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let (name, exec) = match &self.event {
            Event::PreStart(PreStart { command }) => (EventName::PreStart, command),
            Event::PostStop(PostStop { command }) => (EventName::PostStop, command),
        };
        session.debug(format_args!("Setting {} event handler to [{}]", name.as_str(), exec.join(" ")));
        session.edit_app(|app| {
            app.event_handlers.retain(|handler| handler.name != name);
            app.event_handlers.push(EventHandler::new(name, exec.clone()));
            Ok(())
        })
    }
}
