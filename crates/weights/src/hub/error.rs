//! What went wrong, in words that say what to do.

use super::{Repository, OFFLINE};
use candle::Error;
use hf_hub::repository::RepoTreeEntry;
use hf_hub::HFError;

/// Puts errors of the client library into words.
pub(super) struct HubError<'a> {
    pub(super) repository: &'a Repository,
}

impl HubError<'_> {
    /// Why a file could not be had. If the hub says that something is not there, it is asked once more for what is there.
    pub(super) fn with_file(&self, file: &str, error: HFError) -> Error {
        let Repository { offline, cache, remote, revision, .. } = self.repository;
        match error {
            HFError::EntryNotFound { .. } | HFError::LocalEntryNotFound { .. } if *offline => {
                let revisions = "a commit, or a branch or tag that was fetched before";
                self.say(&format!(
                    "{file} is not in the cache at {}, and {OFFLINE} forbids to fetch it; the revision must be {revisions}",
                    cache.display()
                ))
            }
            HFError::EntryNotFound { .. } => {
                match remote.list_tree().revision(revision).recursive(true).limit(1000).send() {
                    Ok(tree) => self.say(&format!("there is no file {file}; {}", listed(tree))),
                    Err(error) => self.general(error),
                }
            }
            error => self.general(error),
        }
    }

    /// Why the hub did not do what it was asked for.
    pub(super) fn general(&self, error: HFError) -> Error {
        let Repository { kind, id, revision, endpoint, .. } = self.repository;
        let prefix = if kind.to_string() == "model" { "" } else { "datasets/" };
        let context = match &error {
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context } => Some(context),
            HFError::RepoNotFound { context, .. } | HFError::RevisionNotFound { context, .. } => {
                context.as_ref()
            }
            _ => None,
        };
        let code = context.and_then(|context| context.error_code.as_deref());
        let said = context.and_then(|context| context.server_message.as_deref());
        let said = said.map(|said| format!("; it says: {said}")).unwrap_or_default();
        match (code, &error) {
            (Some("GatedRepo"), HFError::AuthRequired { .. }) => self.say(&format!(
                "it is gated, and no token was sent: accept its conditions at {endpoint}/{prefix}{id} and set HF_TOKEN"
            )),
            (Some("GatedRepo"), _) => self.say(&format!(
                "it is gated, and the token's owner has no access: ask for it at {endpoint}/{prefix}{id}{said}"
            )),
            (Some("RevisionNotFound"), _) | (_, HFError::RevisionNotFound { .. }) => {
                self.say(&format!("there is no revision {revision}; expected a branch, a tag or a commit"))
            }
            (Some("RepoNotFound"), _) | (_, HFError::RepoNotFound { .. }) => self.say(&format!(
                "{endpoint} has no such repository, or a private one that needs a token of somebody with access: is the name right, \
                 is HF_TOKEN set?"
            )),
            (_, HFError::AuthRequired { .. }) => {
                self.say(&format!("{endpoint} wants a valid token: set HF_TOKEN{said}"))
            }
            (_, HFError::Forbidden { .. }) => {
                self.say(&format!("{endpoint} refuses: the token does not permit this{said}"))
            }
            (_, HFError::Request { source, .. }) if source.is_connect() || source.is_timeout() => {
                self.say(&format!("no answer from {endpoint}, and not in the cache: {}", chain(&error)))
            }
            _ => self.say(&chain(&error)),
        }
    }

    fn say(&self, what: &str) -> Error {
        Error::Msg(format!("{}: {what}", self.repository.named()))
    }
}

/// What is there instead.
fn listed(tree: Vec<RepoTreeEntry>) -> String {
    const MOST: usize = 20;
    let mut files: Vec<_> = tree
        .into_iter()
        .filter_map(|entry| match entry {
            RepoTreeEntry::File { path, .. } => Some(path),
            RepoTreeEntry::Directory { .. } => None,
        })
        .collect();
    files.sort();
    match files.len() {
        0 => "there are none".to_owned(),
        count if count > MOST => {
            format!("there are {count}, among them {}", files[..MOST].join(", "))
        }
        _ => format!("there are {}", files.join(", ")),
    }
}

/// An error with all its causes, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
