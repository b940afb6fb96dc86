//! Named places where a test may kill or stop the server. Only debug builds have them: a release build holds neither the code nor the variable's name.

/// Reaches the place `name`: kills this process, or waits there, when a test has armed exactly this place, alone or beside others (`place,place=wait`).
#[cfg(debug_assertions)]
pub async fn reach(name: &str) {
    let Ok(armed) = std::env::var("INTERLOCK_FAILPOINT") else { return };
    let each = armed.split(',').map(|one| one.rsplit_once('=').unwrap_or((one, "kill")));
    let Some(action) = each.filter(|(place, _)| *place == name).map(|(_, action)| action).next() else { return };
    let Some(folder) = std::env::var_os("INTERLOCK_FAILPOINT_DIR") else { return };
    // The marker shows the test that the place was reached; it also makes the place fire once.
    let marker = std::path::Path::new(&folder).join(name.replace(':', "_"));
    if std::fs::OpenOptions::new().write(true).create_new(true).open(&marker).is_err() {
        return;
    }
    match action {
        "kill" => {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::process::abort();
        }
        // `wait`: the test does its harm to another process, then takes the marker away.
        _ => {
            while marker.exists() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub async fn reach(_name: &str) {}
