//! The names that a repository, a revision or a file may have.

use super::RepositoryKind;
use candle_core::{bail, Result};

/// Owner and name. Both become parts of addresses and of paths in the cache.
pub(super) fn repository(kind: RepositoryKind, id: &str) -> Result<(&str, &str)> {
    let plain = |part: &str| {
        !part.is_empty()
            && part.len() <= 96
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !part.starts_with(['.', '-'])
            && !part.ends_with(['.', '-'])
            && !part.contains("..")
            && !part.contains("--") // stands for the slash in the cache
    };
    match id.split_once('/') {
        Some((owner, name)) if plain(owner) && plain(name) => Ok((owner, name)),
        _ => bail!("hub {kind}: expected owner/name, of letters, digits, - _ and ., got {id:?}"),
    }
}

/// A revision, whose slashes become folders in the cache.
pub(super) fn revision(revision: &str) -> Result<()> {
    if !is_path(revision) || revision.contains(char::is_whitespace) {
        bail!("hub revision: expected a branch, a tag or a commit, got {revision:?}")
    }
    Ok(())
}

/// A file, by its path from the root of the repository.
pub(super) fn file(file: &str) -> Result<()> {
    if !is_path(file) {
        bail!(
            "hub file: expected a path within the repository, like model.safetensors, got {file:?}"
        )
    }
    Ok(())
}

/// Whether this is a relative path within its folder, on any system.
fn is_path(path: &str) -> bool {
    path.split('/').all(|part| !["", ".", ".."].contains(&part))
        && !path.contains(|c: char| c.is_control() || "\\:*?\"<>|".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_ids_are_refused() {
        let wrong = [
            "", "a", "a/b/c", "../x", "x/..", "/a", "a/", "a b/c", "a/b?", "a/b%2e", "é/b",
            "a--b/c", "-a/b", "a/b.",
        ];
        for id in wrong {
            let error = repository(RepositoryKind::Model, id).expect_err(id).to_string();
            let expected = format!(
                "hub model: expected owner/name, of letters, digits, - _ and ., got {id:?}"
            );
            assert_eq!(error.lines().next(), Some(expected.as_str()));
        }
        for id in ["ylecun/mnist", "zalando-datasets/fashion_mnist", "a/B.1-c_2"] {
            assert_eq!(repository(RepositoryKind::Dataset, id).ok(), id.split_once('/'));
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in
            ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".", "c:\\x", "a\\b", "a\nb", "a\0"]
        {
            assert!(file(path).is_err() && revision(path).is_err(), "{path:?}");
        }
        for path in ["model.safetensors", "a/b c/..d", ".gitattributes", "ü#1.bin"] {
            assert!(file(path).is_ok(), "{path:?}");
        }
        assert!(["main", "v1.0", "refs/convert/parquet", "refs/pr/1"]
            .into_iter()
            .all(|name| revision(name).is_ok()));
        assert!(revision("a b").is_err());
    }
}
