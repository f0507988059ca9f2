//! Ctrl-C.

use anyhow::Result;
use std::io::{stderr, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// The exit code of a program that was interrupted: 128 and SIGINT's number, as of a shell's.
pub const INTERRUPTED: u8 = 130;

/// A flag that the first Ctrl-C sets, or another request to terminate; a second one ends the
/// program at once.
///
/// A program that was started with one of these signals ignored, by `nohup` or in the background of
/// a script, shall continue: it leaves all signals alone, and nothing sets the flag. The same holds
/// if the program has a handler already.
///
/// `on_signal` is called at every signal, with `true` at the second. If it returns `true`, it has
/// told the user itself, and no line is written.
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
            return; // the screen says so
        }
        let line = "\nstopping after the present step; what is finished is kept. Once more to end \
            at once.";
        // If this fails, the terminal is closed.
        let _ = writeln!(stderr(), "{line}");
    });
    match handled {
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(flag),
        Err(error) => Err(error.into()),
    }
}
