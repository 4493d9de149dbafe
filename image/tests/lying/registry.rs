//! A registry in memory that takes images, and does so badly when told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use appc_image::oci::Digest;

use super::{Answer, Asked, Server, answer};

/// What is wrong with the registry.
#[derive(Default, Clone)]
pub struct Faults {
    /// It takes no chunks.
    pub no_patch: bool,
    /// Of every chunk but the first it takes only half at first, and fails.
    pub half_chunks: bool,
    /// It forgets what it took before when it fails.
    pub forgetful: bool,
    /// Uploads go to this other server.
    pub uploads_at: Option<String>,
    /// It does not know referrers.
    pub no_referrers: bool,
    /// It sees blobs only when it is told of the manifest again.
    pub late: bool,
    /// It wants chunks of that size at least.
    pub least: Option<u64>,
}

#[derive(Default)]
pub struct Held {
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub referrers: BTreeMap<String, Vec<serde_json::Value>>,
    uploads: BTreeMap<String, Vec<u8>>,
    failed: bool,
    late: BTreeSet<String>,
}

/// Starts one that holds `x/…` repositories, all with the same content.
pub fn start(faults: Faults) -> (Server, Arc<Mutex<Held>>) {
    let held = Arc::new(Mutex::new(Held::default()));
    let shared = held.clone();
    (Server::start(move |asked| respond(asked, &mut shared.lock().unwrap(), &faults)), held)
}

pub fn respond(asked: &Asked, held: &mut Held, faults: &Faults) -> Answer {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let (_, rest) = path.split_at(path.find("/x/").map_or(path.len(), |at| at + 3));
    let (kind, name) = rest.split_once('/').unwrap_or((rest, ""));
    match (asked.method.as_str(), kind) {
        _ if path == "/v2/" => answer(200),
        ("POST", "blobs") => begin(held, query, faults),
        (_, "blobs") if name.starts_with("uploads/") => upload(asked, held, path, query, faults),
        ("GET" | "HEAD", "blobs") => match held.blobs.get(name) {
            Some(bytes) => super::ranged(asked, bytes),
            None => answer(404),
        },
        ("GET" | "HEAD", "manifests") => match held.manifests.get(name) {
            Some((media_type, bytes)) => answer(200).with("content-type", media_type).body(bytes.clone()),
            None => answer(404),
        },
        ("PUT", "manifests") => manifest(asked, held, name, faults),
        ("GET", "referrers") if !faults.no_referrers => {
            let manifests = held.referrers.get(name).cloned().unwrap_or_default();
            let index = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
            answer(200).body(index.to_string())
        }
        _ => answer(404),
    }
}

fn begin(held: &mut Held, query: &str, faults: &Faults) -> Answer {
    let mount = query.split('&').find_map(|field| field.strip_prefix("mount=")).map(|d| d.replace("%3A", ":"));
    if mount.is_some_and(|digest| held.blobs.contains_key(&format!("other {digest}"))) {
        let digest = query.split('&').find_map(|field| field.strip_prefix("mount=")).unwrap().replace("%3A", ":");
        let bytes = held.blobs[&format!("other {digest}")].clone();
        held.blobs.insert(digest, bytes);
        return answer(201);
    }
    let id = held.uploads.len().to_string();
    held.uploads.insert(id.clone(), Vec::new());
    let host = faults.uploads_at.clone().unwrap_or_default();
    let begun = answer(202).with("location", format!("{host}/v2/x/blobs/uploads/{id}?state=0"));
    match faults.least {
        Some(least) => begun.with("oci-chunk-min-length", least.to_string()),
        None => begun,
    }
}

fn upload(asked: &Asked, held: &mut Held, path: &str, query: &str, faults: &Faults) -> Answer {
    let id = path.rsplit('/').next().unwrap().to_owned();
    let Some(upload) = held.uploads.get_mut(&id) else { return answer(404) };
    let place = |len: usize| {
        let here = format!("{path}?state={len}");
        let done = answer(202).with("location", here);
        if len > 0 { done.with("range", format!("0-{}", len - 1)) } else { done.with("range", "0-0") }
    };
    match asked.method.as_str() {
        "PATCH" if faults.no_patch => answer(405),
        "PATCH" => {
            let first = upload.len();
            assert_eq!(asked.header("content-range"), Some(&*format!("{first}-{}", first + asked.body.len() - 1)));
            if first > 0 && faults.half_chunks && !held.failed {
                held.failed = true;
                upload.extend(&asked.body[..asked.body.len() / 2]);
                if faults.forgetful {
                    upload.truncate(10);
                }
                return answer(500);
            }
            held.failed = false;
            upload.extend(&asked.body);
            place(upload.len())
        }
        "GET" => Answer { status: 204, ..place(upload.len()) },
        "DELETE" => {
            held.uploads.remove(&id);
            answer(204)
        }
        "PUT" => {
            upload.extend(&asked.body);
            let digest = query.rsplit_once("digest=").unwrap().1.replace("%3A", ":");
            if Digest::of(upload).to_string() != digest {
                let body = r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#;
                return answer(400).body(body);
            }
            let bytes = held.uploads.remove(&id).unwrap();
            held.blobs.insert(digest, bytes);
            answer(201)
        }
        _ => answer(404),
    }
}

fn manifest(asked: &Asked, held: &mut Held, name: &str, faults: &Faults) -> Answer {
    let media_type = asked.header("content-type").unwrap().to_owned();
    let digest = Digest::of(&asked.body).to_string();
    let document: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
    if faults.late && held.late.insert(digest.clone()) {
        let errors = r#"[{"code":"DIGEST_INVALID","message":"wrong digest"},{"code":"MANIFEST_BLOB_UNKNOWN"}]"#;
        return answer(400).body(format!(r#"{{"errors":{errors}}}"#));
    }
    for key in [name, &digest] {
        held.manifests.insert(key.to_owned(), (media_type.clone(), asked.body.clone()));
    }
    match document["subject"]["digest"].as_str() {
        Some(subject) if !faults.no_referrers => {
            let descriptor = serde_json::json!({"mediaType": media_type, "digest": digest, "size": asked.body.len()});
            held.referrers.entry(subject.to_owned()).or_default().push(descriptor);
            answer(201).with("oci-subject", subject)
        }
        _ => answer(201),
    }
}
