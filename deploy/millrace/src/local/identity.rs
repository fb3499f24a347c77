use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use super::place::{first_closed, make_directory};
use super::programs::search_path;
use super::{LocalError, MARKER, Place, SERVER};

/// The account a server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunAs {
    /// Whoever started us.
    Caller,
    /// The service account of the server's package, because we are root and the servers refuse root.
    Service { name: &'static str, uid: u32, gid: u32 },
}

impl RunAs {
    /// Decides for a server whose package brings the account `name`.
    pub(super) fn decide(name: &'static str) -> Result<Self, LocalError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Caller);
        }
        let accounts = fs::read_to_string("/etc/passwd").map_err(LocalError::file("read", "/etc/passwd"))?;
        let (uid, gid) = ids(&accounts, name).ok_or(LocalError::NoAccount { user: name })?;
        Ok(Self::Service { name, uid, gid })
    }

    /// Hands a file or directory to the account.
    pub(super) fn give(self, path: &Path) -> Result<(), LocalError> {
        match self {
            Self::Caller => Ok(()),
            Self::Service { uid, gid, .. } => {
                chown(path, Some(uid), Some(gid)).map_err(LocalError::file("hand over", path))
            }
        }
    }

    /// Creates a directory for the account alone, or checks that an existing one belongs to it.
    pub(super) fn own_directory(self, path: &Path) -> Result<(), LocalError> {
        let wanted = match self {
            Self::Caller => rustix::process::geteuid().as_raw(),
            Self::Service { name, uid, .. } => {
                let parent = path.parent().unwrap_or(path);
                first_closed(parent).map_or(Ok(()), |closed| Err(LocalError::Unreachable { closed, user: name }))?;
                uid
            }
        };
        if path.is_dir() {
            let owner = fs::metadata(path).map_err(LocalError::file("look at", path))?.uid();
            return if owner == wanted { Ok(()) } else { Err(LocalError::Owner { path: path.to_owned() }) };
        }
        make_directory(path, 0o700)?;
        self.give(path)
    }

    /// A command in a session of its own, as this account, in `directory`, with a clean environment that names the
    /// place. The process that is spawned becomes the program itself, with the same process id.
    pub(super) fn command(self, place: &Place, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new("setsid");
        if let Self::Service { uid, gid, .. } = self {
            command.args(["setpriv", &format!("--reuid={uid}"), &format!("--regid={gid}"), "--init-groups", "--"]);
        }
        command.arg(program).current_dir(directory).stdin(Stdio::null());
        command.env_clear().env("PATH", search_path()).env("HOME", directory).env("LANG", "C.UTF-8").env("TZ", "UTC");
        command.env(MARKER, &place.marker).env(SERVER, directory);
        command
    }
}

fn ids(accounts: &str, name: &str) -> Option<(u32, u32)> {
    let fields: Vec<&str> =
        accounts.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?.collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let accounts = "root:x:0:0::/root:/bin/sh\npostgres2:x:7:8::/:/x\npostgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(ids(accounts, "postgres"), Some((101, 104)));
        assert_eq!(ids(accounts, "rabbitmq"), None);
    }
}
