//! What is damaged is told, and in nobody's way.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::fs;

use appc_image::Error;

mod support;
use support::Fixture;

#[test]
fn damaged_metadata_hides_no_other_image_and_can_be_removed() {
    let f = Fixture::new();
    let good = f.import("example.com/good", "", &[("file", "good")]);
    let bad = f.import("example.com/bad", "", &[("file", "bad")]);
    let metadata = f.data().join(format!("store/images/{}/metadata", bad.id));
    for text in ["", "{", "{\"name\":\"example.com/bad\"}", "[]"] {
        fs::write(&metadata, text).unwrap();
        let (images, damaged) = f.store.list_all().unwrap();
        assert_eq!(images.iter().map(|i| &i.id).collect::<Vec<_>>(), [&good.id], "{text}");
        assert!(damaged[0].to_string().contains(&bad.id.short()), "{}", damaged[0]);
        assert_eq!(f.store.resolve(&"example.com/good".parse().unwrap()).unwrap().id, good.id);
        assert_eq!(f.store.resolve(&good.id.to_string()[..20].parse().unwrap()).unwrap().id, good.id);
        let by_id = f.store.resolve(&bad.id.to_string()[..20].parse().unwrap());
        assert!(matches!(by_id, Err(Error::Damaged { .. })), "{text}");
    }
    // Fetching it again mends it.
    let again = f.import("example.com/bad", "", &[("file", "bad")]);
    assert_eq!((again.id, f.store.list().unwrap().len()), (bad.id.clone(), 2));
    fs::write(&metadata, "").unwrap();
    f.store.gc(&[]).unwrap();
    f.store.remove(&bad.id).unwrap();
    assert_eq!(f.names().len(), 3, "{:?}", f.names());
}

#[test]
fn an_archive_that_is_cut_off_is_mended_by_fetching() {
    let f = Fixture::new();
    let file = f.image("example.com/app", "", &[("file", "content")]);
    let fetch = || f.store.import(fs::File::open(&file).unwrap(), file.to_str().unwrap(), &appc_image::Quiet).unwrap();
    let image = fetch();
    let blob = f.store.blob(&image.id);
    let good = fs::read(&blob).unwrap();
    fs::write(&blob, &good[..good.len() / 2]).unwrap();
    fetch();
    assert_eq!(fs::read(&blob).unwrap(), good);
}

#[test]
fn folders_that_somebody_tidied_up_are_made_again() {
    let f = Fixture::new();
    fs::remove_dir_all(f.data().join("locks")).unwrap();
    fs::remove_dir_all(f.data().join("tmp")).unwrap();
    let image = f.import("example.com/app", "", &[("file", "content")]);
    fs::remove_dir_all(f.data().join("locks")).unwrap();
    fs::remove_dir_all(f.data().join("tmp")).unwrap();
    f.store.gc(&[]).unwrap();
    f.store.remove(&image.id).unwrap();
}
