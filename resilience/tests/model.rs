//! What is lock free, under every order of threads that loom finds: `cargo test -p resilience --features model --test model`.
