//! What Millrace promises, one file a promise, against real servers and as the real roles.

mod applied_once;
