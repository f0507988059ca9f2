//! The hub's client against a server on the loopback that speaks its protocol, and against prepared
//! caches. No test contacts another host.

mod server;

use candle_core::Result;
use recurrent_weights::hub::{Commit, Hub, Repository};
use server::{Answer, Request, Server};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

const MAIN: &str = "1111111111111111111111111111111111111111";
const TAG: &str = "2222222222222222222222222222222222222222";
const NONE: &str = "3333333333333333333333333333333333333333";

/// The environment must not influence the tests.
fn alone() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for name in [
            "HF_TOKEN",
            "HF_ENDPOINT",
            "HF_HUB_OFFLINE",
            "http_proxy",
            "HTTP_PROXY",
            "all_proxy",
            "ALL_PROXY",
        ] {
            std::env::remove_var(name);
        }
        std::env::set_var("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
    });
}

/// A hub at an address, with a cache of its own.
fn hub(endpoint: &str) -> (Hub, tempfile::TempDir) {
    alone();
    let cache = tempfile::tempdir().expect("a folder for a cache");
    let hub = Hub {
        endpoint: Some(endpoint.to_owned()),
        cache: Some(cache.path().to_owned()),
        token: None,
        offline: false,
        retries: 0,
        on_transfer: None,
    };
    (hub, cache)
}

/// The content of a file of `our/lstm`, if it is there.
fn content(revision: &str, file: &str) -> Option<(&'static str, Vec<u8>)> {
    let commit = match revision {
        "main" | MAIN => MAIN,
        "v1" | "refs%2Fpr%2F1" | TAG => TAG,
        _ => return None,
    };
    let bytes = match file {
        "config.json" => format!("{{\"at\": \"{commit}\"}}").into_bytes(),
        "weights/part%20%231.bin" => (0..100_000u32).map(|byte| byte as u8).collect(),
        _ => return None,
    };
    Some((commit, bytes))
}

/// What the hub answers.
fn answer(request: &Request) -> Answer {
    let token = request.header("authorization");
    let refuse = |status, code: &str, message: &str| {
        Answer::new(status, "").with("x-error-code", code).with("x-error-message", message)
    };
    let path = request.path.split('?').next().unwrap_or_default();
    if path.starts_with("/our/gated/") {
        return match token {
            None => refuse(401, "GatedRepo", "Access to model our/gated is restricted."),
            Some(_) => refuse(403, "GatedRepo", "Access to model our/gated is restricted."),
        };
    }
    let tree = path.strip_prefix("/api/models/our/lstm/tree/");
    let resolve = ["/our/lstm/resolve/", "/datasets/our/lstm/resolve/"]
        .into_iter()
        .find_map(|prefix| path.strip_prefix(prefix));
    match (tree, resolve.and_then(|rest| rest.split_once('/'))) {
        (Some(revision), _) if content(revision, "config.json").is_some() => Answer::new(
            200,
            r#"[{"type":"directory","oid":"1","path":"weights","size":0},{"type":"file","oid":"2","path":"weights/part #1.bin","size":100000},
                {"type":"file","oid":"3","path":"config.json","size":50}]"#,
        ),
        (Some(_), _) => refuse(404, "RevisionNotFound", "Invalid rev id"),
        (None, Some((revision, file))) => match content(revision, file) {
            Some((commit, bytes)) => Answer::new(200, bytes)
                .with("etag", format!("\"{commit}{}\"", file.len()))
                .with("x-repo-commit", commit),
            None => refuse(404, "EntryNotFound", "Entry not found"),
        },
        _ if token.is_none() => refuse(401, "RepoNotFound", "Repository not found"),
        _ => refuse(404, "RepoNotFound", "Repository not found"),
    }
}

/// The message, without the trace behind it.
fn message<T: std::fmt::Debug>(found: Result<T>) -> String {
    found.expect_err("must fail").to_string().lines().next().unwrap_or_default().to_owned()
}

/// Fills a cache as Python's library does: a revision that names a commit, and a file of that
/// commit.
fn fill(
    cache: &Path,
    folder: &str,
    revision: &str,
    commit: &str,
    file: &str,
    content: &str,
) -> PathBuf {
    let (name, path) = (
        cache.join(folder).join("refs").join(revision),
        cache.join(folder).join("snapshots").join(commit).join(file),
    );
    for file in [&name, &path] {
        fs::create_dir_all(file.parent().expect("it has one"))
            .expect("a folder in a folder of ours");
    }
    fs::write(name, commit).expect("a file in a folder of ours");
    fs::write(&path, content).expect("a file in a folder of ours");
    path
}

/// All files below a folder, links too.
fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("a folder of ours").path()) {
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path.display().to_string()),
        }
    }
    found
}

#[test]
fn a_file_is_fetched_once_and_then_lies_in_pythons_cache() -> Result<()> {
    let server = Server::start(answer);
    let (hub, cache) = hub(&server.url);
    let model = hub.model("our/lstm")?;
    let path = model.file("config.json")?;
    assert_eq!(
        path,
        cache.path().join("models--our--lstm/snapshots").join(MAIN).join("config.json")
    );
    assert_eq!(fs::read(&path)?, content("main", "config.json").expect("it is there").1);
    assert_eq!(fs::read_to_string(cache.path().join("models--our--lstm/refs/main"))?, MAIN);
    let methods = || server.seen().into_iter().map(|request| request.method).collect::<Vec<_>>();
    assert_eq!(methods(), ["HEAD", "GET"]);

    assert_eq!(model.file("config.json")?, path);
    assert_eq!(
        methods(),
        ["HEAD", "GET", "HEAD"],
        "a branch is asked whether it has moved, the file is not fetched again"
    );
    assert_eq!(model.revision(MAIN)?.file("config.json")?, path);
    assert_eq!(methods().len(), 3, "a commit is never asked for");
    Ok(())
}

#[test]
fn revisions_folders_and_odd_names() -> Result<()> {
    let server = Server::start(answer);
    let (hub, cache) = hub(&server.url);
    for (revision, commit) in [("v1", TAG), ("refs/pr/1", TAG), (MAIN, MAIN)] {
        let path = hub.model("our/lstm")?.revision(revision)?.file("weights/part #1.bin")?;
        assert!(
            path.ends_with(Path::new(commit).join("weights/part #1.bin")),
            "{}",
            path.display()
        );
        assert_eq!(fs::metadata(path)?.len(), 100_000);
    }
    let path = hub.dataset("our/lstm")?.file("config.json")?;
    assert!(path.starts_with(cache.path().join("datasets--our--lstm")));
    Ok(())
}

#[test]
fn files_that_belong_together_are_of_one_commit() -> Result<()> {
    let server = Server::start(answer);
    let (hub, cache) = hub(&server.url);
    let model = hub.model("our/lstm")?;
    let folder = model.folder(&["weights/part #1.bin", "config.json"])?;
    assert_eq!(folder, cache.path().join("models--our--lstm/snapshots").join(MAIN));
    assert!(folder.join("config.json").exists() && folder.join("weights/part #1.bin").exists());
    let asked: Vec<_> = server.seen().into_iter().map(|request| request.path).collect();
    // Not at main, which may have moved.
    let second = format!("/our/lstm/resolve/{MAIN}/config.json");
    assert_eq!(asked[2..], [second.clone(), second]);
    assert!(message(model.folder(&["config.json", "none"])).contains("there is no file none"));
    assert_eq!(message(model.folder(&[])), "hub folder: expected at least 1 file, got 0");
    Ok(())
}

#[test]
fn what_is_not_there_is_named_with_what_is() -> Result<()> {
    let server = Server::start(answer);
    let (hub, cache) = hub(&server.url);
    let model = || hub.model("our/lstm");
    assert_eq!(
        message(model()?.file("model.safetensors")),
        "hub model our/lstm at main: there is no file model.safetensors; there are config.json, \
        weights/part #1.bin"
    );
    assert_eq!(
        message(model()?.revision("v9")?.file("config.json")),
        "hub model our/lstm at v9: there is no revision v9; expected a branch, a tag or a commit"
    );
    assert!(message(model()?.revision(NONE)?.file("config.json"))
        .ends_with("expected a branch, a tag or a commit"));
    let url = &server.url;
    let absent = format!(
        "hub model our/gru at main: {url} has no such repository, or it is private: check the \
        name, and that HF_TOKEN is a token with access"
    );
    assert_eq!(message(hub.model("our/gru")?.file("config.json")), absent);
    let known = Hub { token: Some("hf_ours".into()), ..hub.clone() };
    assert_eq!(message(known.model("our/gru")?.file("config.json")), absent);
    assert!(files(cache.path()).iter().all(|file| !file.contains("blobs")));
    Ok(())
}

#[test]
fn a_gated_repository_wants_a_token_that_has_access() -> Result<()> {
    let server = Server::start(answer);
    let (hub, _cache) = hub(&server.url);
    let url = &server.url;
    assert_eq!(
        message(hub.model("our/gated")?.file("config.json")),
        format!(
            "hub model our/gated at main: it is gated, and no token was sent: accept its \
                conditions at {url}/our/gated and set HF_TOKEN"
        )
    );
    let hub = Hub { token: Some("hf_ours".into()), ..hub };
    let found = message(hub.model("our/gated")?.file("config.json"));
    assert!(
        found.contains(&format!("the token's owner has no access: ask for it at {url}/our/gated")),
        "{found}"
    );
    let seen = server.seen();
    assert_eq!(seen[0].header("authorization"), None);
    assert_eq!(seen[1].header("authorization"), Some("Bearer hf_ours"));
    assert!(!found.contains("hf_ours"));
    Ok(())
}

/// Large files lie on another host, to which the hub sends one on. The token is not for that host.
#[test]
fn large_files_come_from_another_host_which_gets_no_token() -> Result<()> {
    let store = Server::start(|_| Answer::new(200, "large"));
    let to = store.url.clone();
    let server = Server::start(move |_| {
        Answer::new(302, "elsewhere")
            .with("location", format!("{to}/blob"))
            .with("etag", "\"small\"")
            .with("x-linked-etag", "\"large\"")
            .with("x-linked-size", "5")
            .with("x-repo-commit", MAIN)
    });
    let (hub, _cache) = hub(&server.url);
    let hub = Hub { token: Some("hf_ours".into()), ..hub };
    assert_eq!(fs::read(hub.model("our/lstm")?.file("large.bin")?)?, b"large");
    assert!(server
        .seen()
        .iter()
        .all(|request| request.header("authorization") == Some("Bearer hf_ours")));
    assert_eq!(store.seen().len(), 1);
    assert_eq!(store.seen()[0].header("authorization"), None);
    Ok(())
}

/// What every answer about a file bears.
fn with_names(answer: Answer) -> Answer {
    answer.with("etag", "\"e\"").with("x-repo-commit", MAIN)
}

#[test]
fn a_body_cut_short_leaves_nothing_and_the_next_call_begins_anew() -> Result<()> {
    let broken = std::sync::atomic::AtomicBool::new(true);
    let server = Server::start(move |request| {
        let mut answer = with_names(Answer::new(200, "0123456789"));
        if request.method == "GET" && broken.swap(false, std::sync::atomic::Ordering::SeqCst) {
            answer.cut = 4;
        }
        answer
    });
    let (hub, cache) = hub(&server.url);
    let model = hub.model("our/lstm")?;
    let found = message(model.file("config.json"));
    assert!(found.starts_with("hub model our/lstm at main: ") && found.contains("body"), "{found}");
    assert!(!cache.path().join("models--our--lstm/snapshots").exists());
    assert_eq!(fs::read(model.file("config.json")?)?, b"0123456789");
    Ok(())
}

/// hf-hub 1.0 saves the content of any answer to GET, whatever its status.
#[test]
fn an_error_page_is_not_taken_for_the_file() -> Result<()> {
    for status in [200, 403, 500] {
        let server = Server::start(move |request| match request.method.as_str() {
            "GET" => with_names(Answer::new(status, "<html>no</html>")),
            _ => with_names(Answer::new(200, "0123456789")),
        });
        let (hub, cache) = hub(&server.url);
        let found = message(hub.model("our/lstm")?.file("config.json"));
        let expected =
            "config.json: expected 10 bytes, found 15, which are now removed from the cache";
        assert_eq!(found, format!("hub model our/lstm at main: {expected}"));
        assert!(files(cache.path())
            .iter()
            .all(|file| !file.contains("blobs") && !file.contains("snapshots")));
    }
    Ok(())
}

#[test]
fn other_answers_of_the_server_are_told() -> Result<()> {
    for (status, expected) in [
        (401, "wants a valid token: set HF_TOKEN; it says: tired"),
        (403, "refuses: the token does not permit this; it says: tired"),
        (500, "HTTP error: 500"),
    ] {
        let server =
            Server::start(move |_| Answer::new(status, "").with("x-error-message", "tired"));
        let (hub, _cache) = hub(&server.url);
        let found = message(hub.model("our/lstm")?.file("config.json"));
        assert!(
            found.starts_with("hub model our/lstm at main: ") && found.contains(expected),
            "{found}"
        );
    }
    let server = Server::start(|_| Answer::new(200, ""));
    let (hub, _cache) = hub(&server.url);
    let found = message(hub.model("our/lstm")?.file("config.json"));
    assert!(found.contains("missing ETag header"), "{found}");
    Ok(())
}

#[test]
fn without_an_answer_the_cache_will_do() -> Result<()> {
    let gone = Server::start(answer).url.clone(); // nobody listens there any more
    let (hub, cache) = hub(&gone);
    let found = message(hub.model("our/lstm")?.file("config.json"));
    assert!(
        found.starts_with(&format!(
            "hub model our/lstm at main: no answer from {gone}, and not in the cache: "
        )),
        "{found}"
    );
    let path = fill(cache.path(), "models--our--lstm", "main", MAIN, "config.json", "cached");
    assert_eq!(hub.model("our/lstm")?.file("config.json")?, path);
    Ok(())
}

/// The client also writes to the cache if nothing has changed.
#[test]
#[cfg(unix)]
fn a_read_only_cache_will_do_or_is_named() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start(answer);
    let (hub, cache) = hub(&server.url);
    let path = hub.model("our/lstm")?.file("config.json")?;
    let folder = cache.path().join("models--our--lstm");
    let set = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let locked = [folder.join("refs/main"), folder.join("refs"), folder.clone()];
    locked.iter().try_for_each(|path| set(path, if path.is_dir() { 0o555 } else { 0o444 }))?;
    let writable = fs::write(folder.join("refs/main"), MAIN).is_ok(); // root may write everywhere
    let found = hub.model("our/lstm")?.file("config.json")?;
    let other = hub.model("our/lstm")?.file("weights/part #1.bin");
    locked
        .iter()
        .rev()
        .try_for_each(|path| set(path, if path.is_dir() { 0o755 } else { 0o644 }))?;
    assert_eq!(found, path);
    if !writable {
        let other = message(other);
        assert!(other.contains(&folder.display().to_string()), "{other}");
        assert!(other.contains("HF_HUB_OFFLINE") && other.contains("HF_HUB_CACHE"), "{other}");
    }
    Ok(())
}

#[test]
fn offline_only_the_cache_is_looked_at() -> Result<()> {
    let server = Server::start(answer);
    let (hub, cache) = hub(&server.url);
    let hub = Hub { offline: true, ..hub };
    let folder = cache.path().join("models--our--lstm");
    let miss = |revision: &str, file: &str| {
        format!(
            "hub model our/lstm at {revision}: {file} is not in the cache at {}, and \
            HF_HUB_OFFLINE forbids to fetch it; the revision must be a commit, or a branch or tag \
            that was fetched before",
            folder.display()
        )
    };
    assert_eq!(message(hub.model("our/lstm")?.file("config.json")), miss("main", "config.json"));
    let path = fill(cache.path(), "models--our--lstm", "main", MAIN, "config.json", "cached");
    assert_eq!(hub.model("our/lstm")?.file("config.json")?, path);
    assert_eq!(hub.model("our/lstm")?.revision(MAIN)?.file("config.json")?, path);
    assert_eq!(message(hub.model("our/lstm")?.file("other.json")), miss("main", "other.json"));
    assert_eq!(
        message(hub.model("our/lstm")?.revision("v1")?.file("config.json")),
        miss("v1", "config.json")
    );
    let parquet = fill(
        cache.path(),
        "datasets--our--data",
        "refs/convert/parquet",
        TAG,
        "a/0.parquet",
        "PAR1",
    );
    assert_eq!(
        hub.dataset("our/data")?.revision("refs/convert/parquet")?.file("a/0.parquet")?,
        parquet
    );

    let found = message(hub.model("our/lstm")?.push(&path, "x"));
    assert!(found.contains("HF_HUB_OFFLINE forbids to send"), "{found}");
    assert!(server.seen().is_empty());
    Ok(())
}

/// What a commit brings: the message, and the files with their content.
fn commit(request: &Request) -> (String, Vec<(String, String)>) {
    let mut lines = request.body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let mut line = || -> Option<serde_json::Value> {
        Some(serde_json::from_slice(lines.next()?).expect("JSON by lines"))
    };
    let header = line().expect("a header");
    assert_eq!(header["key"], "header");
    let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    let mut files = Vec::new();
    while let Some(file) = line() {
        assert_eq!((&file["key"], &file["value"]["encoding"]), (&"file".into(), &"base64".into()));
        files.push((text(&file["value"]["path"]), text(&file["value"]["content"])));
    }
    (text(&header["value"]["summary"]), files)
}

/// Takes what is pushed to `our/lstm`.
fn receiver() -> Server {
    Server::start(|request| match (request.method.as_str(), request.path.as_str()) {
        _ if request.header("authorization") != Some("Bearer hf_ours") => {
            Answer::new(401, "").with("x-error-message", "Invalid username or password.")
        }
        ("POST", path) if path.starts_with("/api/models/our/lstm/preupload/") => {
            let asked: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
            let files: Vec<_> = asked["files"].as_array().expect("files").iter().collect();
            let regular = |file: &&serde_json::Value| {
                let path = &file["path"];
                serde_json::json!({ "path": path, "uploadMode": "regular", "shouldIgnore": false })
            };
            Answer::new(
                200,
                serde_json::json!({ "files": files.iter().map(regular).collect::<Vec<_>>() })
                    .to_string(),
            )
        }
        ("POST", path) if path.starts_with("/api/models/our/lstm/commit/") => Answer::new(
            200,
            format!(
                r#"{{"commitUrl":"https://x/commit/{TAG}","commitOid":"{TAG}","hookOutput":""}}"#
            ),
        ),
        _ => Answer::new(404, "").with("x-error-code", "RepoNotFound"),
    })
}

/// A folder to be pushed.
fn folder() -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::create_dir_all(folder.path().join("logs/.git"))?;
    for (name, content) in [
        ("config.json", "{}"),
        ("weights.bin", "\0\u{1}ab"),
        ("logs/runs.jsonl", "1\n2\n"),
        (".secret", "x"),
        ("logs/.git/x", "x"),
    ] {
        fs::write(folder.path().join(name), content)?;
    }
    Ok(folder)
}

fn writable(hub: &Hub) -> Result<Repository> {
    Hub { token: Some("hf_ours".into()), ..hub.clone() }.model("our/lstm")
}

#[test]
fn a_folder_is_pushed_as_one_commit() -> Result<()> {
    let server = receiver();
    let (hub, _cache) = hub(&server.url);
    let folder = folder()?;
    let made = writable(&hub)?.revision("refs/pr/2")?.push(folder.path(), "an LSTM")?;
    let url = Some(format!("https://x/commit/{TAG}"));
    assert_eq!(made, Commit { id: Some(TAG.to_owned()), url });
    let seen = server.seen();
    let paths: Vec<_> = seen.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(
        paths,
        ["preupload", "commit"].map(|verb| format!("/api/models/our/lstm/{verb}/refs%2Fpr%2F2"))
    );
    let (summary, files) = commit(&seen[1]);
    assert_eq!(summary, "an LSTM");
    let expected =
        [("config.json", "e30="), ("logs/runs.jsonl", "MQoyCg=="), ("weights.bin", "AAFhYg==")];
    assert_eq!(files, expected.map(|(name, content)| (name.to_owned(), content.to_owned())));

    writable(&hub)?.push(&folder.path().join("logs/runs.jsonl"), "one file")?;
    assert_eq!(commit(&server.seen()[3]).1, [("runs.jsonl".to_owned(), "MQoyCg==".to_owned())]);
    Ok(())
}

#[test]
fn a_push_that_cannot_be_says_why() -> Result<()> {
    let server = receiver();
    let (hub, _cache) = hub(&server.url);
    let folder = folder()?;
    let found = message(hub.model("our/lstm")?.push(folder.path(), "x"));
    assert!(
        found.contains("wants a valid token: set HF_TOKEN; it says: Invalid username"),
        "{found}"
    );
    let absent = Hub { token: Some("hf_ours".into()), ..hub.clone() }.model("our/gru")?;
    assert!(message(absent.push(folder.path(), "x")).contains("has no such repository"));
    let requests = server.seen().len();
    let found = message(writable(&hub)?.push(&folder.path().join("logs/.git/none"), "x"));
    assert!(found.starts_with("hub push: ") && found.contains("No such file"), "{found}");
    let empty = folder.path().join("logs/.git");
    fs::remove_file(empty.join("x"))?;
    assert_eq!(
        message(writable(&hub)?.push(&empty, "x")),
        format!(
            "hub push: expected at least one file whose name does not begin with a dot, found none \
            in {}",
            empty.display()
        )
    );
    assert_eq!(server.seen().len(), requests, "nothing was sent");
    Ok(())
}
