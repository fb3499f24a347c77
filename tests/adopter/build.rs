//! A new file in `migrations` is no change of any source file, so cargo has to be told to look there.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
