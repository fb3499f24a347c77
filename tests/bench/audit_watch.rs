//! When lines appear in the audit log: a thread that looks at the file every millisecond.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::commits::seconds;

const LOOK: Duration = Duration::from_millis(1);

/// A watch that runs.
pub(crate) struct AuditWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<HashMap<String, f64>>,
}

/// Begins to look at a file that is there.
pub(crate) fn start(file: PathBuf) -> AuditWatch {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    AuditWatch { stop, thread: std::thread::spawn(move || watch(&file, &stopped)) }
}

impl AuditWatch {
    /// When the line of each message appeared, in seconds since 1970.
    pub(crate) fn stop(self) -> HashMap<String, f64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch")
    }
}

fn watch(file: &PathBuf, stop: &AtomicBool) -> HashMap<String, f64> {
    let mut file = File::open(file).expect("the audit log");
    let (mut seen, mut text) = (HashMap::new(), Vec::new());
    loop {
        // Asked before the look, so that the last look comes after the last line.
        let last = stop.load(Ordering::Relaxed);
        file.read_to_end(&mut text).expect("the audit log");
        let now = seconds(SystemTime::now());
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in text.drain(..whole).collect::<Vec<_>>().split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
        {
            let line: Value = serde_json::from_slice(line).expect("a JSON line");
            if let Some(id) = line["metadata"]["message_id"].as_str() {
                seen.insert(id.to_owned(), now);
            }
        }
        if last {
            return seen;
        }
        std::thread::sleep(LOOK);
    }
}
