//! Ctrl-C.

use anyhow::Result;
use std::io::{stderr, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// The exit code of a program that was interrupted: 128 and SIGINT's number, as of a shell's.
pub const INTERRUPTED: u8 = 130;

/// A flag that the first Ctrl-C sets, or another request to terminate; a second one ends the program at once.
///
/// Who starts a program with one of these signals ignored, as `nohup` does and a script that puts it in the background,
/// means it to go on: all signals are then left as they are, and nothing sets the flag. The same holds if the program
/// has a handler already.
///
/// `on_signal` is called at every signal, with whether it is a second one; it gives whether it has said so itself, in which case no line is written.
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
        let line = "\nstopping after the present step; what is finished is kept. Once more to end at once.";
        // Somebody who has closed the terminal need not be told.
        let _ = writeln!(stderr(), "{line}");
    });
    match handled {
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(flag),
        Err(error) => Err(error.into()),
    }
}
