//! The grammar of single flag values.

use appc_spec::{AcName, Mount};

/// `KEY=VALUE`; the key is not empty.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(format!("{text:?} must be specified as key=value")),
    }
}

/// `volume=NAME,target=ABSPATH`
pub(super) fn mount(text: &str) -> Result<Mount, String> {
    let (mut volume, mut target) = (None, None);
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} must be key=value"))?;
        let place = match key {
            "volume" => &mut volume,
            "target" => &mut target,
            _ => return Err(format!("unknown mount parameter {key:?}: use volume=NAME,target=PATH")),
        };
        if place.replace(value).is_some() {
            return Err(format!("label {key} with multiple values"));
        }
    }
    let volume = volume.ok_or("missing volume=NAME")?.parse::<AcName>().map_err(|e| format!("volume: {e}"))?;
    let path = target.ok_or("missing target=PATH")?;
    if !path.starts_with('/') {
        return Err(format!("target {path:?} must be an absolute path"));
    }
    Ok(Mount::new(volume, path))
}

/// Capability names, as the kernel spells them.
pub(super) fn capabilities(text: &str) -> Result<Vec<String>, String> {
    let check = |name: &str| match crate::capabilities::parse(name) {
        Some(_) => Ok(name.to_string()),
        None => Err(format!("unknown capability {name:?}: names are like CAP_NET_ADMIN")),
    };
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(check).collect()
}

/// A host name as hostname(7) has it, at most 64 bytes as the kernel has it.
pub(super) fn hostname(text: &str) -> Result<String, String> {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    match text.len() <= 64 && text.split('.').all(label) {
        true => Ok(text.into()),
        false => Err(format!("{text:?} is not a host name (letters, digits and `-`, at most 64 of them)")),
    }
}

/// What Go's `strconv.ParseBool` takes.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
