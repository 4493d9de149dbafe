//! Progress bars of images with several layers.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use support::{Cmd, Reply, Terminal, needs};

use super::World;
use super::oci::{APP, REPOSITORY, push, read};

/// Puts an image of two layers into the registry, and returns these.
fn publish(world: &World) -> [String; 2] {
    let noise: Vec<u8> = (0..400_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let own = world.scratch.file("own", noise);
    world.publish("app", &["dependency add example.com/base", &format!("copy {} /own", own.display())]);
    world.publish("base", &[]);
    world.rkt(&["fetch", "base.aci"]).ok();
    let made = world.scratch.acbuild(["convert", "app.aci", "oci:layout:1.0"]).ok().text().to_owned();
    world.rkt(&["image", "rm", "example.com/base"]).ok();
    push(world, &made);
    let manifest: Value = read(&world.scratch.work().join("layout/blobs").join(made.replace(':', "/")));
    let layers = manifest["layers"].as_array().expect("it has layers");
    let digests: Vec<String> = layers.iter().map(|layer| layer["digest"].as_str().expect("one").into()).collect();
    digests.try_into().expect("the base and the app")
}

/// The layers take two seconds the next time.
fn slow(world: &World, layers: &[String]) {
    for layer in layers {
        let blob = world.scratch.work().join("layout/blobs").join(layer.replace(':', "/"));
        let content = fs::read(blob).expect("ours");
        let piece = content.len() / 8 + 1;
        world.say_once(
            &format!("{REPOSITORY}/blobs/{layer}"),
            Reply::ok(content).slow(piece, Duration::from_millis(250)),
        );
    }
}

/// Runs the command, and checks that at some time both layers had a bar.
fn check(command: &Cmd, layers: &[String; 2]) {
    let ended = Terminal::start(command).wait();
    ended.require(ended.code() == 0, "success");
    let [one, two] = layers.each_ref().map(|layer| &layer["sha256:".len()..][..12]);
    // All bars are drawn anew, one below the other, after a move to the topmost.
    let both = ended.stdout.split("\x1b[2K\x1b[").any(|drawn| drawn.contains(one) && drawn.contains(two));
    ended.require(both, "both layers have a bar at once");
}

#[test]
fn each_layer_that_comes_has_a_bar() {
    needs!(root, "busybox", "setsid");
    let world = World::new();
    let layers = publish(&world);
    slow(&world, &layers);
    check(&world.rkt(&["fetch", APP]), &layers);
    slow(&world, &layers);
    let convert = world.scratch.acbuild(["convert", APP, "oci:copy:1.0"]);
    let convert = convert.env("SSL_CERT_FILE", &world.authority).env("HTTPS_PROXY", world.server.proxy());
    check(&convert, &layers);
    slow(&world, &layers);
    world.rkt(&["image", "rm", APP]).ok();
    let quiet = world.rkt(&["fetch", APP]).ok();
    quiet.require(quiet.stderr.is_empty(), "no bar on what is no terminal");
}
