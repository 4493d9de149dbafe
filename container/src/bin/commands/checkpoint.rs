//! `rkt-oci checkpoint`, and the options that `restore` shares with it.

use std::path::PathBuf;
use std::process::ExitCode;

use appc_container::checkpoint::{self, CgroupMode, Options};
use appc_container::manage;
use appc_container::plan::Remains;
use appc_container::state::Directory;
use clap::{Args, ValueEnum};

use super::{Outcome, wrong};
use crate::globals::Globals;
use crate::log::Log;

/// Save a running container to files, with criu
///
/// The container ends and is removed, unless --leave-running or --pre-dump is given; `rkt-oci restore` brings it back,
/// here or on another host with the same bundle. Standard input, output and error are not saved: the restored process
/// has those of `restore`.
///
///   rkt-oci checkpoint --image-path /var/lib/web.checkpoint web
///   rkt-oci restore --detach --bundle /srv/web --image-path /var/lib/web.checkpoint web
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    images: ImageOptions,
    /// Folder of an earlier --pre-dump, relative to --image-path: only what changed since is saved
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// Let the container run on
    #[arg(long)]
    leave_running: bool,
    /// Leave out connections that are just being made
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Give files back their names that were removed while in use
    #[arg(long)]
    link_remap: bool,
    /// Descriptor that is written a zero byte when memory can be fetched (with --lazy-pages)
    #[arg(long, value_name = "FD")]
    status_fd: Option<i32>,
    /// Send memory there in place of saving it
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = page_server)]
    page_server: Option<(String, u16)>,
    /// Only save memory, and let the container run on
    #[arg(long)]
    pre_dump: bool,
    /// Name of the container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

/// What both commands have.
#[derive(Debug, Args)]
pub(super) struct ImageOptions {
    /// Folder of the images; only its owner may be able to write to it
    #[arg(long, value_name = "DIR", default_value = "checkpoint")]
    image_path: PathBuf,
    /// Folder of criu's logs [default: that of the images]
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,
    /// Save and restore TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Allow connections of unix sockets to the outside
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow processes that use a terminal of the outside
    #[arg(long)]
    shell_job: bool,
    /// Save and restore file locks
    #[arg(long)]
    file_locks: bool,
    /// Transfer memory when it is used
    #[arg(long)]
    lazy_pages: bool,
    /// Remove from earlier images what newer ones hold
    #[arg(long)]
    auto_dedup: bool,
    /// What is saved and restored of cgroups
    #[arg(long, value_name = "MODE")]
    manage_cgroups_mode: Option<Mode>,
    /// Leave the namespace of this kind empty (only network)
    #[arg(long, value_name = "KIND")]
    empty_ns: Vec<EmptyNamespace>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Soft,
    Full,
    Strict,
    Ignore,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EmptyNamespace {
    Network,
}

impl ImageOptions {
    /// As the engine takes them, the rest at its defaults.
    pub(super) fn options(&self) -> Result<Options, appc_container::Error> {
        // criu may work in another folder.
        let absolute =
            |path: &PathBuf| std::path::absolute(path).map_err(|e| wrong(format!("{}: {e}", path.display())));
        Ok(Options {
            images: absolute(&self.image_path)?,
            work: self.work_path.as_ref().map(absolute).transpose()?,
            tcp_established: self.tcp_established,
            ext_unix_sk: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            auto_dedup: self.auto_dedup,
            lazy_pages: self.lazy_pages,
            cgroups: match self.manage_cgroups_mode {
                None => CgroupMode::Default,
                Some(Mode::Soft) => CgroupMode::Soft,
                Some(Mode::Full) => CgroupMode::Full,
                Some(Mode::Strict) => CgroupMode::Strict,
                Some(Mode::Ignore) => CgroupMode::Ignore,
            },
            empty_network: !self.empty_ns.is_empty(),
            ..Options::default()
        })
    }
}

fn page_server(text: &str) -> Result<(String, u16), String> {
    let (address, port) = text.rsplit_once(':').ok_or("use ADDRESS:PORT")?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
    if address.is_empty() { Err("use ADDRESS:PORT".to_owned()) } else { Ok((address.to_owned(), port)) }
}

impl Checkpoint {
    pub(crate) fn run(&self, globals: &Globals, log: &Log) -> Outcome {
        let directory = Directory::open(&globals.containers().map_err(wrong)?, &self.id)?;
        let record = directory.load()?;
        // What it warns of was said when the container was made.
        let spec = appc_container::config::read_spec(&directory.config()?, &mut Vec::new());
        let spec = spec.map_err(|e| wrong(e.to_string()))?;
        let options = Options {
            parent: self.parent_path.clone(),
            leave_running: self.leave_running,
            tcp_skip_in_flight: self.tcp_skip_in_flight,
            link_remap: self.link_remap,
            status_fd: self.status_fd,
            page_server: self.page_server.clone(),
            pre_dump: self.pre_dump,
            ..self.images.options()?
        };
        checkpoint::dump(&directory, &record, &spec, &options)?;
        if !self.leave_running && !self.pre_dump {
            for failure in manage::delete(directory, true, |_| Ok(Remains::default()))? {
                log.say(&failure.to_string());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::page_server;

    #[test]
    fn page_servers_have_an_address_and_a_port() {
        assert_eq!(page_server("10.0.0.1:27"), Ok(("10.0.0.1".to_owned(), 27)));
        assert_eq!(page_server("[::1]:27"), Ok(("::1".to_owned(), 27)));
        for text in ["", "10.0.0.1", ":27", "host:", "host:70000"] {
            assert!(page_server(text).is_err(), "{text}");
        }
    }
}
