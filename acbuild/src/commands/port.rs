//! `acbuild port add|remove`

use appc_spec::Port as Declared;
use clap::{Args, Subcommand};

use crate::error::{Error, Result};
use crate::session::Session;

/// Manage ports
///
/// A port in the manifest names what the image's process listens on, so that it can be forwarded by that name.
#[derive(Debug, Args)]
pub(crate) struct Port {
    #[command(subcommand)]
    command: PortCommand,
}

#[derive(Debug, Subcommand)]
enum PortCommand {
    Add(Add),
    #[command(visible_alias = "rm")]
    Remove(Remove),
}

/// Add a port, or replace the one of that name
///
/// Use it for everything that is to be reached from outside the pod.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild port add www tcp 5000")]
struct Add {
    /// Name of the port
    name: String,
    /// Protocol, such as tcp or udp
    protocol: String,
    /// Number of the port
    port: String,
    /// How many ports there are, from that number on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65535))]
    count: u32,
    /// The process is handed the socket (see sd_listen_fds(3)) instead of opening it
    #[arg(long)]
    socket_activated: bool,
}

/// Remove a port
///
/// Exits with 2 when there is none of that name or number.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild port remove www")]
struct Remove {
    /// Name or number of the port
    #[arg(value_name = "NAME|PORT")]
    name: String,
}

impl Port {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match &self.command {
            PortCommand::Add(add) => {
                session.debug(format_args!("Adding port {:?}={:?}", add.name, add.protocol));
                let port = add.port()?;
                session.change(|image| image.add_port(port))
            }
            PortCommand::Remove(Remove { name }) => {
                session.debug(format_args!("Removing port {name:?}"));
                session.change(|image| image.remove_port(name))
            }
        }
    }
}

impl Add {
    fn port(&self) -> Result<Declared> {
        let why = || Error::Refused(format!("port must be a positive number between 1 and 65535, not {:?}", self.port));
        let port = self.port.parse().ok().filter(|port| *port > 0).ok_or_else(why)?;
        let declared = Declared::new(self.name.parse()?, &self.protocol, port);
        Ok(Declared { count: self.count, socket_activated: self.socket_activated, ..declared })
    }
}
