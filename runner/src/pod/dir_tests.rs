//! A pod's life, looking for pods, and asking while others take.

use super::*;

fn pods() -> (tempfile::TempDir, Pods) {
    let dir = tempfile::tempdir().unwrap();
    let pods = Pods::new(dir.path());
    (dir, pods)
}

#[test]
fn a_life() {
    let (_dir, pods) = pods();
    let mut pod = pods.create().unwrap();
    let seen = |prefix: &str| pods.find(prefix).unwrap().state().unwrap();
    let uuid = pod.uuid.to_string();
    assert_eq!(seen(&uuid[..4].to_uppercase()), State::Preparing);
    pod.write("pod", b"{}").unwrap();
    pod.move_to(Place::Run).unwrap();
    assert_eq!(seen(&uuid), State::Running);
    assert_eq!(pods.find(&uuid).unwrap().try_lock().unwrap(), Lock::Held);
    drop(pod);
    let mut pod = pods.find(&uuid).unwrap();
    assert_eq!(pod.state().unwrap(), State::Exited);
    assert_eq!(pod.read("pod").unwrap().0, b"{}");
    let late = pods.find(&uuid).unwrap();
    assert_eq!(pod.try_lock().unwrap(), Lock::Taken);
    pod.move_to(Place::ExitedGarbage).unwrap();
    assert_eq!(seen(&uuid), State::ExitedDeleting);
    pod.remove().unwrap();
    assert_eq!(late.try_lock().unwrap(), Lock::Gone);
    assert!(matches!(pods.find(&uuid), Err(FindError::None(_))));
}

#[test]
fn the_first_pods_at_once() {
    for _ in 0..50 {
        let (_dir, pods) = pods();
        std::thread::scope(|scope| {
            let made: Vec<_> = (0..8).map(|_| scope.spawn(|| pods.create())).collect();
            for pod in made {
                assert_eq!(pod.join().unwrap().unwrap().place, Place::Prepare);
            }
        });
    }
}

#[test]
fn finding() {
    let (_dir, pods) = pods();
    assert!(matches!(pods.find(""), Err(FindError::Empty)));
    assert!(matches!(pods.find("a"), Err(FindError::None(_))));
    let all: Vec<Pod> = (0..17).map(|_| pods.create().unwrap()).collect();
    // Seventeen UUIDs: two begin with the same digit.
    let ambiguous =
        "0123456789abcdef".chars().any(|c| matches!(pods.find(&c.to_string()), Err(FindError::Ambiguous(_))));
    assert!(ambiguous);
    assert_eq!(pods.all(&Place::ALL).unwrap().len(), all.len());
}

#[test]
fn asking_does_not_disturb_taking() {
    let (_dir, pods) = pods();
    let uuid = pods.create().unwrap().uuid.to_string();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..2000).for_each(|_| assert!(pods.find(&uuid).unwrap().state().is_ok())));
        for _ in 0..200 {
            assert_eq!(pods.find(&uuid).unwrap().try_lock().unwrap(), Lock::Taken);
        }
    });
}
