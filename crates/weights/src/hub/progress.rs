//! The progress of a transfer, and the announced size.

use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler, UploadEvent};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// A function that is called while a file is fetched or sent; see [`Hub`](super::Hub).
pub type OnTransfer = Arc<dyn Fn(&Transfer) + Send + Sync>;

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer<'a> {
    /// The file that is fetched, or the repository that files are sent to.
    pub name: &'a str,
    /// The number of bytes so far.
    pub bytes: u64,
    /// The number of bytes of the whole; 0 while it is unknown.
    pub total: u64,
    /// Whether the transfer has ended, with or without success. This is the last call.
    pub ended: bool,
}

/// Follows one transfer.
pub(super) struct Follower {
    name: String,
    on_transfer: Option<OnTransfer>,
    /// The number of bytes that the hub has announced; 0 before that.
    announced: AtomicU64,
    bytes: AtomicU64,
}

impl Follower {
    pub(super) fn new(name: &str, on_transfer: Option<&OnTransfer>) -> Self {
        Self {
            name: name.to_owned(),
            on_transfer: on_transfer.cloned(),
            announced: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// The size that the hub has announced in this transfer, if any.
    pub(super) fn announced(&self) -> Option<u64> {
        Some(self.announced.load(Ordering::Relaxed)).filter(|&bytes| bytes > 0)
    }

    fn report(&self, ended: bool) {
        if let Some(on_transfer) = &self.on_transfer {
            on_transfer(&Transfer {
                name: &self.name,
                bytes: self.bytes.load(Ordering::Relaxed),
                total: self.announced.load(Ordering::Relaxed),
                ended,
            });
        }
    }
}

impl ProgressHandler for Follower {
    fn on_progress(&self, event: &ProgressEvent) {
        match event {
            ProgressEvent::Download(DownloadEvent::Start { total_bytes, .. })
            | ProgressEvent::Upload(UploadEvent::Start { total_bytes, .. }) => {
                self.announced.store(*total_bytes, Ordering::Relaxed);
            }
            ProgressEvent::Download(DownloadEvent::Progress { files }) => {
                if let Some(file) = files.last() {
                    self.bytes.store(file.bytes_completed, Ordering::Relaxed);
                }
            }
            ProgressEvent::Download(DownloadEvent::AggregateProgress {
                bytes_completed, ..
            })
            | ProgressEvent::Upload(UploadEvent::Progress { bytes_completed, .. }) => {
                self.bytes.store(*bytes_completed, Ordering::Relaxed);
            }
            ProgressEvent::Upload(UploadEvent::Committing | UploadEvent::Complete)
            | ProgressEvent::Download(DownloadEvent::Complete) => return,
        }
        self.report(false);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.report(true);
    }
}
