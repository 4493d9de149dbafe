//! The formats of the files with counts.

use std::io;

use super::super::tree::Dir;
use super::super::{Error, Result};
use super::{BlkioEntry, Pressure, Stalled};

/// The files of one cgroup. What is not there reads as nothing.
pub(super) struct Files<'a>(pub(super) &'a Dir);

impl Files<'_> {
    pub(super) fn text(&self, file: &str) -> Result<Option<String>> {
        match self.0.read(file) {
            Ok(text) => Ok(Some(text)),
            // Not in this kernel, or turned off in it.
            Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
            Err(e) => Err(Error::io("read", self.0.path.join(file), e)),
        }
    }

    /// A single number, `u64::MAX` for `max`.
    pub(super) fn number(&self, file: &str) -> Result<Option<u64>> {
        let Some(text) = self.text(file)? else { return Ok(None) };
        number(text.trim()).map(Some).ok_or_else(|| self.malformed(file))
    }

    pub(super) fn number_or_0(&self, file: &str) -> Result<u64> {
        Ok(self.number(file)?.unwrap_or_default())
    }

    /// `key value` lines.
    pub(super) fn pairs(&self, file: &str) -> Result<Vec<(String, u64)>> {
        let text = self.text(file)?.unwrap_or_default();
        let pair = |line: &str| Some((line.split_once(' ')?.0.to_owned(), number(line.split_once(' ')?.1.trim())?));
        text.lines().map(|line| pair(line).ok_or_else(|| self.malformed(file))).collect()
    }

    /// Numbers with spaces or line ends between them.
    pub(super) fn numbers(&self, file: &str) -> Result<Vec<u64>> {
        let text = self.text(file)?.unwrap_or_default();
        text.split_whitespace().map(|word| number(word).ok_or_else(|| self.malformed(file))).collect()
    }

    /// `0-2,7`
    pub(super) fn list(&self, file: &str) -> Result<Vec<u16>> {
        let text = self.text(file)?.unwrap_or_default();
        list(text.trim()).ok_or_else(|| self.malformed(file))
    }

    /// `8:0 Read 1024` or `8:0 1024`; none when there is no such file.
    pub(super) fn devices(&self, file: &str) -> Result<Option<Vec<BlkioEntry>>> {
        let Some(text) = self.text(file)? else { return Ok(None) };
        let lines = text.lines().filter(|line| !line.starts_with("Total"));
        let entries = lines.map(|line| device(line).ok_or_else(|| self.malformed(file)));
        entries.collect::<Result<_>>().map(Some)
    }

    pub(super) fn pressure(&self, file: &str) -> Result<Option<Pressure>> {
        let Some(text) = self.text(file)? else { return Ok(None) };
        pressure(&text).map(Some).ok_or_else(|| self.malformed(file))
    }

    pub(super) fn malformed(&self, file: &str) -> Error {
        Error::io("understand", self.0.path.join(file), io::Error::other("it is not as this version knows it"))
    }
}

pub(super) fn number(text: &str) -> Option<u64> {
    match text {
        "max" => Some(u64::MAX),
        // Some counters of version 1 go below zero for a moment.
        text if text.starts_with('-') => text.parse::<i64>().ok().map(|_| 0),
        text => text.parse().ok(),
    }
}

pub(super) fn list(text: &str) -> Option<Vec<u16>> {
    let mut all = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.parse::<u16>().ok()?..=last.parse().ok()?);
    }
    Some(all)
}

pub(super) fn device(line: &str) -> Option<BlkioEntry> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let (second, third) = (words.next()?, words.next());
    let (op, value) = third.map_or(("", second), |value| (second, value));
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    Some(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? })
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same with `full`.
pub(super) fn pressure(text: &str) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let stalled: &mut Stalled = match words.next()? {
            "some" => &mut pressure.some,
            "full" => &mut pressure.full,
            _ => continue,
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => stalled.avg10 = value.parse().ok()?,
                "avg60" => stalled.avg60 = value.parse().ok()?,
                "avg300" => stalled.avg300 = value.parse().ok()?,
                "total" => stalled.total = value.parse().ok()?,
                _ => {}
            }
        }
    }
    Some(pressure)
}
