//! A tree that grows leaf by leaf and is asked for its root now and then: leaves wait until there is a tile of them.

use super::super::tile::FULL;
use super::super::tree::{Frontier, Hash};

/// See the module's words.
#[derive(Debug, Clone, Default)]
pub(super) struct Growth {
    tree: Frontier,
    waiting: Vec<Hash>,
}

impl Growth {
    pub(super) fn push(&mut self, leaf: Hash) {
        self.waiting.push(leaf);
        if self.waiting.len() == usize::from(FULL) {
            self.settle();
        }
    }

    pub(super) fn root(&mut self) -> Hash {
        self.settle();
        self.tree.root()
    }

    fn settle(&mut self) {
        self.tree.extend(&self.waiting);
        self.waiting.clear();
    }
}

impl From<Frontier> for Growth {
    fn from(tree: Frontier) -> Self {
        Self { tree, waiting: Vec::new() }
    }
}
