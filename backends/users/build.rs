//! Generates the gRPC server of users, and for the tests its client; tells cargo that a new migration means a new build.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=../../proto/user_data.proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files = protox::compile(["user_data.proto"], ["../../proto"])?;
    for (folder, server) in [("server", true), ("client", false)] {
        let folder = out.join(folder);
        std::fs::create_dir_all(&folder)?;
        tonic_prost_build::configure()
            .build_transport(false)
            .build_server(server)
            .build_client(!server)
            .out_dir(folder)
            .compile_fds(files.clone())?;
    }
    Ok(())
}
