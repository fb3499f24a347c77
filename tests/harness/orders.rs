//! Orders of a few things.

/// Puts these in their nth order, by the factorial number system: each n below the factorial is another one.
pub fn reorder<T>(items: &mut [T], mut n: usize) {
    for place in (1..=items.len()).rev() {
        items[..place].rotate_left(n % place);
        n /= place;
    }
}
