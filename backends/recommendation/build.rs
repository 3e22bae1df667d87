//! Generates the gRPC client of users, and for the tests its server; tells cargo that a new migration means a new build.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=../../proto/user_data.proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files = protox::compile(["user_data.proto"], ["../../proto"])?;
    for (folder, client) in [("client", true), ("server", false)] {
        let folder = out.join(folder);
        std::fs::create_dir_all(&folder)?;
        tonic_prost_build::configure()
            .build_transport(false)
            .build_client(client)
            .build_server(!client)
            .out_dir(folder)
            .compile_fds(files.clone())?;
    }
    Ok(())
}
