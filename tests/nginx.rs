//! A real package, installed into an image on a real base, and asked: the example that shows it.

use std::net::TcpListener;
use std::time::Duration;

use support::{Cmd, needs, programs, rootfs};

#[test]
fn nginx_is_installed_with_apt_and_answers() {
    needs!(root, "debootstrap", "apt-get", "curl");
    // Whoever takes the port in between makes this fail, which nobody here does.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback interface");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);
    let bin = programs::find("acbuild");
    let script = rootfs::folder().join("../examples/nginx/run.sh");
    let run = Cmd::new("sh").arg(script).env("PORT", port.to_string()).timeout(Duration::from_secs(600));
    let ended = run.env("APPC_BIN_DIR", bin.parent().expect("it is in a folder")).ok();
    ended.require(ended.stdout.contains("== nginx.aci answered"), "the answer of nginx");
}
