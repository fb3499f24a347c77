use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::LocalError;

/// The directory for everybody's servers when root starts them and the preferred one is closed to service accounts.
const SYSTEM_DIRECTORY: &str = "/var/lib/millrace";
const ANYONE_MAY_ENTER: u32 = 0o001;

/// Where one set of servers keeps everything.
///
/// As root, servers run as the service accounts of their packages (`postgres`, `rabbitmq`), so these must be able to
/// enter `data`; as an ordinary user they run as that user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The servers' data, and the secrets that belong to it. Created when missing.
    pub data: PathBuf,
    /// One log a server: `postgres.log`, `rabbitmq.log`, `epmd.log`. Created when missing. Need not be reachable for
    /// the service accounts.
    pub logs: PathBuf,
    /// The value of [`MARKER`](super::MARKER) in every process that is started here: unique to this place, without
    /// line breaks.
    pub marker: String,
}

impl Place {
    /// A place that the servers can use: in `preferred/servers` where possible, and in `/var/lib/millrace/<id>` when
    /// root starts them and their accounts cannot enter `preferred` (a checkout below `/root` or a closed home).
    /// Logs go to `preferred/logs`; `id` is also the marker. The same arguments give the same place.
    ///
    /// # Errors
    /// [`LocalError::Id`] when `id` cannot name a directory.
    pub fn reachable_for_servers(preferred: &Path, id: &str) -> Result<Self, LocalError> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if id.is_empty() || id.starts_with('.') || !id.bytes().all(named) {
            return Err(LocalError::Id { id: id.to_owned() });
        }
        let near = !rustix::process::geteuid().is_root() || first_closed(preferred).is_none();
        let data = if near { preferred.join("servers") } else { Path::new(SYSTEM_DIRECTORY).join(id) };
        Ok(Self { data, logs: preferred.join("logs"), marker: id.to_owned() })
    }

    /// Creates what is missing and resolves links, so that the paths can be compared with those of running processes.
    pub(super) fn prepare(&self) -> Result<Self, LocalError> {
        let ready = |path: &Path| {
            make_directory(path, 0o711)?;
            path.canonicalize().map_err(LocalError::file("resolve", path))
        };
        Ok(Self { data: ready(&self.data)?, logs: ready(&self.logs)?, marker: self.marker.clone() })
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.data.join("postgres")
    }

    pub(super) fn rabbitmq(&self) -> PathBuf {
        self.data.join("rabbitmq")
    }
}

/// Creates the directory and its missing ancestors, whatever the caller's umask.
pub(super) fn make_directory(path: &Path, mode: u32) -> Result<(), LocalError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directory(parent, 0o711)?;
    }
    DirBuilder::new().mode(mode).create(path).map_err(LocalError::file("create", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(LocalError::file("set the permissions of", path))
}

/// Writes a file that only its owner may read, replacing an older one in one step.
pub(super) fn write_secret(path: &Path, content: &[u8]) -> Result<(), LocalError> {
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(LocalError::file("create", &fresh))?;
    file.write_all(content).map_err(LocalError::file("write", &fresh))?;
    fs::rename(&fresh, path).map_err(LocalError::file("replace", path))
}

/// The first existing directory on the way to `path`, from the root, that others may not enter.
pub(super) fn first_closed(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let mut ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.reverse();
    ancestors
        .into_iter()
        .find(|ancestor| fs::metadata(ancestor).is_ok_and(|found| found.mode() & ANYONE_MAY_ENTER == 0))
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("millrace-place-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn an_id_that_leaves_the_directory_is_refused() {
        for id in ["", "..", "a/b", ".hidden", "a b"] {
            assert!(matches!(Place::reachable_for_servers(Path::new("/tmp"), id), Err(LocalError::Id { .. })), "{id}");
        }
    }

    #[test]
    fn an_open_directory_is_preferred() {
        let place = Place::reachable_for_servers(Path::new("/tmp/x"), "demo-1").unwrap();
        assert_eq!(place.data, Path::new("/tmp/x/servers"));
        assert_eq!(place.logs, Path::new("/tmp/x/logs"));
        assert_eq!(place.marker, "demo-1");
    }

    #[test]
    fn a_closed_ancestor_is_found_also_for_a_path_that_does_not_exist_yet() {
        let closed = scratch("closed");
        make_directory(&closed, 0o700).unwrap();
        assert_eq!(first_closed(&closed.join("a/b")), Some(closed.clone()));
        fs::remove_dir_all(closed).unwrap();
    }

    #[test]
    fn a_secret_is_readable_for_its_owner_only_also_when_replaced() {
        let directory = scratch("secret");
        make_directory(&directory, 0o711).unwrap();
        let path = directory.join("password");
        write_secret(&path, b"one").unwrap();
        write_secret(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::remove_dir_all(directory).unwrap();
    }
}
