//! Progress bars for what takes long: on a terminal, and nowhere else.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use appc_image::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A part that is done sooner gets no bar of its own.
const PATIENCE: Duration = Duration::from_millis(300);

/// A bar on standard error, with those of the parts below it; nothing at all when that is no terminal.
pub(crate) struct Bar {
    bar: ProgressBar,
    parts: Option<MultiProgress>,
}

impl Bar {
    pub(crate) fn new() -> Bar {
        if !std::io::stderr().is_terminal() {
            return Bar { bar: ProgressBar::hidden(), parts: None };
        }
        let bars = MultiProgress::new();
        Bar { bar: bars.add(ProgressBar::no_length()), parts: Some(bars) }
    }
}

impl Progress for Bar {
    fn start(&self, total: Option<u64>, what: &str) {
        describe(&self.bar, total, what);
        if !self.bar.is_hidden() {
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn part(&self) -> Option<Box<dyn Progress + '_>> {
        let bars = self.parts.as_ref()?;
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Some(Box::new(Part { bars, bar, begun: Instant::now() }))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // Also when it was not finished: what is printed next must not land behind it.
        self.bar.finish_and_clear();
    }
}

/// The bar of one of several parts.
struct Part<'b> {
    bars: &'b MultiProgress,
    bar: ProgressBar,
    begun: Instant,
}

impl Progress for Part<'_> {
    fn start(&self, total: Option<u64>, what: &str) {
        describe(&self.bar, total, what);
    }

    fn advance(&self, bytes: u64) {
        if self.bar.is_hidden() && self.begun.elapsed() > PATIENCE {
            self.bars.add(self.bar.clone());
        }
        self.bar.inc(bytes);
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn describe(bar: &ProgressBar, total: Option<u64>, what: &str) {
    let template = match total {
        Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {eta}",
        None => "{msg} {spinner} {bytes} {bytes_per_sec}",
    };
    // The templates are fixed; were one wrong, the default style is good enough.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar.set_message(what.to_owned());
    if let Some(total) = total {
        bar.set_length(total);
    }
}
