//! Which image of a layout is meant.

use std::collections::HashSet;

use super::{CONTAINERD_NAME, REF_NAME};
use crate::error::printable;
use crate::oci::{Descriptor, Digest, Index, media_type};

/// The descriptor of the image that `name` means; of the only one when there is no name. `whole` is the index itself:
/// what its manifests are when none of them has a name, each being for another platform.
pub(super) fn choose(index: &Index, whole: Descriptor, name: Option<&str>) -> Result<Descriptor, String> {
    let images: Vec<&Descriptor> = index.manifests.iter().filter(|d| is_image(d)).collect();
    let Some(name) = name else {
        return match images.as_slice() {
            [] => Err("there is no image in it".into()),
            [one] => Ok((*one).clone()),
            [first, rest @ ..] if rest.iter().all(|d| d.digest == first.digest) => Ok((*first).clone()),
            all if all.iter().all(|d| names(d).next().is_none()) => Ok(whole),
            all => Err(format!("there are several images in it, say which: {}", listed(all))),
        };
    };
    let named: Vec<&Descriptor> = images.iter().filter(|d| names(d).any(|n| n == name)).copied().collect();
    match named.as_slice() {
        [] if images.iter().all(|d| names(d).next().is_none()) => {
            Err(format!("the image in it has no name: leave out \":{}\"", printable(name.as_bytes())))
        }
        [] => Err(format!("there is no image \"{}\" in it, only {}", printable(name.as_bytes()), listed(&images))),
        [first, rest @ ..] if rest.iter().all(|d| d.digest == first.digest) => Ok((*first).clone()),
        _ => Err(format!("there are several images \"{}\" in it", printable(name.as_bytes()))),
    }
}

fn is_image(descriptor: &Descriptor) -> bool {
    media_type::is_manifest(&descriptor.media_type) || media_type::is_index(&descriptor.media_type)
}

/// What a descriptor's image is called.
fn names(descriptor: &Descriptor) -> impl Iterator<Item = &str> {
    [REF_NAME, CONTAINERD_NAME].into_iter().filter_map(|key| descriptor.annotations.get(key)).map(String::as_str)
}

fn listed(images: &[&Descriptor]) -> String {
    const MOST: usize = 20;
    let mut listed: Vec<String> =
        images.iter().filter_map(|d| names(d).next()).map(|n| printable(n.as_bytes())).collect();
    listed.sort();
    listed.dedup();
    if listed.len() > MOST {
        listed.truncate(MOST);
        listed.push("…".into());
    }
    listed.join(", ")
}

/// Puts `top` into the index as the image called `name`, or as the one that has no name; `referrers` have none either, or a
/// tag that stands for what they are about, and are listed behind what is there.
pub(super) fn insert(index: &mut Index, mut top: Descriptor, name: Option<&str>, referrers: &[Descriptor]) {
    top.annotations.remove(REF_NAME);
    top.annotations.remove(CONTAINERD_NAME);
    if let Some(name) = name {
        top.annotations.insert(REF_NAME.into(), name.into());
    }
    let about_others: HashSet<&Digest> = referrers.iter().map(|one| &one.digest).collect();
    let same = |d: &Descriptor| {
        d.annotations.get(REF_NAME).map(String::as_str) == name && !(name.is_none() && about_others.contains(&d.digest))
    };
    match index.manifests.iter().position(same) {
        Some(at) => {
            index.manifests[at] = top;
            let mut later = at + 1;
            while later < index.manifests.len() {
                if same(&index.manifests[later]) {
                    index.manifests.remove(later);
                } else {
                    later += 1;
                }
            }
        }
        None => index.manifests.push(top),
    }
    let mut listed: HashSet<Digest> = index.manifests.iter().map(|one| one.digest.clone()).collect();
    for one in referrers {
        match one.annotations.get(REF_NAME) {
            Some(tag) => index.manifests.retain(|other| other.annotations.get(REF_NAME) != Some(tag)),
            None if listed.contains(&one.digest) => continue,
            None => {}
        }
        listed.insert(one.digest.clone());
        index.manifests.push(one.clone());
    }
}

/// Checks a name against the grammar of `org.opencontainers.image.ref.name`.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let good = |part: &str| {
        let bytes = part.as_bytes();
        let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        ends(bytes.first())
            && ends(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-._:@+".contains(b))
    };
    if name.len() <= 255 && name.split('/').all(good) {
        return Ok(());
    }
    Err(format!(
        "\"{}\" is no name for an image in a layout: letters and digits with one of -._:@+/ between them",
        printable(name.as_bytes())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(content: &str, name: Option<&str>) -> Descriptor {
        let mut descriptor = Descriptor::of(media_type::MANIFEST, content.as_bytes());
        descriptor.annotations.extend(name.map(|name| (REF_NAME.to_owned(), name.to_owned())));
        descriptor
    }

    fn chosen(images: &[Descriptor], name: Option<&str>) -> Result<Descriptor, String> {
        choose(&Index::new(images.to_vec()), Descriptor::of(media_type::INDEX, b"whole"), name)
    }

    #[test]
    fn one_image_needs_no_name() {
        let (a, b, c) = (image("a", Some("a")), image("b", Some("b")), image("c", None));
        assert_eq!(chosen(std::slice::from_ref(&a), None).unwrap(), a);
        assert_eq!(chosen(&[a.clone(), b.clone()], Some("b")).unwrap(), b);
        assert_eq!(chosen(&[c.clone(), image("d", None)], None).unwrap().digest, Descriptor::of("", b"whole").digest);
        assert!(chosen(&[], None).unwrap_err().contains("no image"));
        assert!(chosen(&[a.clone(), b.clone()], None).unwrap_err().contains("a, b"));
        assert!(chosen(&[a.clone(), b], Some("c")).unwrap_err().contains("only a, b"));
        assert!(chosen(&[c], Some("c")).unwrap_err().contains("has no name"));
        assert!(chosen(&[a, image("b", Some("a"))], Some("a")).unwrap_err().contains("several"));
    }

    #[test]
    fn an_image_takes_the_place_of_its_namesakes() {
        let (a, b, c) = (image("a", Some("a")), image("b", Some("b")), image("c", None));
        let mut index = Index::new(vec![a.clone(), b.clone(), image("d", Some("a"))]);
        insert(&mut index, c, Some("a"), &[]);
        assert_eq!(index.manifests, [image("c", Some("a")), b.clone()]);
        insert(&mut index, a, None, &[]);
        assert_eq!(index.manifests, [image("c", Some("a")), b.clone(), image("a", None)]);
        let signature = image("signature", None);
        for _ in 0..2 {
            insert(&mut index, image("d", None), None, std::slice::from_ref(&signature));
        }
        assert_eq!(index.manifests, [image("c", Some("a")), b, image("d", None), signature]);
    }

    #[test]
    fn names() {
        for good in ["latest", "1.0", "example.com/app:1.0", "a@sha256:00", "v1.0+x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "-a", "a b", "a\n", "a//b", "ä"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
