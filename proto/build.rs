//! Compiles `blixard.proto` without a system protoc.
//!
//! The code is generated twice: for tonic, and for its simulated double that stands in under `--cfg madsim`.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=blixard.proto");
    let descriptors = PathBuf::from(std::env::var("OUT_DIR")?).join("blixard.bin");
    let files = protox::compile(["blixard.proto"], ["."])?;
    std::fs::write(&descriptors, files.encode_to_vec())?;
    tonic_build::configure()
        .file_descriptor_set_path(&descriptors)
        .skip_protoc_run()
        .emit_rerun_if_changed(false)
        .btree_map(["."])
        .bytes([
            ".blixard.v1.PeerFrame",
            ".blixard.v1.LogsChunk",
            ".blixard.v1.ConsoleInput",
            ".blixard.v1.ConsoleOutput",
        ])
        .compile_protos(&["blixard.proto"], &["."])?;
    Ok(())
}
