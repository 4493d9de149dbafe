//! The rest of the world as tests see it: a proxy that refuses everything at once, so that no test asks a real host.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

/// Runs as long as the test program does.
static NOWHERE: LazyLock<SocketAddr> = LazyLock::new(|| {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // What is asked must be read: closed before, the answer may be lost.
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let mut asked = Vec::new();
            let mut byte = [0];
            while !asked.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                asked.push(byte[0]);
            }
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    address
});

/// The proxy's address.
pub fn nowhere() -> String {
    format!("http://{}", *NOWHERE)
}
