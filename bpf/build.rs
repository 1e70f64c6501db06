//! Compiles `steer.bpf.c` to an object for the kernel's BPF machine.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/steer.bpf.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let Some(folder) = env::var_os("OUT_DIR") else {
        println!("cargo::error=OUT_DIR is not set: build with cargo");
        return;
    };
    // -g: the maps are described by type information (BTF). -mcpu=v2: runs on
    // every kernel that has AF_XDP.
    let compiled = Command::new(&clang)
        .args([
            "-target", "bpf", "-mcpu=v2", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
        ])
        .args(["-c", SOURCE, "-o"])
        .arg(PathBuf::from(folder).join("steer.bpf.o"))
        .status();
    match compiled {
        Ok(status) if status.success() => {}
        Ok(_) => println!("cargo::error={clang} can't compile {SOURCE}; its messages are above"),
        Err(reason) => println!(
            "cargo::error=can't run {clang} ({reason}): install it with `apt-get install clang`, \
             or name another one in the environment variable CLANG"
        ),
    }
}
