use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// RFC 6962, section 2.1, word for word: slow, recursive, and sharing nothing but the hashes of leaf and node.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        many => {
            let k = reference_split(many.len());
            node(&mth(&many[..k]), &mth(&many[k..]))
        }
    }
}

fn reference_split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = reference_split(leaves.len());
    let (mut steps, other) =
        if m < k { (path(m, &leaves[..k]), mth(&leaves[k..])) } else { (path(m - k, &leaves[k..]), mth(&leaves[..k])) };
    steps.push(other);
    steps
}

fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![mth(leaves)] };
    }
    let k = reference_split(leaves.len());
    let (mut steps, other) = if m <= k {
        (subproof(m, &leaves[..k], whole), mth(&leaves[k..]))
    } else {
        (subproof(m - k, &leaves[k..], false), mth(&leaves[..k]))
    };
    steps.push(other);
    steps
}

struct List<'a>(&'a [Hash]);

impl Nodes for List<'_> {
    type Fault = Infallible;

    fn hash(&mut self, level: u8, index: u64) -> Result<Hash, Infallible> {
        let first = (index as usize) << level;
        Ok(mth(&self.0[first..first + (1 << level)]))
    }
}

fn leaves(n: usize) -> Vec<Hash> {
    (0..n).map(|i| leaf(format!("line {i}").as_bytes())).collect()
}

fn grown(leaves: &[Hash]) -> Frontier {
    let mut tree = Frontier::empty();
    for leaf in leaves {
        tree.push(*leaf);
    }
    tree
}

/// The inputs and roots of the reference implementation of Certificate Transparency (`merkle_tree_test.cc`).
#[test]
fn the_roots_of_certificate_transparency_come_out() {
    let inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Frontier::empty();
    assert_eq!(tree.root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (input, root) in inputs.into_iter().zip(roots) {
        tree.push(leaf(&hex::decode(input).unwrap()));
        assert_eq!(tree.root().to_string(), root);
    }
}

/// Every tree of up to 40 leaves, every leaf and every pair of sizes against the recursive definition.
#[test]
fn small_trees_are_as_the_definition_says() {
    let all = leaves(40);
    for n in 0..=all.len() {
        let some = &all[..n];
        let root = mth(some);
        assert_eq!(grown(some).root(), root);
        assert_eq!(frontier(&mut List(some), n as u64), Ok(grown(some)));
        for m in 0..n {
            let proof = inclusion(&mut List(some), m as u64, n as u64).unwrap();
            assert_eq!(proof, path(m, some));
            assert!(verify_inclusion(&some[m], m as u64, n as u64, &proof, &root));
        }
        for m in 1..=n {
            let proof = consistency(&mut List(some), m as u64, n as u64).unwrap();
            assert_eq!(proof, subproof(m, some, true));
            assert!(verify_consistency(m as u64, n as u64, &mth(&some[..m]), &root, &proof));
        }
        assert!(verify_consistency(0, n as u64, &empty_root(), &root, &[]));
    }
}

#[test]
fn peaks_of_another_size_are_no_tree() {
    let tree = grown(&leaves(11));
    assert_eq!(Frontier::from_hashes(11, tree.peaks().to_vec()), Some(tree.clone()));
    assert_eq!(Frontier::from_hashes(12, tree.peaks().to_vec()), None);
}

proptest! {
    #[test]
    fn no_other_leaf_place_size_or_proof_verifies(
        n in 1_usize..300, at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(), bit in 0_usize..256,
    ) {
        let all = leaves(n);
        let (m, root) = (at.index(n), mth(&all));
        let proof = inclusion(&mut List(&all), m as u64, n as u64).unwrap();
        prop_assert_eq!(&proof, &path(m, &all));
        let holds = |leaf: &Hash, m: usize, n: usize, proof: &[Hash], root: &Hash| {
            verify_inclusion(leaf, m as u64, n as u64, proof, root)
        };
        prop_assert!(holds(&all[m], m, n, &proof, &root));
        let wrong = other.index(n);
        if wrong != m {
            prop_assert!(!holds(&all[m], wrong, n, &proof, &root));
            prop_assert!(!holds(&all[wrong], m, n, &proof, &root));
        }
        let longer: Vec<Hash> = proof.iter().copied().chain([root]).collect();
        prop_assert!(!holds(&all[m], m, n, &longer, &root));
        prop_assert!(!holds(&all[m], n, n, &proof, &root));
        if let Some((_, shorter)) = proof.split_last() {
            prop_assert!(!holds(&all[m], m, n, shorter, &root));
            let mut flipped = proof.clone();
            flipped[other.index(proof.len())].0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!holds(&all[m], m, n, &flipped, &root));
        }
    }

    #[test]
    fn no_other_beginning_is_consistent(
        n in 2_usize..300, at in any::<prop::sample::Index>(), changed in any::<prop::sample::Index>(),
    ) {
        let all = leaves(n);
        let m = 1 + at.index(n - 1);
        let (old, new) = (mth(&all[..m]), mth(&all));
        let proof = consistency(&mut List(&all), m as u64, n as u64).unwrap();
        prop_assert!(verify_consistency(m as u64, n as u64, &old, &new, &proof));
        let mut rewritten = all.clone();
        rewritten[changed.index(m)] = leaf(b"rewritten");
        let forged = mth(&rewritten);
        let its_proof = consistency(&mut List(&rewritten), m as u64, n as u64).unwrap();
        prop_assert!(!verify_consistency(m as u64, n as u64, &old, &forged, &its_proof));
        prop_assert!(!verify_consistency(m as u64, n as u64, &old, &forged, &proof));
        prop_assert!(!verify_consistency(n as u64, m as u64, &new, &old, &proof));
    }
}

proptest! {
    #[test]
    fn a_tree_grows_alike_by_leaves_and_by_runs_of_them(runs in prop::collection::vec(0..700_usize, 0..6)) {
        let (mut one_by_one, mut by_runs) = (Frontier::empty(), Frontier::empty());
        for run in runs {
            let leaves: Vec<Hash> = (0..run).map(|n| leaf(&n.to_be_bytes())).collect();
            leaves.iter().for_each(|leaf| one_by_one.push(*leaf));
            by_runs.extend(&leaves);
            prop_assert_eq!(&one_by_one, &by_runs);
        }
    }
}
