//! Errors of the client library in messages that say what to do.

use super::{Repository, OFFLINE};
use candle_core::Error;
use hf_hub::repository::RepoTreeEntry;
use hf_hub::HFError;

/// The error for a file that is not available. If the hub does not have the file, this sends one
/// more request, for the list of its files.
pub(super) fn file_error(repository: &Repository, file: &str, error: HFError) -> Error {
    let Repository { offline, cache, remote, revision, .. } = repository;
    match error {
        HFError::EntryNotFound { .. } | HFError::LocalEntryNotFound { .. } if *offline => {
            let revisions = "a commit, or a branch or tag that was fetched before";
            let cache = cache.display();
            message(
                repository,
                &format!(
                    "{file} is not in the cache at {cache}, and {OFFLINE} forbids fetching it; the \
                     revision must be {revisions}"
                ),
            )
        }
        HFError::EntryNotFound { .. } => {
            match remote.list_tree().revision(revision).recursive(true).limit(1000).send() {
                Ok(tree) => {
                    let text = format!("there is no file {file}; {}", listed(tree));
                    message(repository, &text)
                }
                Err(error) => request_error(repository, error),
            }
        }
        error => request_error(repository, error),
    }
}

/// The error of a request that the hub refused or did not answer.
pub(super) fn request_error(repository: &Repository, error: HFError) -> Error {
    let Repository { kind, id, revision, endpoint, .. } = repository;
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
    let answer = context.and_then(|context| context.server_message.as_deref());
    let answer = answer.map(|answer| format!("; it says: {answer}")).unwrap_or_default();
    let text = match (code, &error) {
        (Some("GatedRepo"), HFError::AuthRequired { .. }) => format!(
            "it is gated, and no token was sent: accept its conditions at {endpoint}/{prefix}{id} \
             and set HF_TOKEN"
        ),
        (Some("GatedRepo"), _) => format!(
            "it is gated, and the token's owner has no access: ask for it at \
             {endpoint}/{prefix}{id}{answer}"
        ),
        (Some("RevisionNotFound"), _) | (_, HFError::RevisionNotFound { .. }) => {
            format!("there is no revision {revision}; expected a branch, a tag or a commit")
        }
        (Some("RepoNotFound"), _) | (_, HFError::RepoNotFound { .. }) => format!(
            "{endpoint} has no such repository, or it is private: check the name, and that \
            HF_TOKEN is a token with access"
        ),
        (_, HFError::AuthRequired { .. }) => {
            format!("{endpoint} needs a valid token: set HF_TOKEN{answer}")
        }
        (_, HFError::Forbidden { .. }) => {
            format!("{endpoint} refuses: the token does not permit this{answer}")
        }
        (_, HFError::Request { source, .. }) if source.is_connect() || source.is_timeout() => {
            format!("no answer from {endpoint}, and not in the cache: {}", chain(&error))
        }
        _ => chain(&error),
    };
    message(repository, &text)
}

/// An error whose message begins with the repository.
pub(super) fn message(repository: &Repository, text: &str) -> Error {
    Error::Msg(format!("{}: {text}", repository.label()))
}

/// The files of a repository, for the message about one that is missing.
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
        0 => "the repository is empty".to_owned(),
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
