//! Any sequence of commands leaves the manifest, and exits with the codes, that the reference says.
#![allow(clippy::unwrap_used, unreachable_pub)] // The lints take helpers of tests for code.

#[path = "../common/mod.rs"]
mod common;
mod model;

use std::fs;

use common::Scratch;
use model::Model;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// What may stand in one place of a command; "" is nothing, `EMPTY` an empty argument.
type Choices = &'static [&'static str];

const EMPTY: &str = "<empty>";
const ADD: Choices = &["add"];
const REMOVE: Choices = &["remove", "rm"];
const LABELS: Choices = &["version", "arch", "os", "tier", "name", "Bad_"];
const ANNOTATIONS: Choices =
    &["authors", "created", "homepage", "documentation", "note", "Bad_", "coreos.com/acbuild/command-2"];
const VARIABLES: Choices = &["A", "PATH", "a.b-c", "1A", "A B"];
const PORTS: Choices = &["www", "80", "https", "Bad_"];
const MOUNTS: Choices = &["data", "logs", "Bad_"];
const PATHS: Choices = &["/data", "/logs"];
const ISOLATORS: Choices = &["resource/memory", "os/linux/no-new-privileges", "unknown/one", "Bad_"];
const VALUES: Choices = &[
    "1",
    "amd64",
    "aarch64",
    "linux",
    "freebsd",
    "2020-02-03T04:05:06Z",
    "https://example.com",
    "say \"<hi>\" & \\ go\n",
    "gr\u{fc}n",
    "yesterday",
];

/// The commands, by the choices for each of their words.
const COMMANDS: &[&[Choices]] = &[
    &[&["set-name"], &["example.com/one", "example.com/two:1", "Bad_", EMPTY]],
    &[&["label", "lab"], ADD, LABELS, VALUES],
    &[&["label"], REMOVE, LABELS],
    &[&["set-tag"], VALUES],
    &[&["annotation", "anno"], ADD, ANNOTATIONS, VALUES],
    &[&["annotation"], REMOVE, ANNOTATIONS],
    &[&["environment", "env"], ADD, VARIABLES, VALUES],
    &[&["environment"], REMOVE, VARIABLES],
    &[
        &["dependency", "dep"],
        ADD,
        &["example.com/a", "example.com/a:1", "example.com/b:2,tier=db", "docker://alpine", "Bad_"],
        &["", "--label=tier=web", "--label=b=2"],
        &["", "--label=a=1", "--label=version=3"],
        &["", "--size=3"],
        &["", model::IMAGE_ID_FLAG],
    ],
    &[&["dependency"], REMOVE, &["example.com/a", "example.com/b", "example.com/a:1", "Bad_"]],
    &[
        &["port"],
        ADD,
        PORTS,
        &["tcp", "udp"],
        &["80", "443", "0", "65536", "x"],
        &["", "--count=3"],
        &["", "--socket-activated"],
    ],
    &[&["port"], REMOVE, &["www", "80", "443", "https", "80/tcp"]],
    &[&["mount", "volume"], ADD, MOUNTS, PATHS, &["", "--read-only"]],
    &[&["mount"], REMOVE, &["data", "logs", "/data", "/logs"]],
    &[&["isolator", "iso"], ADD, ISOLATORS, &["memory.json", "true.json", "missing.json", "text.json"]],
    &[&["isolator"], REMOVE, ISOLATORS],
    &[&["set-exec"], &["--"], &["/bin/sh"], &["", "-c", EMPTY], VALUES],
    &[&["set-user"], &["www", "0", EMPTY]],
    &[&["set-group"], &["www", "0", EMPTY]],
    &[&["set-supp-groups"], &["1", "20"], &["", "3", "x"]],
    &[&["set-working-directory", "set-wd"], &["/srv", "/", "srv"]],
    &[&["set-event-handler", "set-eh"], &["pre-start", "post-stop"], &["/bin/one", "/bin/two"], &["", "now"]],
    &[&["replace-manifest"], &["good.json", "text.json", "missing.json"]],
    // Not commands, or not with so many arguments.
    &[&["label", "port", "mount"], ADD, &["one"]],
    &[&["frobnicate", "set-", "--nope"]],
    &[&["label"], ADD, &["--nope"], LABELS, VALUES],
];

fn command() -> impl Strategy<Value = Vec<String>> {
    let words =
        select(COMMANDS).prop_flat_map(|places| places.iter().map(|choices| select(*choices)).collect::<Vec<_>>());
    (words, prop::bool::weighted(0.2)).prop_map(|(words, silent)| {
        let words = words.into_iter().filter(|word| !word.is_empty()).map(|word| word.replace(EMPTY, ""));
        silent.then(|| "--no-history".to_owned()).into_iter().chain(words).collect()
    })
}

#[test]
fn three_hundred_sequences_of_commands_do_what_the_reference_says() {
    let config = Config { cases: 300, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[5; 32]));
    runner.run(&prop::collection::vec(command(), 1..12), |commands| check(&commands)).unwrap();
}

fn check(commands: &[Vec<String>]) -> Result<(), TestCaseError> {
    let scratch = Scratch::begun();
    for (name, content) in model::FILES {
        scratch.file(name, content);
    }
    let mut model = Model::new();
    for (at, words) in commands.iter().enumerate() {
        let expected = model.apply(words);
        let ran = scratch.run(words);
        prop_assert_eq!(ran.code, Some(expected), "command {}: {:#?}", at, ran);
    }
    let manifest = fs::read_to_string(scratch.path(".acbuild/currentaci/manifest")).unwrap();
    prop_assert_eq!(manifest, model.manifest());
    Ok(())
}
