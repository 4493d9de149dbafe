//! `linux.seccomp`, checked and reduced to numbers that do not depend on an architecture.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag};
use oci_spec::runtime::{LinuxSeccompOperator, LinuxSyscall};

use super::arch::{Architecture, row};
use crate::error::{Error, Result};
use crate::sys::seccomp as sys;

/// Actions as the kernel wants them, from linux/seccomp.h.
pub(super) const KILL_THREAD: u32 = 0;
pub(super) const ERRNO: u32 = 0x0005_0000;
pub(super) const NOTIFY: u32 = 0x7fc0_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const TRAP: u32 = 0x0003_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

/// The highest number that a system call can return as its error (`MAX_ERRNO`); the kernel would cut higher ones.
const MAX_ERRNO: u32 = 4095;
/// What fits beside the action for a tracer.
const MAX_TRACE: u32 = 0xffff;

/// Everything a filter says.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) default: u32,
    pub(super) architectures: Vec<&'static Architecture>,
    /// For the kernel.
    pub(super) flags: u32,
    /// Rows of the table that are named, and what is said of each; in the order of the configuration.
    pub(super) calls: Vec<Call>,
    pub(super) warnings: Vec<String>,
}

/// What one entry of the configuration says of some system calls.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) rows: Vec<usize>,
    pub(super) action: u32,
    /// Any of these is enough. None: nothing is added to the default, and yet the calls are known to the profile.
    pub(super) cases: Vec<Case>,
}

/// Conditions that must hold together.
pub(super) type Case = Vec<Condition>;

/// A condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u32,
    pub(super) operator: Operator,
    pub(super) value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    /// Equal under this mask.
    Masked(u64),
}

fn refused(field: &str, rule: impl std::fmt::Display) -> Error {
    Error::refused(format!("linux.seccomp.{field}"), rule)
}

impl Profile {
    pub(super) fn new(spec: &LinuxSeccomp) -> Result<Profile> {
        let mut warnings = Vec::new();
        let default = action(spec.default_action(), spec.default_errno_ret(), "defaultErrnoRet", &mut warnings)?;
        if default == NOTIFY {
            return Err(refused("defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action"));
        }
        let mut calls = Vec::new();
        for (i, syscall) in spec.syscalls().iter().flatten().enumerate() {
            calls.push(call(syscall, i, default, &mut warnings)?);
        }
        let notifies = calls.iter().any(|call| call.action == NOTIFY && !call.cases.is_empty());
        let flags = flags(spec.flags().as_deref(), notifies, &mut warnings);
        Ok(Profile { default, architectures: architectures(spec)?, flags, calls, warnings })
    }

    /// Whether calls that a profile does not know of should look as if the kernel did not know them either. A program
    /// then falls back to what it did before there was such a call; `EPERM` would make it give up.
    pub(super) fn hides_new_calls(&self) -> bool {
        // These let new calls happen, or somebody decides who is told of them.
        !matches!(self.default, ALLOW | LOG) && self.default & 0xffff_0000 != TRACE
    }
}

/// Where the agent is that decides about notifications, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its unix socket.
    pub path: PathBuf,
    /// What to tell it, whatever that means to it.
    pub metadata: Option<String>,
}

impl Listener {
    /// The agent of a profile that has any use for one.
    ///
    /// # Errors
    /// When the profile notifies somebody and does not say whom.
    pub(crate) fn new(spec: &LinuxSeccomp, notifies: bool) -> Result<Option<Listener>> {
        if !notifies {
            return Ok(None);
        }
        match spec.listener_path() {
            Some(path) if !path.as_os_str().is_empty() => {
                Ok(Some(Listener { path: path.clone(), metadata: spec.listener_metadata().clone() }))
            }
            _ => Err(refused("listenerPath", "seccomp listenerPath is not set, and SCMP_ACT_NOTIFY needs it")),
        }
    }
}

fn architectures(spec: &LinuxSeccomp) -> Result<Vec<&'static Architecture>> {
    let native = Architecture::native();
    let mut architectures = vec![native];
    for (i, &arch) in spec.architectures().iter().flatten().enumerate() {
        let field = format!("architectures[{i}]");
        let found = Architecture::of(arch).ok_or_else(|| refused(&field, format!("{arch} is not supported")))?;
        if found.big_endian != native.big_endian {
            return Err(refused(&field, format!("{arch} has another byte order than this machine")));
        }
        if !architectures.contains(&found) {
            architectures.push(found);
        }
    }
    Ok(architectures)
}

/// The kernel's flags. Without any in the configuration it is the one that costs programs nothing.
fn flags(flags: Option<&[LinuxSeccompFilterFlag]>, notifies: bool, warnings: &mut Vec<String>) -> u32 {
    let mut bits = if notifies { sys::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
    let Some(flags) = flags else { return bits | sys::SECCOMP_FILTER_FLAG_SPEC_ALLOW };
    for flag in flags {
        bits |= match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => sys::SECCOMP_FILTER_FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => sys::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if notifies => {
                sys::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
            }
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                warnings.push(format!("seccomp flag {flag} has no effect without SCMP_ACT_NOTIFY"));
                0
            }
            // For all threads of the process: it has one when the filter is loaded.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
        };
    }
    bits
}

fn call(syscall: &LinuxSyscall, index: usize, default: u32, warnings: &mut Vec<String>) -> Result<Call> {
    let field = format!("syscalls[{index}]");
    let action = action(syscall.action(), syscall.errno_ret(), &format!("{field}.errnoRet"), warnings)?;
    let mut rows = Vec::with_capacity(syscall.names().len());
    for (i, name) in syscall.names().iter().enumerate() {
        let refused = |rule: &str| Err(refused(&format!("{field}.names[{i}]"), rule));
        match row(name) {
            _ if name.is_empty() => return refused("empty string is not a valid syscall"),
            // Whoever is to answer for it would never hear of it: that goes through a write.
            _ if action == NOTIFY && name == "write" => {
                return refused("SCMP_ACT_NOTIFY cannot be used for the write syscall");
            }
            Some(row) => rows.push(row),
            None => warnings.push(format!("unknown seccomp syscall {name:?} ignored")),
        }
    }
    let conditions = conditions(syscall.args().as_deref().unwrap_or_default(), &field)?;
    let cases = if action == default { vec![] } else { cases(conditions) };
    Ok(Call { rows, action, cases })
}

/// Conditions on different arguments must hold together; with two on the same argument each is enough for itself, as
/// every runtime has it.
fn cases(conditions: Vec<Condition>) -> Vec<Case> {
    let twice = |i: usize| conditions[..i].iter().any(|c| c.argument == conditions[i].argument);
    if (0..conditions.len()).any(twice) {
        conditions.into_iter().map(|condition| vec![condition]).collect()
    } else {
        vec![conditions]
    }
}

fn conditions(args: &[LinuxSeccompArg], field: &str) -> Result<Vec<Condition>> {
    let conditions = args.iter().enumerate().map(|(i, arg)| {
        let argument = u32::try_from(arg.index()).ok().filter(|&index| index < 6);
        let argument = argument.ok_or_else(|| {
            refused(&format!("{field}.args[{i}].index"), format!("{} is not one of the arguments 0 to 5", arg.index()))
        })?;
        let (operator, value) = match arg.op() {
            LinuxSeccompOperator::ScmpCmpNe => (Operator::NotEqual, arg.value()),
            LinuxSeccompOperator::ScmpCmpLt => (Operator::Less, arg.value()),
            LinuxSeccompOperator::ScmpCmpLe => (Operator::LessOrEqual, arg.value()),
            LinuxSeccompOperator::ScmpCmpEq => (Operator::Equal, arg.value()),
            LinuxSeccompOperator::ScmpCmpGe => (Operator::GreaterOrEqual, arg.value()),
            LinuxSeccompOperator::ScmpCmpGt => (Operator::Greater, arg.value()),
            // `value` is the mask here.
            LinuxSeccompOperator::ScmpCmpMaskedEq => {
                (Operator::Masked(arg.value()), arg.value() & arg.value_two().unwrap_or(0))
            }
        };
        Ok(Condition { argument, operator, value })
    });
    conditions.collect()
}

/// An action with its error, the kernel's value for a verdict.
fn action(action: LinuxSeccompAction, errno: Option<u32>, field: &str, warnings: &mut Vec<String>) -> Result<u32> {
    let data = |most: u32| match errno.unwrap_or(libc::EPERM as u32) {
        errno if errno > most => Err(refused(field, format!("{errno} is above {most}, the highest there is"))),
        errno => Ok(errno),
    };
    let value = match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => TRAP,
        LinuxSeccompAction::ScmpActErrno => return Ok(ERRNO | data(MAX_ERRNO)?),
        LinuxSeccompAction::ScmpActTrace => return Ok(TRACE | data(MAX_TRACE)?),
        LinuxSeccompAction::ScmpActNotify => NOTIFY,
        LinuxSeccompAction::ScmpActLog => LOG,
        LinuxSeccompAction::ScmpActAllow => ALLOW,
    };
    if errno.is_some() {
        warnings.push(format!("linux.seccomp.{field} has no effect with {action}"));
    }
    Ok(value)
}
