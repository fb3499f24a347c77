use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::LocalError;

const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The caller's PATH, or the usual one: servers get no other part of the caller's environment.
pub(super) fn search_path() -> OsString {
    std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| USUAL_PATH.into())
}

/// The directory with `postgres` and `initdb`: of the given major version, or of the newest one installed.
pub(super) fn postgres(version: Option<&str>) -> Option<PathBuf> {
    let debian = newest_first(Path::new("/usr/lib/postgresql"))
        .into_iter()
        .filter(|directory| version.is_none_or(|wanted| directory.ends_with(wanted)))
        .map(|directory| directory.join("bin"));
    let redhat = version.map(|wanted| PathBuf::from(format!("/usr/pgsql-{wanted}/bin")));
    debian
        .chain(redhat)
        .find(|bin| bin.join("postgres").is_file())
        .or_else(|| on_path("postgres")?.parent().map(Path::to_owned))
}

/// The directory with PostgreSQL's programs, for those that need clients alone.
pub(crate) fn postgres_programs() -> Option<PathBuf> {
    postgres(None)
}

/// RabbitMQ's own scripts.
///
/// # Errors
/// [`LocalError::Missing`] when RabbitMQ is not installed.
pub(super) fn rabbitmq_scripts() -> Result<PathBuf, LocalError> {
    let versions = newest_first(Path::new("/usr/lib/rabbitmq/lib"));
    let archives = newest_first(Path::new("/opt"))
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("rabbitmq")));
    [PathBuf::from("/usr/lib/rabbitmq/bin")]
        .into_iter()
        .chain(versions.into_iter().chain(archives).map(|directory| directory.join("sbin")))
        .chain(std::env::split_paths(&search_path()))
        .find(|directory| holds_real_scripts(directory))
        .ok_or(LocalError::Missing { program: "rabbitmq-server" })
}

/// The packages also put a wrapper with the server's name on PATH, which insists on the system's account and paths.
/// The real script is never a link to something with another name, and reads `rabbitmq-env` from beside itself.
fn holds_real_scripts(directory: &Path) -> bool {
    let Ok(script) = directory.join("rabbitmq-server").canonicalize() else { return false };
    script.ends_with("rabbitmq-server") && script.with_file_name("rabbitmq-env").is_file()
}

/// Erlang's port mapper, from PATH or from the installation that `erl` belongs to.
///
/// # Errors
/// [`LocalError::Missing`] when Erlang is not installed.
pub(super) fn epmd() -> Result<PathBuf, LocalError> {
    let beside_erl =
        || on_path("erl")?.canonicalize().ok()?.parent().map(|bin| bin.join("epmd")).filter(|path| path.is_file());
    on_path("epmd").or_else(beside_erl).ok_or(LocalError::Missing { program: "epmd" })
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path()).map(|directory| directory.join(program)).find(|path| path.is_file())
}

fn newest_first(parent: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort_by_key(|path| std::cmp::Reverse(version_in(path)));
    found
}

fn version_in(path: &Path) -> Vec<u32> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split(|character: char| !character.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(
            version_in(Path::new("/x/rabbitmq_server-3.13.2")) > version_in(Path::new("/x/rabbitmq_server-3.9.30"))
        );
        assert!(version_in(Path::new("/x/17")) > version_in(Path::new("/x/9")));
    }

    #[test]
    fn a_wrapper_is_not_the_server() {
        let directory = std::env::temp_dir().join(format!("millrace-programs-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("wrapper"), "").unwrap();
        fs::write(directory.join("rabbitmq-env"), "").unwrap();
        std::os::unix::fs::symlink("wrapper", directory.join("rabbitmq-server")).unwrap();
        assert!(!holds_real_scripts(&directory));
        fs::remove_file(directory.join("rabbitmq-server")).unwrap();
        fs::write(directory.join("rabbitmq-server"), "").unwrap();
        assert!(holds_real_scripts(&directory));
        fs::remove_dir_all(&directory).unwrap();
    }
}
