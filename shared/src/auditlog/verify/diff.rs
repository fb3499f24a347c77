//! What happened to a file whose lines are not those of the tree: which lines are altered, missing, inserted or moved.

use std::collections::HashMap;

use super::super::tree::Hash;

/// What a line of the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The line of the tree at this place.
    Right(usize),
    /// A line of the tree that belongs to this place.
    Moved(usize),
    /// Something else in the place of this one.
    Altered(usize),
    /// Nothing that the tree has a place for.
    Inserted,
}

/// Both sides compared: each line of the file, and the places of the tree that no line has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) lines: Vec<Place>,
    pub(super) missing: Vec<usize>,
}

/// Compares the hashes of the lines that are there with those that the tree has.
pub(super) fn difference(there: &[Hash], tree: &[Hash]) -> Difference {
    let places: HashMap<&Hash, usize> = tree.iter().enumerate().rev().map(|(at, hash)| (hash, at)).collect();
    let found: Vec<Option<usize>> = there.iter().map(|hash| places.get(hash).copied()).collect();
    let in_order = longest_rising(&found);
    let mut taken = vec![false; tree.len()];
    let mut lines = vec![Place::Inserted; there.len()];
    for at in &in_order {
        if let Some(place) = found[*at] {
            (lines[*at], taken[place]) = (Place::Right(place), true);
        }
    }
    for (at, place) in found.iter().enumerate() {
        if let Some(place) = place.filter(|place| !taken[*place]) {
            (lines[at], taken[place]) = (Place::Moved(place), true);
        }
    }
    pair_altered(&mut lines, &mut taken, &found);
    let missing = (0..tree.len()).filter(|place| !taken[*place]).collect();
    Difference { lines, missing }
}

/// Between two right lines, unknown lines stand for as many places that nothing has.
fn pair_altered(lines: &mut [Place], taken: &mut [bool], found: &[Option<usize>]) {
    let mut at = 0;
    let mut place = 0;
    while at < lines.len() {
        match lines[at] {
            Place::Right(here) => place = here + 1,
            Place::Inserted if found[at].is_none() => {
                let limit = lines[at..].iter().find_map(|line| match line {
                    Place::Right(here) => Some(*here),
                    _ => None,
                });
                let limit = limit.unwrap_or(taken.len());
                if let Some(free) = (place..limit).find(|place| !taken[*place]) {
                    (lines[at], taken[free]) = (Place::Altered(free), true);
                    place = free + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Positions of a longest subsequence whose places rise: those lines are where they belong.
fn longest_rising(found: &[Option<usize>]) -> Vec<usize> {
    // For each length the position that ends such a sequence with the lowest place.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; found.len()];
    let place = |at: usize| found[at].unwrap_or(usize::MAX);
    for (at, here) in found.iter().enumerate() {
        let Some(here) = here else { continue };
        let length = ends.partition_point(|end| place(*end) < *here);
        before[at] = length.checked_sub(1).map(|shorter| ends[shorter]);
        if length == ends.len() {
            ends.push(at);
        } else {
            ends[length] = at;
        }
    }
    let mut chain: Vec<usize> = std::iter::successors(ends.last().copied(), |at| before[*at]).collect();
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::Place::{Altered, Inserted, Moved, Right};
    use super::*;

    fn hashes(text: &str) -> Vec<Hash> {
        text.bytes().map(|b| Hash([b; 32])).collect()
    }

    fn compare(there: &str) -> Difference {
        difference(&hashes(there), &hashes("abcdef"))
    }

    #[test]
    fn each_kind_of_change_is_told_from_the_others() {
        let right: Vec<Place> = (0..6).map(Right).collect();
        assert_eq!(compare("abcdef"), Difference { lines: right.clone(), missing: vec![] });
        let edited = compare("abXdef");
        assert_eq!((edited.lines[2], edited.missing), (Altered(2), vec![]));
        let deleted = compare("abdef");
        assert_eq!((deleted.lines[2], deleted.missing), (Right(3), vec![2]));
        let inserted = compare("abXcdef");
        assert_eq!((inserted.lines[2], inserted.missing), (Inserted, vec![]));
        let swapped = compare("abdcef");
        assert_eq!(swapped.missing, Vec::<usize>::new());
        assert_eq!(swapped.lines.iter().filter(|place| matches!(place, Moved(_))).count(), 1);
        let carried = compare("bcdefa");
        assert_eq!((carried.lines[5], carried.missing), (Moved(0), vec![]));
        let cut = compare("abcd");
        assert_eq!(cut.missing, [4, 5]);
        let twice = compare("abbcdef");
        assert_eq!(twice.lines.iter().filter(|place| **place == Inserted).count(), 1);
        let rewritten = compare("uvwxyz");
        assert_eq!(rewritten.lines, (0..6).map(Altered).collect::<Vec<_>>());
    }
}
