//! (j) `millrace audit verify` over a log, beside `openssl dgst -sha256` over the same segment files, both bound to one
//! and the same processor and in turns; for a log of the lines of (i) and for a tenth of them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use millrace_tests::binary;

use super::audit_supply::write_log;
use super::options::Part;
use super::percentiles::Sorted;
use super::report::Figures;
use super::{Bench, progress};

/// Turns of each side; those over few lines are short and therefore more.
const TURNS: usize = 3;
const SHORT_TURNS: usize = 7;
/// How much smaller the small log is.
const TENTH: usize = 10;
const MIB: f64 = 1_048_576.0;

pub(crate) async fn measure(bench: &mut Bench, figures: &mut Figures) {
    let (lines, large) = (bench.sizes.lines, bench.audit_log.take());
    let folder = tempfile::tempdir_in(bench.servers.data()).expect("a folder");
    let measuring = tokio::task::spawn_blocking(move || {
        let small = Log::written(&folder.path().join("small"), lines / TENTH);
        let rates = small.take_turns(SHORT_TURNS);
        std::fs::remove_dir_all(&small.folder).expect("a removed log");
        let large = match &large {
            Some(made) => Log::unpacked(made.path().join("log")),
            None => Log::written(&folder.path().join("large"), lines),
        };
        (rates, large.take_turns(TURNS), large.bytes)
    });
    let ([small, small_plain], [verify, plain], bytes) = measuring.await.expect("the measurement");
    figures.add("j.small", small);
    figures.add("j.small.openssl", small_plain);
    figures.add("j.verify", verify);
    figures.add("j.openssl", plain);
    figures.note(
        Part::Verify,
        format!(
            "{lines} lines in {:.1} MiB of segments, and a tenth of them; one processor, files in memory",
            bytes / MIB
        ),
    );
}

/// A log whose segments are all raw, so that both sides read the same bytes.
struct Log {
    folder: PathBuf,
    segments: Vec<PathBuf>,
    bytes: f64,
}

impl Log {
    fn written(folder: &Path, lines: usize) -> Self {
        progress(format_args!("    writing a log of {lines} lines"));
        write_log(folder, lines);
        Self::unpacked(folder.to_owned())
    }

    /// Compressed segments become raw again; a log is valid either way.
    fn unpacked(folder: PathBuf) -> Self {
        let names = std::fs::read_dir(folder.join("seg")).expect("segments");
        let mut segments: Vec<PathBuf> = names.map(|entry| entry.expect("a segment").path()).collect();
        for packed in &mut segments {
            if packed.extension().is_some_and(|kind| kind == "zst") {
                let raw = packed.with_extension("");
                let bytes = File::open(&packed).and_then(zstd::decode_all).expect("a segment");
                std::fs::write(&raw, bytes).expect("a raw segment");
                std::fs::remove_file(&packed).expect("a removed segment");
                *packed = raw;
            }
        }
        segments.sort();
        let bytes = segments.iter().map(|path| std::fs::metadata(path).expect("a segment").len()).sum::<u64>() as f64;
        Self { folder, segments, bytes }
    }

    /// MiB a second of both sides: the verifier's and openssl's median.
    fn take_turns(&self, turns: usize) -> [f64; 2] {
        let (verify, plain) = (self.verify(), self.openssl());
        // The first time of each is for the page cache.
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for turn in 0..=turns {
            let rates = [&plain, &verify].map(|command| self.bytes / MIB / timed(command));
            progress(format_args!("    openssl {:.0} MiB/s, verify {:.0} MiB/s", rates[0], rates[1]));
            if turn > 0 {
                theirs.push(rates[0]);
                ours.push(rates[1]);
            }
        }
        [ours, theirs].map(|rates| Sorted::new(rates).median())
    }

    fn verify(&self) -> Vec<String> {
        let program = binary("millrace").display().to_string();
        [program, "audit".into(), "verify".into(), "--json".into(), self.folder.display().to_string()].into()
    }

    fn openssl(&self) -> Vec<String> {
        let files = self.segments.iter().map(|path| path.display().to_string());
        ["openssl", "dgst", "-sha256"].map(str::to_owned).into_iter().chain(files).collect()
    }
}

/// Seconds that a program takes on one processor. It has to end well.
fn timed(command: &[String]) -> f64 {
    let mut bound = Command::new("taskset");
    bound.args(["--cpu-list", &processor()]).args(command).stdin(Stdio::null()).stdout(Stdio::null());
    let began = Instant::now();
    let status = bound.status().expect("taskset, which deploy/packages --bench installs");
    assert!(status.success(), "{} ended with {status}", command[0]);
    began.elapsed().as_secs_f64()
}

/// The last one of those that this process may use.
fn processor() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0");
    allowed.rsplit([',', '-']).next().unwrap_or("0").trim().to_owned()
}
