//! The daemon on madsim's simulated tokio, with madsim's double of tonic. Run it with `cargo madsim`; without the flag
//! `--cfg madsim` there is one test in here. See `docs/grpc_with_madsim.md`.

#[cfg(madsim)]
mod cluster;
#[cfg(madsim)]
mod scenarios;

/// A set `RUSTFLAGS` variable replaces the flags that `cargo madsim` gives, and all of this would be left out
/// without a word.
#[test]
fn the_simulation_is_there_where_it_is_expected() {
    let expected = std::env::var_os("BLIXARD_EXPECT_MADSIM").is_some();
    assert!(
        cfg!(madsim) || !expected,
        "built without --cfg madsim: unset RUSTFLAGS and CARGO_ENCODED_RUSTFLAGS, or add the flag to them"
    );
}
