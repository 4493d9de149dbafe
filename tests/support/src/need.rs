//! What a test needs from the machine. A missing thing skips the test with a line that cannot be overlooked,
//! or fails it when `APPC_TESTS_MUST_WORK` is set.

use std::io::Write;
use std::path::PathBuf;

/// True when the test may go on; otherwise says why it does not.
///
/// # Panics
/// When `APPC_TESTS_MUST_WORK` is set and `met` is false.
pub fn check(met: bool, what: &str) -> bool {
    if !met {
        assert!(std::env::var_os("APPC_TESTS_MUST_WORK").is_none(), "this test needs {what}");
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        // Not `eprintln!`, which the harness hides for tests that pass.
        let _ = writeln!(std::io::stderr(), "\n*** SKIPPED {test}: it needs {what} ***");
    }
    met
}

/// Whether the test runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The path of a program of the machine.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Leaves the test when the machine lacks something: `needs!(root, "busybox", "setpriv")`.
#[macro_export]
macro_rules! needs {
    (@one root) => {
        $crate::need::check($crate::need::is_root(), "to run as root")
    };
    (@one $program:literal) => {
        $crate::need::check($crate::need::find_program($program).is_some(), concat!("the program ", $program))
    };
    ($($what:tt),+) => {
        $(if !$crate::needs!(@one $what) { return; })+
    };
}
