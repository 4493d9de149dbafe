//! The example of embedding the engine, as it stands in `examples/embed/`.

use std::path::PathBuf;

use support::{Cmd, HostState, Scratch, needs, rootfs};

fn embed() -> PathBuf {
    // target/<profile>/deps/<test>
    let test = std::env::current_exe().expect("the test has a path");
    let program = test.ancestors().nth(2).expect("tests lie in <profile>/deps").join("examples/embed");
    assert!(program.is_file(), "build it with `cargo build -p appc-container --example embed`");
    program
}

#[test]
fn it_runs_a_command_and_ends_with_its_code() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let host = HostState::new();
    rootfs::busybox(&scratch.work());
    let embed = Cmd::new(embed()).arg(scratch.work());
    assert_eq!(embed.clone().args(["sh", "-c", "echo from process $$"]).ok().stdout, "from process 1\n");
    embed.clone().args(["sh", "-c", "exit 7"]).exits(7);
    embed.args(["nonesuch"]).exits(1).says(&["executable file not found"]);
    host.check();
}

#[test]
fn it_is_short() {
    let source = include_str!("../../examples/embed/main.rs");
    let code = source.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//"));
    assert!(code.count() < 30, "the example is to stay under 30 lines");
}
