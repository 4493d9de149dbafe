//! libseccomp, behind a small program in C.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::profile::Profile;
use crate::seccomp::Instruction;
use crate::seccomp::arch::{Architecture, X32_BIT};

/// `SCMP_ARCH_*` of seccomp.h, which is `AUDIT_ARCH_*` except for x32.
pub(super) fn token(architecture: &Architecture) -> u32 {
    if architecture.base == X32_BIT { architecture.audit & !0x8000_0000 } else { architecture.audit }
}

/// libseccomp, in a process of its own.
pub(super) struct Oracle {
    child: Child,
    ask: ChildStdin,
    answers: ChildStdout,
    _folder: tempfile::TempDir,
}

impl Oracle {
    pub(super) fn new() -> Oracle {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("oracle");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp/oracle.c");
        let built = Command::new("cc").args(["-O1", source, "-lseccomp", "-o"]).arg(&program).status().unwrap();
        assert!(built.success());
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (ask, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Oracle { child, ask, answers, _folder: folder }
    }

    fn word(&mut self) -> u32 {
        let mut word = [0; 4];
        self.answers.read_exact(&mut word).unwrap();
        u32::from_ne_bytes(word)
    }

    /// The program, if libseccomp makes one; and the highest numbers of names, by architecture.
    pub(super) fn filter(&mut self, profile: &Profile) -> (Option<Vec<Instruction>>, [i32; 8]) {
        self.ask.write_all(profile.lines().as_bytes()).unwrap();
        let status = self.word();
        let highest = std::array::from_fn(|_| self.word() as i32);
        let length = self.word();
        let program = (0..length).map(|_| {
            let mut bytes = [0; 8];
            self.answers.read_exact(&mut bytes).unwrap();
            let [code, code_high, yes, no, value @ ..] = bytes;
            Instruction { code: u16::from_ne_bytes([code, code_high]), yes, no, value: u32::from_ne_bytes(value) }
        });
        let program = program.collect();
        ((status == 0).then_some(program), highest)
    }

    pub(super) fn number(&mut self, architecture: &Architecture, name: &str) -> i32 {
        writeln!(self.ask, "number {:x} {name}", token(architecture)).unwrap();
        self.word() as i32
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
