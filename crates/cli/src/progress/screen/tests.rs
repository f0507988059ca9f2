//! The screen on a terminal, that of `script` of util-linux: it is restored however the screen
//! ends.

use super::*;
use crate::interrupt;
use anyhow::{ensure, Context, Result};
use recurrent_tasks as tasks;
use std::io::Read;
use std::path::Path;
use std::process::{exit, Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

/// Names the case in the environment of the process on that terminal.
const CASE: &str = "RECURRENT_SCREEN";

/// Names a file that this process writes when the work is done.
const ENDED: &str = "RECURRENT_SCREEN_ENDED";

/// No test takes longer.
const LIMIT: Duration = Duration::from_secs(60);

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const HIDE: &str = "\x1b[?25l"; // the cursor, at the end of every picture too

/// The program on the terminal. In the test process itself it does nothing.
#[test]
fn on_a_terminal() -> Result<()> {
    let Ok(case) = std::env::var(CASE) else { return Ok(()) };
    thread::spawn(|| {
        thread::sleep(LIMIT);
        exit(1); // it hangs
    });
    let cancel = interrupt::flag(interrupted)?;
    let state = Mutex::new(ComparisonState::new(
        tasks::by_name("adding", Some(100), None)?.as_ref(),
        4,
        10,
    ));
    let waits = |until: &dyn Fn() -> bool| {
        while !until() {
            thread::yield_now();
        }
    };
    let stopped = || cancel.load(Ordering::SeqCst);
    assert!(foreground());
    during(&state, &cancel, || {
        waits(&shown);
        match case.as_str() {
            "end" => {}
            "stop" => waits(&stopped),
            "endless" => waits(&|| false),
            "panic" => panic!("all is lost"),
            "panic of one run" => {
                let run = thread::spawn(|| panic!("one is lost"));
                assert!(run.join().is_err() && shown());
                waits(&stopped);
            }
            case => panic!("no such case: {case}"),
        }
    });
    assert!(!shown());
    if let Some(path) = std::env::var_os(ENDED) {
        std::fs::write(path, "")?;
    }
    exit(if stopped() { 130 } else { 0 });
}

/// Whether SIGHUP, SIGINT or SIGTERM was ignored when this process began. Only Linux tells;
/// elsewhere the answer is no.
fn ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    [1, 2, 15].iter().any(|signal| mask >> (signal - 1) & 1 == 1)
}

/// A case on a terminal.
struct Session {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    /// The output that the terminal has received so far.
    seen: String,
}

impl Session {
    /// Starts it, and waits for the screen; `None` if there is no such terminal.
    fn begin(case: &str, ended: &Path) -> Result<Option<Self>> {
        if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
            eprintln!("{case}: NOT RUN, there is no `script` of util-linux");
            return Ok(None);
        }
        if ignored() {
            eprintln!(
                "{case}: NOT RUN, signals are ignored here, as by nohup, and the program leaves \
                 them so"
            );
            return Ok(None);
        }
        let tests = "sh -c 'echo pid=$$; exec \"$0\" --exact \
            progress::screen::tests::on_a_terminal --nocapture' \"$RECURRENT_TESTS\"";
        let run = format!("stty rows 24 cols 80; stty -a; {tests}; echo code=$?; stty -a");
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-c", &run, "/dev/null"]);
        command.env(CASE, case).env(ENDED, ended).env("RECURRENT_TESTS", std::env::current_exe()?);
        command.env("TERM", "xterm-256color").env("RUST_BACKTRACE", "0").env("SHELL", "/bin/sh");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("it is piped")?;
        let output = child.stdout.take().context("it is piped")?;
        let mut session = Self { child, input, output, seen: String::new() };
        while !session.seen.contains("of 4 runs") {
            ensure!(session.read()?, "{case}: there is no screen: {}", session.seen);
        }
        Ok(Some(session))
    }

    /// Reads on, and returns whether there was any output.
    fn read(&mut self) -> Result<bool> {
        let mut bytes = [0; 4096];
        let count = self.output.read(&mut bytes)?;
        self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        Ok(count > 0)
    }

    /// Presses keys. `!` is not a key but sends a signal.
    fn press(&mut self, keys: &str) -> Result<()> {
        for key in keys.chars() {
            if key == '!' {
                let pid = self
                    .seen
                    .lines()
                    .find_map(|line| line.strip_prefix("pid="))
                    .context("no pid")?;
                ensure!(
                    Command::new("kill").args(["-TERM", pid.trim()]).status()?.success(),
                    "kill {pid}"
                );
            } else {
                write!(self.input, "{key}")?;
            }
        }
        Ok(())
    }

    /// Waits for the end with this exit code, and returns the output after the terminal was
    /// restored.
    fn end(mut self, code: i32) -> Result<String> {
        while self.read()? {}
        drop(self.input);
        self.child.wait()?;
        let text = self.seen.replace("\r\n", "\n");
        let (before, rest) =
            text.split_once(ENTER).with_context(|| format!("no screen: {text}"))?;
        let (_, after) =
            rest.split_once(LEAVE).with_context(|| format!("the screen stays: {text}"))?;
        let cursor = after.contains("\x1b[?25h") && !after.contains(HIDE);
        ensure!(cursor && !after.contains(ENTER), "it is not given back: {text}");
        let (said, after) = after.split_once("code=").with_context(|| text.clone())?;
        let (status, after) = after.split_once('\n').with_context(|| text.clone())?;
        assert_eq!(status, code.to_string(), "{text}");
        assert!(after.contains("icanon") && before.contains(after.trim()), "{before}\n-- {after}");
        Ok(said.to_owned())
    }
}

#[test]
fn the_terminal_is_restored_after_any_end() -> Result<()> {
    for (case, keys, code) in [
        ("end", "", 0),
        ("stop", "q", 130),
        ("stop", "\x03", 130),
        ("stop", "!", 130),
        ("endless", "\x03\x03", 130),
        ("endless", "q\x03", 130),
        ("endless", "\x03!", 130),
    ] {
        let Some(mut session) = Session::begin(case, Path::new("/dev/null"))? else { continue };
        session.press(keys)?;
        session.end(code).with_context(|| format!("{case}, keys {keys:?}"))?;
    }
    Ok(())
}

#[test]
fn panics_are_printed_on_the_restored_terminal() -> Result<()> {
    for (case, keys, code, what) in
        [("panic", "", 101, "all is lost"), ("panic of one run", "q", 130, "one is lost")]
    {
        let Some(mut session) = Session::begin(case, Path::new("/dev/null"))? else { continue };
        session.press(keys)?;
        let said = session.end(code)?;
        assert_eq!(said.matches(what).count(), 1, "{case}: {said}");
    }
    Ok(())
}

/// The terminal is closed, and the program still ends.
#[test]
fn a_closed_terminal_does_not_block_the_program() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let ended = temp.path().join("ended");
    let Some(mut session) = Session::begin("stop", &ended)? else { return Ok(()) };
    // After the second picture the program waits for keys. There it must notice the closed
    // terminal.
    while session.seen.matches(HIDE).count() < 3 {
        ensure!(session.read()?, "{}", session.seen);
    }
    session.child.kill()?; // and the terminal goes with it
    session.child.wait()?;
    let limit = Instant::now() + LIMIT;
    while !ended.exists() {
        assert!(Instant::now() < limit, "the screen does not end");
        thread::yield_now();
    }
    Ok(())
}
