//! Ctrl-C and SIGTERM: what was started ends, and the folder goes.

use std::path::Path;
use std::{fs, io};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::configs::{Files, Workspace};

/// The exit code of a run that could not be measured.
const NOT_MEASURED: i32 = 2;

/// Begins to listen for signals, on a thread of its own: the comparison waits for programs most of the time.
pub(super) fn clear_up_on_signals(workspace: &Workspace) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let (folder, files) = (workspace.folder.clone(), workspace.files);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
        });
        match files {
            Files::Kept => super::report::note(&format!("configs and logs: {}", folder.display())),
            Files::Removed => remove(&folder),
        }
        super::report::note("interrupted");
        // The kernel ends what we have started, as soon as we are gone.
        std::process::exit(NOT_MEASURED);
    });
    Ok(())
}

/// Somebody may be writing into it at this moment.
fn remove(folder: &Path) {
    let mut removed = fs::remove_dir_all(folder);
    for _ in 0..10 {
        match &removed {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                removed = fs::remove_dir_all(folder);
            }
            Err(_) | Ok(()) => break,
        }
    }
    if let Err(error) = removed {
        super::report::note(&format!("{} stays: {error}", folder.display()));
    }
}
