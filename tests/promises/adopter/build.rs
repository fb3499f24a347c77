//! The crate of `tests/adopter`, copied to a folder elsewhere and built there against Millrace's packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// The top of the repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// What differs from the last commit, with its content: equal before and after means that nobody wrote to the tree.
pub(super) fn tree() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root()).args(arguments).output().expect("git");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    git(&["status", "--porcelain", "--untracked-files=all"]) + &git(&["diff", "HEAD", "--stat"])
}

/// The built crate.
pub(super) struct Adopter {
    programs: PathBuf,
}

impl Adopter {
    /// Copies and builds the crate once for all tests, as `millrace new` writes it. Nothing is fetched: it has the
    /// versions of the workspace.
    pub(super) fn copied_and_built() -> &'static Self {
        static BUILT: OnceLock<(Adopter, TempDir)> = OnceLock::new();
        &BUILT.get_or_init(build).0
    }

    /// The path of one of its programs.
    pub(super) fn program(&self, name: &str) -> String {
        self.programs.join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// Runs its command line and expects it to succeed.
    pub(super) async fn cli(&self, arguments: &[&str], environment: &[(String, String)]) -> String {
        let mut command = tokio::process::Command::new(self.program("millrace"));
        command.args(arguments).envs(environment.iter().cloned()).env("NO_COLOR", "1").kill_on_drop(true);
        let output = command.output().await.expect("the command line");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "millrace {arguments:?}: {said}");
        said
    }
}

/// A release of the crate other than the one in the tree.
pub(super) struct Release {
    /// Its number, which its worker's program ends with.
    pub(super) number: u32,
    /// What differs: a file, a text that stands there once, and what stands in its place.
    pub(super) edits: &'static [(&'static str, &'static str, &'static str)],
}

impl Release {
    /// Copies the crate, makes it this release and builds its worker; returns the program's path.
    pub(super) fn worker(&self) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = copied(&folder);
        let program = format!("millrace-tickets-{}", self.number);
        // A program of its own: all releases are built into one folder.
        let named = ("Cargo.toml", "name = \"millrace-tickets\"", &*format!("name = \"{program}\""));
        for (file, old, new) in self.edits.iter().copied().chain([named]) {
            let text = std::fs::read_to_string(copy.join(file)).expect("a file");
            assert_eq!(text.matches(old).count(), 1, "{file} has not once: {old}");
            std::fs::write(copy.join(file), text.replace(old, new)).expect("a file");
        }
        let programs = built(&copy, &["--bin", &program]);
        programs.join(program).to_str().expect("a path in UTF-8").to_owned()
    }
}

fn build() -> (Adopter, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let programs = built(&copied(&folder), &[]);
    (Adopter { programs }, folder)
}

fn copied(folder: &TempDir) -> PathBuf {
    let copy = folder.path().join("ticketing");
    let written = Command::new(millrace_tests::binary("millrace"))
        .args(["new", "ticketing", "--path"])
        .arg(&copy)
        .arg("--source")
        .arg(root())
        .output()
        .expect("millrace new");
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    std::fs::copy(root().join("Cargo.lock"), copy.join("Cargo.lock")).expect("the lock file");
    copy
}

/// Builds a copy of the crate; returns the folder of its programs.
fn built(copy: &Path, what: &[&str]) -> PathBuf {
    // Beside the workspace's own artefacts, so that only the first build is a long one.
    let target = root().join("target/adopter");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline"])
        .args(what)
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("SQLX_OFFLINE", "true")
        .output()
        .expect("cargo");
    assert!(built.status.success(), "it does not build: {}", String::from_utf8_lossy(&built.stderr));
    target.join("debug")
}
