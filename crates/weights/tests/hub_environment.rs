//! The variables of the environment that the hub's client reads. One test alone in its process,
//! whose environment it changes.

#[path = "hub/server.rs"]
mod server;

use candle_core::Result;
use recurrent_weights::hub::{from_hub, Hub, RepositoryKind};
use server::{Answer, Server};
use std::env::{remove_var, set_var};
use std::fs;

#[test]
fn switch_cache_endpoint_and_token_are_those_of_the_environment() -> Result<()> {
    for name in [
        "HF_TOKEN_PATH",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        remove_var(name);
    }
    let commit = "1".repeat(40);
    let to = commit.clone();
    let server = Server::start(move |_| {
        Answer::new(200, "fetched").with("etag", "\"e\"").with("x-repo-commit", to.as_str())
    });
    let home = tempfile::tempdir()?;
    set_var("HF_HOME", home.path());
    set_var("HF_HUB_CACHE", home.path().join("cache"));
    set_var("HF_ENDPOINT", &server.url);
    set_var("HF_TOKEN", "hf_ours");
    set_var("HF_HUB_OFFLINE", "yes");

    let fetch = || from_hub(RepositoryKind::Model, "our/lstm", Some("v1"), "config.json");
    let folder = home.path().join("cache/models--our--lstm");
    let miss = fetch().expect_err("the cache is empty").to_string();
    assert!(miss.contains("config.json") && miss.contains("HF_HUB_OFFLINE"), "{miss}");
    assert!(miss.contains(&folder.display().to_string()), "{miss}");
    assert!(server.seen().is_empty());

    remove_var("HF_HUB_OFFLINE");
    assert!(!Hub::default().offline);
    let path = fetch()?;
    assert_eq!(path, folder.join("snapshots").join(&commit).join("config.json"));
    assert_eq!(fs::read(&path)?, b"fetched");
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    for request in seen {
        assert_eq!(request.header("authorization"), Some("Bearer hf_ours"));
        assert_eq!(request.path, "/our/lstm/resolve/v1/config.json");
        assert!(request.body.is_empty() && ["HEAD", "GET"].contains(&request.method.as_str()));
    }

    set_var("HF_HUB_OFFLINE", "1");
    assert_eq!(fetch()?, path);
    assert_eq!(server.seen().len(), 2);

    set_var("HF_ENDPOINT", "");
    let error = fetch().expect_err("no address").to_string();
    let expected = "HF_ENDPOINT: expected an address like https://huggingface.co, got \"\"";
    assert!(error.starts_with(expected), "{error}");
    Ok(())
}
