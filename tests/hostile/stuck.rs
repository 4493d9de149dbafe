//! Processes that cannot be killed at once: of item 16, those in uninterruptible sleep (state D).

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;
use support::{need, needs};

use crate::attack::{Attack, wait_until};

/// A FUSE file system that never answers who looks for a name in it: they wait, and no signal reaches them until it is gone.
struct Silent {
    place: PathBuf,
    asked: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Silent {
    fn new(place: PathBuf) -> Silent {
        let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        fs::create_dir(&place).unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        mount("silent", &place, "fuse", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str()).unwrap();
        let asked = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&asked);
        let server = Some(std::thread::spawn(move || serve(device, &heard)));
        Silent { place, asked, server }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // Breaks the connection, too: whoever waits is told.
        let _gone = unmount(&self.place, UnmountFlags::FORCE | UnmountFlags::DETACH);
        self.server.take().map(JoinHandle::join);
    }
}

/// By linux/fuse.h: a request begins with its length, operation and number, an answer with its length, error and number.
fn serve(mut device: File, asked: &AtomicBool) {
    const LOOKUP: u32 = 1;
    const GETATTR: u32 = 3;
    const INIT: u32 = 26;
    /// Those that nobody waits for: FORGET, INTERRUPT, BATCH_FORGET.
    const UNANSWERED: [u32; 3] = [2, 36, 42];
    let mut request = vec![0; 1 << 20];
    while let Ok(length) = device.read(&mut request) {
        let operation = u32::from_ne_bytes(request[4..8].try_into().unwrap());
        if length < 40 || UNANSWERED.contains(&operation) {
            continue;
        }
        let (error, body) = match operation {
            LOOKUP => {
                asked.store(true, Ordering::SeqCst);
                continue;
            }
            INIT => (0, numbers(&[7, 31, 0, 0, 0, 4096, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            GETATTR => (0, attributes()),
            _ => (-rustix::io::Errno::NOSYS.raw_os_error(), Vec::new()),
        };
        let mut answer = numbers(&[16 + body.len() as u32, error as u32]);
        answer.extend(&request[8..16]);
        answer.extend(body);
        if device.write_all(&answer).is_err() {
            return;
        }
    }
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

/// Of a directory, and for ever: how long they count, number and size, times, mode, links.
fn attributes() -> Vec<u8> {
    let mut words = vec![u32::MAX, 0, 0, 0, 1, 0];
    words.resize(4 + 12 + 3, 0);
    words.extend([0o40755, 2, 0, 0, 0, 4096, 0]);
    numbers(&words)
}

/// That the container is still known, and that others come and go.
fn others_are_not_hindered(attack: &mut Attack) {
    assert_eq!(attack.command(["list", "-q"]).ok().text(), "test");
    let config = attack.config.clone();
    let name = attack.scratch.path().file_name().unwrap().to_string_lossy().into_owned();
    attack.config["linux"]["cgroupsPath"] = json!(format!("/{name}-other"));
    attack.config["process"]["args"] = json!(["echo", "here"]);
    assert_eq!(attack.command(["run", "other"]).ok().text(), "here");
    attack.config = config;
}

#[test]
fn item_16_processes_that_wait_in_the_kernel() {
    needs!(root, "busybox");
    if !need::check(Path::new("/dev/fuse").exists(), "the device /dev/fuse") {
        return;
    }
    let init = "container init still running";
    for (script, own_pids, why) in [
        ("exec cat /vol/x", true, init),
        ("cat /vol/x & sleep 1000", true, init),
        ("cat /vol/x & sleep 1000", false, "it still has 1 process(es)"),
    ] {
        let mut attack = Attack::new(script);
        let silent = Silent::new(attack.scratch.path().join("silent"));
        attack.mount(json!({"destination": "/vol", "type": "bind", "source": silent.place, "options": ["bind"]}));
        if !own_pids {
            attack.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        }
        attack.command(["run", "-d", "test"]).ok();
        wait_until("a process waits for the file system", || silent.asked.load(Ordering::SeqCst));
        attack.command(["kill", "test", "KILL"]).ok();
        // An end, whose command has a limit itself, and no success.
        let outcome = attack.command(["delete", "-f", "test"]).refused(1, &[why, "wait", "again when that is over"]);
        outcome.says(&["in the kernel"]);
        others_are_not_hindered(&mut attack);
        drop(silent);
        attack.command(["delete", "-f", "test"]).ok();
    }
}

/// Freezes what is below a cgroup of the host, until it is dropped.
struct Frost {
    file: PathBuf,
    thawed: &'static str,
}

impl Frost {
    fn new(name: &str) -> Frost {
        let old = Path::new("/sys/fs/cgroup/freezer").join(name).join("freezer.state");
        let new = Path::new("/sys/fs/cgroup").join(name).join("cgroup.freeze");
        let (file, frozen, thawed) = if old.exists() { (old, "FROZEN", "THAWED") } else { (new, "1", "0") };
        fs::write(&file, frozen).unwrap();
        Frost { file, thawed }
    }

    /// In what version 1 has frozen nothing ends, either.
    fn is_hard(&self) -> bool {
        self.thawed == "THAWED"
    }
}

impl Drop for Frost {
    fn drop(&mut self) {
        let _gone = fs::write(&self.file, self.thawed);
    }
}

#[test]
fn item_16_containers_that_others_have_frozen() {
    needs!(root, "busybox");
    let mut attack = Attack::new("sleep 1000");
    let name = attack.scratch.path().file_name().unwrap().to_string_lossy().into_owned();
    attack.config["linux"]["cgroupsPath"] = json!(format!("/{name}/inner"));
    for own_pids in [true, false] {
        if !own_pids {
            attack.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        }
        attack.command(["run", "-d", "test"]).ok();
        let frost = Frost::new(&name);
        attack.command(["kill", "test", "KILL"]).ok();
        let delete = attack.command(["delete", "-f", "test"]);
        if frost.is_hard() {
            delete
                .refused(1, &["container init still running", "frozen with a cgroup above", "again when that is over"]);
            others_are_not_hindered(&mut attack);
            assert!(fs::read_to_string(&frost.file).unwrap().starts_with("FROZEN"), "others have thawed it");
        } else {
            delete.ok();
        }
        drop(frost);
        attack.command(["delete", "-f", "test"]).ok();
    }
}

#[test]
fn item_16_containers_that_are_paused() {
    needs!(root, "busybox");
    for own_pids in [true, false] {
        let mut attack = Attack::new("sleep 1000 & sleep 1000");
        if !own_pids {
            attack.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        }
        for end in [&["kill", "test", "KILL"][..], &["delete", "-f", "test"]] {
            attack.command(["run", "-d", "test"]).ok();
            attack.command(["pause", "test"]).ok();
            attack.command([]).args(end).ok();
            wait_until("it has ended", || attack.scratch.processes().is_empty());
            attack.command(["delete", "-f", "test"]).ok();
        }
    }
}
