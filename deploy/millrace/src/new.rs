//! `millrace new NAME`: a crate that adopts Millrace, as it stands in `tests/adopter`, where the tests build and run it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::CommandFault;
use crate::operator::Usage;
use crate::screen::Screen;

/// Environment variable with the folder that Millrace's packages are in.
const SOURCE: &str = "MILLRACE_SOURCE";
/// The name of the crate in [`FILES`], and how it names the folder that Millrace's packages are in.
const NAME: &str = "ticketing";
const PACKAGES: &str = "{ path = \"../../";

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../../tests/adopter/", $path)))),*]
    };
}

/// Every file of the crate with its text.
const FILES: [(&str, &str); 13] = files![
    ".gitignore",
    "Cargo.toml",
    "README.md",
    "build.rs",
    "migrations/0001_tickets.sql",
    "rustfmt.toml",
    "src/bin/cli.rs",
    "src/bin/ingress.rs",
    "src/bin/tickets.rs",
    "src/create.rs",
    "src/lib.rs",
    "src/payloads.rs",
    "src/webhook.rs",
];

#[derive(Debug, Args)]
#[command(after_help = "Example: millrace new helpdesk --source ../millrace")]
pub(crate) struct New {
    /// Name of the crate, of [a-z0-9_-].
    #[arg(value_parser = crate_name)]
    name: String,
    /// Where to put it; has to be empty or absent [default: ./NAME]
    #[arg(long = "path", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Checkout of Millrace that the crate is to be built against [default: $MILLRACE_SOURCE]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
}

fn crate_name(text: &str) -> Result<String, String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let taken = text.starts_with("millrace") || ["serde", "serde_json", "sqlx", "uuid", "std", "core"].contains(&text);
    if taken {
        return Err(format!("{text} is the name of something that the crate uses"));
    }
    if text.starts_with(|c: char| c.is_ascii_lowercase()) && text.len() <= 64 && text.chars().all(word) {
        Ok(text.to_owned())
    } else {
        Err("write a name of [a-z0-9_-] that begins with a letter".to_owned())
    }
}

impl New {
    pub(crate) fn run(self, screen: &Screen) -> Result<(), CommandFault> {
        let source = self.source.or_else(|| std::env::var_os(SOURCE).map(PathBuf::from));
        let source =
            source.ok_or_else(|| Usage(format!("say where Millrace's source is: --source DIR, or ${SOURCE}")))?;
        let source = packages(&source)?;
        let folder = self.folder.unwrap_or_else(|| PathBuf::from(&self.name));
        if std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Usage(format!("{} is not empty: name another folder with --path", folder.display())).into());
        }
        for (path, text) in FILES {
            let file = folder.join(path);
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(file, text_for(path, text, &self.name, &source))?;
        }
        let shown = folder.display();
        screen.done(&format!("{} is in {shown}", self.name), json!({ "name": self.name, "path": folder }));
        screen.tell(&format!("  next: cd {shown} && cargo test && cargo build"));
        screen.tell(&format!("  then: {shown}/README.md says which grants it needs and how it is deployed"));
        Ok(())
    }
}

/// The folder with Millrace's packages, as a text for a manifest.
fn packages(source: &Path) -> Result<String, CommandFault> {
    let lacks = |what: &str| Usage(format!("{} {what}", source.display()));
    let folder = source.canonicalize().map_err(|_| lacks("is not there: name a checkout of Millrace"))?;
    if !folder.join("shared/Cargo.toml").is_file() || !folder.join("deploy/millrace/Cargo.toml").is_file() {
        return Err(lacks("is no checkout of Millrace: shared/Cargo.toml is missing").into());
    }
    let text = folder.to_str().filter(|text| !text.contains(['"', '\\']));
    Ok(text.ok_or_else(|| lacks("cannot stand in a manifest: it has quotes, backslashes or no UTF-8"))?.to_owned())
}

/// A file's text for another name. Manifests and prose have the package's name, sources that of its library.
fn text_for(path: &str, text: &str, name: &str, source: &str) -> String {
    match path {
        "Cargo.toml" => text.replace(PACKAGES, &format!("{{ path = \"{source}/")).replace(NAME, name),
        _ if path.ends_with(".rs") => text.replace(NAME, &name.replace('-', "_")),
        _ => text.replace(NAME, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_cargo_takes_and_that_nothing_else_has() {
        for name in ["helpdesk", "a", "help-desk_2"] {
            assert_eq!(crate_name(name), Ok(name.to_owned()));
        }
        for name in ["", "Help", "2nd", "-x", "a b", "a/b", "..", "millrace", "millrace-cli", "sqlx"] {
            assert!(crate_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_name_stands_where_it_has_to() {
        let written = |path: &str| {
            let (_, text) = FILES.into_iter().find(|(file, _)| *file == path).unwrap();
            text_for(path, text, "help-desk", "/src/millrace")
        };
        assert!(written("Cargo.toml").starts_with("[package]\nname = \"help-desk\"\n"));
        assert!(written("Cargo.toml").contains("millrace = { path = \"/src/millrace/shared\" }"));
        assert!(written("src/bin/tickets.rs").contains("use help_desk::{CreateTicket, OpenFromHelpdesk};"));
        assert!(FILES.iter().all(|(path, _)| !written(path).contains(NAME)));
    }
}
