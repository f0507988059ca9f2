//! The progress bar, and the announced size.

use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler, UploadEvent};
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::atomic::{AtomicU64, Ordering};

/// Follows one transfer. Draws the bar on stderr if that is a terminal.
pub(super) struct Transfer {
    bar: ProgressBar,
    /// The number of bytes that the hub has announced; 0 before that.
    announced: AtomicU64,
}

impl Transfer {
    pub(super) fn new(name: &str) -> Self {
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}",
        )
        .expect("a template without faults");
        Self {
            bar: ProgressBar::no_length().with_style(style).with_message(name.to_owned()),
            announced: AtomicU64::new(0),
        }
    }

    /// The size that the hub has announced in this transfer, if any.
    pub(super) fn announced(&self) -> Option<u64> {
        Some(self.announced.load(Ordering::Relaxed)).filter(|&bytes| bytes > 0)
    }
}

impl ProgressHandler for Transfer {
    fn on_progress(&self, event: &ProgressEvent) {
        match event {
            ProgressEvent::Download(DownloadEvent::Start { total_bytes, .. })
            | ProgressEvent::Upload(UploadEvent::Start { total_bytes, .. }) => {
                self.announced.store(*total_bytes, Ordering::Relaxed);
                self.bar.set_length(*total_bytes);
            }
            ProgressEvent::Download(DownloadEvent::Progress { files }) => {
                if let Some(file) = files.last() {
                    self.bar.set_position(file.bytes_completed);
                }
            }
            ProgressEvent::Download(DownloadEvent::AggregateProgress {
                bytes_completed, ..
            })
            | ProgressEvent::Upload(UploadEvent::Progress { bytes_completed, .. }) => {
                self.bar.set_position(*bytes_completed);
            }
            ProgressEvent::Upload(UploadEvent::Committing) => {}
            ProgressEvent::Download(DownloadEvent::Complete)
            | ProgressEvent::Upload(UploadEvent::Complete) => {
                self.bar.finish_and_clear();
            }
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
