//! Ctrl-C.

use anyhow::Result;
use std::io::{stderr, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// The exit code of an interrupted program: 128 plus SIGINT's number, as in a shell.
pub const INTERRUPTED: u8 = 130;

/// A flag that is set by the first Ctrl-C or another request to terminate. A second one ends the
/// program at once.
///
/// If one of these signals is ignored at the start (by `nohup`, or in the background of a script),
/// the program must continue: it leaves all signals alone, and nothing sets the flag. The same
/// holds if the program already has a handler.
///
/// `on_signal` is called at every signal, with `true` at the second. If it returns `true`, it has
/// already informed the user, and no line is written.
///
/// # Errors
/// If the system refuses the handler.
pub fn flag(on_signal: impl Fn(bool) -> bool + Send + 'static) -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let handled = ctrlc::try_set_handler(move || {
        let again = set.swap(true, Ordering::SeqCst);
        let shown = on_signal(again);
        if again {
            std::process::exit(INTERRUPTED.into());
        }
        if shown {
            return; // the screen shows it
        }
        let line = "\nstopping after this step; finished runs are kept. Press Ctrl-C again to \
            end at once.";
        // If this fails, the terminal is closed.
        let _ = writeln!(stderr(), "{line}");
    });
    match handled {
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(flag),
        Err(error) => Err(error.into()),
    }
}
