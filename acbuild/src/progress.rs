//! A progress bar for what takes long: on a terminal, and nowhere else.

use std::io::IsTerminal;
use std::time::Duration;

use appc_image::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error; nothing at all when that is no terminal.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new() -> Bar {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() };
        Bar(bar)
    }
}

impl Progress for Bar {
    fn start(&self, total: Option<u64>, what: &str) {
        let template = match total {
            Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {eta}",
            None => "{msg} {spinner} {bytes} {bytes_per_sec}",
        };
        // The templates are fixed; were one wrong, the default style is good enough.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.0.set_style(style);
        self.0.set_message(what.to_owned());
        if let Some(total) = total {
            self.0.set_length(total);
        }
        if !self.0.is_hidden() {
            self.0.enable_steady_tick(Duration::from_millis(100));
        }
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // Also when it was not finished: what is printed next must not land behind it.
        self.0.finish_and_clear();
    }
}
