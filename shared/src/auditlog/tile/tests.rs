use super::super::tree::{Frontier, consistency, frontier, inclusion, leaf, verify_consistency, verify_inclusion};
use super::*;

impl TileId {
    /// Every tile of a tree of `size` leaves that is not part of a tree of `old` leaves: what a writer stores when it
    /// grows. Full tiles come before the partial one of their level.
    pub(in crate::auditlog) fn between(old: u64, size: u64) -> impl Iterator<Item = Self> {
        let hashes = |level: u8, size: u64| size.checked_shr(u32::from(level) * u32::from(HEIGHT)).unwrap_or(0);
        (0..HEIGHT).flat_map(move |level| {
            let (had, has) = (hashes(level, old), hashes(level, size));
            let tiles = if has > had { had >> HEIGHT..has.div_ceil(u64::from(FULL)) } else { 0..0 };
            tiles.filter_map(move |n| Self::holding(level, n << HEIGHT, size))
        })
    }
}

fn id(level: u8, n: u64, width: u16) -> TileId {
    TileId { level, n, width }
}

/// The examples of c2sp.org/tlog-tiles.
#[test]
fn paths_are_those_of_the_specification() {
    assert_eq!(id(0, 1_234_067, 256).path(), PathBuf::from("tile/0/x001/x234/067"));
    assert_eq!(id(0, 273, 112).path(), PathBuf::from("tile/0/273.p/112"));
    assert_eq!(id(1, 0, 1).path(), PathBuf::from("tile/1/000.p/1"));
    assert_eq!(id(2, 1_000, 256).path(), PathBuf::from("tile/2/x001/000"));
}

/// The specification's example: a tree of 70,000 leaves.
#[test]
fn a_tree_has_the_tiles_that_the_specification_lists() {
    let tiles: Vec<TileId> = TileId::between(0, 70_000).collect();
    assert_eq!(tiles.iter().filter(|tile| tile.level == 0 && tile.is_full()).count(), 273);
    let rest: Vec<TileId> = tiles.into_iter().filter(|tile| tile.level > 0 || !tile.is_full()).collect();
    assert_eq!(rest, [id(0, 273, 112), id(1, 0, 256), id(1, 1, 17), id(2, 0, 1)]);
}

#[test]
fn growing_touches_only_what_changes() {
    assert_eq!(TileId::between(0, 0).count(), 0);
    assert_eq!(TileId::between(7, 7).count(), 0);
    let grown: Vec<TileId> = TileId::between(255, 257).collect();
    assert_eq!(grown, [id(0, 0, 256), id(0, 1, 1), id(1, 0, 1)]);
    let grown: Vec<TileId> = TileId::between(512, 513).collect();
    assert_eq!(grown, [id(0, 2, 1)]);
}

/// Writes the tiles of these leaves, as somebody without the key can.
pub(in crate::auditlog) fn store(layout: &Layout, leaves: &[Hash]) {
    let mut rows = vec![leaves.to_vec()];
    while let Some(row) = rows.last().filter(|row| row.len() >= usize::from(FULL)) {
        let above = row.chunks_exact(usize::from(FULL)).map(|tile| {
            let mut tree = Frontier::empty();
            tile.iter().for_each(|hash| tree.push(*hash));
            tree.root()
        });
        rows.push(above.collect());
    }
    for tile in TileId::between(0, leaves.len() as u64) {
        let path = layout.tile(&tile);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let from = (tile.n as usize) << HEIGHT;
        let row = &rows[usize::from(tile.level)][from..from + usize::from(tile.width)];
        let bytes: Vec<u8> = row.iter().flat_map(|hash| hash.0).collect();
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn proofs_from_tiles_verify_for_this_size_and_smaller_ones() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let leaves: Vec<Hash> = (0..66_000).map(|i| leaf(format!("{i}").as_bytes())).collect();
    store(&layout, &leaves);
    let mut tree = Frontier::empty();
    let mut roots = HashMap::new();
    for leaf in &leaves {
        tree.push(*leaf);
        roots.insert(tree.size(), tree.root());
    }
    let sizes = [1, 2, 255, 256, 257, 65_535, 65_536, 65_537, 66_000];
    for size in sizes {
        let mut tiles = Tiles::new(layout.clone(), size);
        assert_eq!(frontier(&mut tiles, size).unwrap().root(), roots[&size]);
        for index in [0, size / 3, size / 2, size - 1] {
            let proof = inclusion(&mut tiles, index, size).unwrap();
            assert!(verify_inclusion(&leaves[index as usize], index, size, &proof, &roots[&size]));
        }
        for old in sizes.into_iter().filter(|old| *old < size) {
            let proof = consistency(&mut tiles, old, size).unwrap();
            assert!(verify_consistency(old, size, &roots[&old], &roots[&size], &proof));
        }
        assert!(matches!(tiles.leaf(size), Err(TileFault::Beyond { .. })), "{size}");
    }
}

#[test]
fn missing_and_torn_tiles_say_which() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let leaves: Vec<Hash> = (0..600).map(|i| leaf(format!("{i}").as_bytes())).collect();
    store(&layout, &leaves);
    std::fs::remove_file(layout.tile(&id(0, 1, 256))).unwrap();
    std::fs::write(layout.tile(&id(0, 2, 88)), [0; 33]).unwrap();
    let mut tiles = Tiles::new(layout, 600);
    assert_eq!(tiles.leaf(3).unwrap(), leaves[3]);
    assert!(matches!(tiles.leaf(300), Err(TileFault::Missing(path)) if path.ends_with("tile/0/001")));
    assert!(matches!(tiles.leaf(599), Err(TileFault::Torn { bytes: 33, expected: 2816, .. })));
}

#[test]
fn no_index_is_too_large_to_be_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut tiles = Tiles::new(Layout::new(folder.path()), 5);
    assert!(matches!(tiles.leaf(u64::MAX), Err(TileFault::Beyond { .. })));
}
