//! Progress bars: on a terminal, and nowhere else.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

use appc_image::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is over sooner shows nothing.
const PATIENCE: Duration = Duration::from_millis(300);

/// So that the bar finds room in a line beside it.
const LONGEST_NAME: usize = 32;

/// Bars of several things that are done at once, one below the other.
#[derive(Debug, Default)]
pub struct Bars(MultiProgress);

impl Bars {
    /// Does what writes to standard error while no bar is in the way.
    pub fn aside(&self, act: impl FnOnce()) {
        self.0.suspend(act);
    }
}

/// One bar on standard error.
#[derive(Debug)]
pub struct Bar {
    among: Option<MultiProgress>,
    bar: Mutex<Option<ProgressBar>>,
    begun: std::time::Instant,
}

impl Bar {
    /// A bar that appears when work takes its time.
    pub fn new() -> Bar {
        Bar { among: None, bar: Mutex::new(None), begun: std::time::Instant::now() }
    }

    /// The same, with others.
    pub fn among(bars: &Bars) -> Bar {
        Bar { among: Some(bars.0.clone()), bar: Mutex::new(None), begun: std::time::Instant::now() }
    }

    fn with(&self, act: impl FnOnce(&ProgressBar)) {
        // A panic elsewhere leaves the bar as good as it was.
        let bar = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(bar) = &*bar {
            act(bar);
        }
    }
}

impl Default for Bar {
    fn default() -> Bar {
        Bar::new()
    }
}

impl Progress for Bar {
    fn start(&self, total: Option<u64>, what: &str) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = match total {
            Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
            None => "{msg} {spinner} {bytes} {bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(ending(what));
        *self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(bar);
    }

    fn advance(&self, bytes: u64) {
        self.with(|bar| {
            if bar.is_hidden() && self.begun.elapsed() > PATIENCE {
                match &self.among {
                    Some(bars) => drop(bars.add(bar.clone())),
                    None => bar.set_draw_target(ProgressDrawTarget::stderr()),
                }
            }
            bar.inc(bytes);
        });
    }

    fn finish(&self) {
        self.with(ProgressBar::finish_and_clear);
    }

    fn part(&self) -> Option<Box<dyn Progress + '_>> {
        let among = self.among.clone()?;
        Some(Box::new(Bar { among: Some(among), bar: Mutex::new(None), begun: std::time::Instant::now() }))
    }
}

/// What tells an address from others is its end.
fn ending(what: &str) -> String {
    let surplus = what.chars().count().saturating_sub(LONGEST_NAME);
    match surplus {
        0 => what.to_owned(),
        _ => std::iter::once('…').chain(what.chars().skip(surplus + 1)).collect(),
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_leave_room_for_the_bar() {
        assert_eq!(super::ending("rootfs"), "rootfs");
        let address = "https://images.example.com/example.com/application-1.0-linux-amd64.aci";
        let shown = super::ending(address);
        assert_eq!((shown.chars().count(), &*shown), (32, "…application-1.0-linux-amd64.aci"));
    }
}
