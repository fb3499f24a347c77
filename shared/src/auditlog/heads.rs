//! Where each tenant's sequence stands, and the file that remembers it for tenants whose lines are long gone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::durable;
use super::fault::LogFault;
use super::layout::Layout;
use super::line::Position;
use super::tree::Hash;

/// The last number and the last line's hash of every tenant.
#[derive(Debug, Clone, Default)]
pub(super) struct Heads {
    places: HashMap<Box<str>, usize>,
    heads: Vec<Position>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Top {
    size: u64,
    tenants: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<'r> {
    org_id: std::borrow::Cow<'r, str>,
    tenant_seq: u64,
    hash: String,
}

/// Where the heads stand.
pub(super) fn heads_file(layout: &Layout) -> PathBuf {
    layout.folder().join("heads")
}

impl Heads {
    /// A tenant's head, to be moved on: number 0 and a hash of zeros before its first line.
    pub(super) fn of(&mut self, org: &str) -> &mut Position {
        let place = self.place(org);
        self.at(place)
    }

    /// Where a tenant's head is, for whoever comes back to it.
    pub(super) fn place(&mut self, org: &str) -> usize {
        if let Some(place) = self.places.get(org) {
            return *place;
        }
        self.heads.push(Position::NONE);
        self.places.insert(org.into(), self.heads.len() - 1);
        self.heads.len() - 1
    }

    /// The head at a place that [`Heads::place`] gave.
    pub(super) fn at(&mut self, place: usize) -> &mut Position {
        &mut self.heads[place]
    }

    /// Reads the file; without one there are no heads yet, at size 0.
    pub(super) fn load(path: &Path) -> Result<(u64, Self), LogFault> {
        let Some(bytes) = durable::read(path)? else { return Ok((0, Self::default())) };
        Self::parse(&bytes).ok_or_else(|| LogFault::Damaged {
            path: path.to_owned(),
            problem: "is not the list of tenants' last lines",
        })
    }

    fn parse(bytes: &[u8]) -> Option<(u64, Self)> {
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let top: Top = serde_json::from_slice(lines.next()?).ok()?;
        let mut heads = Self::default();
        for line in lines {
            let row: Row<'_> = serde_json::from_slice(line).ok()?;
            let mut hash = Hash([0; 32]);
            hex::decode_to_slice(&row.hash, &mut hash.0).ok()?;
            *heads.of(&row.org_id) = Position { tenant_seq: row.tenant_seq, prev_hash: hash };
        }
        (heads.heads.len() == top.tenants).then_some((top.size, heads))
    }

    /// Replaces the file by the heads after `size` lines.
    pub(super) fn save(&self, path: &Path, size: u64) -> Result<(), LogFault> {
        let mut text = format!("{{\"size\":{size},\"tenants\":{}}}\n", self.heads.len());
        for (org, place) in &self.places {
            let head = &self.heads[*place];
            let hash = hex::encode(head.prev_hash.0);
            text.push_str(&format!(
                "{{\"org_id\":\"{org}\",\"tenant_seq\":{},\"hash\":\"{hash}\"}}\n",
                head.tenant_seq
            ));
        }
        durable::replace(path, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_and_half_a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heads");
        let mut heads = Heads::default();
        *heads.of("acme") = Position { tenant_seq: 7, prev_hash: Hash([3; 32]) };
        *heads.of("globex") = Position { tenant_seq: 1, prev_hash: Hash([4; 32]) };
        heads.save(&path, 8).unwrap();
        let (size, mut back) = Heads::load(&path).unwrap();
        assert_eq!((size, *back.of("acme")), (8, Position { tenant_seq: 7, prev_hash: Hash([3; 32]) }));
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        std::fs::write(&path, lines[..2].join("\n")).unwrap();
        assert!(matches!(Heads::load(&path), Err(LogFault::Damaged { .. })));
    }
}
