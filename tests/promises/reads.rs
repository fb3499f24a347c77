//! A tenant reads its own rows and nobody else's, as far as role and standing go, and accepting needs none of it.
